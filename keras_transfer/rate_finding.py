"""The learning-rate range test."""
import dataclasses

import keras
import numpy as np

from . import _check, _compat
from .assembling import objectives
from .fitting import Fault
from .replicating import share_accumulated

_STOP_AT = 4.0  # times the lowest loss: from there on it only gets worse
_MEMORY = 0.9   # of the running mean of the loss


def find_learning_rate(model, dataset, *, lowest=1e-6, highest=1.0, steps=100):
    """Trains for some steps with a growing learning rate, and suggests one; every weight is put back.

    The range test of Smith (2017, arXiv:1506.01186): the rate grows geometrically from `lowest` to `highest`, and
    the test ends early once the smoothed loss is four times its lowest. Suggested is the rate where the loss falls
    fastest against the logarithm of the rate. Weights, optimizer and random states are as before on return. It
    goes step by step, whatever the model's `steps_per_execution`.

    Args:
        model: what `kt.attach` returned. Compiled: its loss and optimizer are used; else `objectives` and Adam.
        dataset: a `tf.data.Dataset` of (x, y) or (x, y, sample weights); repeated as needed.
        lowest: the first rate.
        highest: the last rate.
        steps: the number of training steps, at least 10.

    Returns:
        `LearningRates` with `rates`, `losses` (smoothed), `suggestion` and `plot()`.

    Raises:
        ValueError: the optimizer's rate is a schedule, the rates are out of order, or the loss is not a number from
            the first step on.

    Example:
        >>> found = kt.find_learning_rate(model, train)
        >>> model.compile(optimizer=keras.optimizers.Adam(found.suggestion), **kt.objectives(model))
    """
    _check.whole(steps, "steps", least=10)
    if not 0 < lowest < highest:
        raise ValueError(f"`lowest` must be over 0 and less than `highest`. Received: {lowest!r} and {highest!r}")
    with model.distribute_strategy.scope():
        if not model.compiled:
            model.compile(optimizer="adam", **objectives(model))
        optimizer = _compat.inner(model.optimizer)
        if isinstance(optimizer.get_config()["learning_rate"], dict):
            raise ValueError("The optimizer's learning rate is a schedule, which can't be moved. Compile with a "
                             "number, such as keras.optimizers.Adam(1e-3), to find one.")
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
    sweep = _Sweep(np.geomspace(lowest, highest, steps), optimizer)
    share_accumulated(model.optimizer, model.distribute_strategy)
    before = [(v, v.numpy()) for v in [*model.variables, *model.optimizer.variables]]
    at_once = model.steps_per_execution
    try:
        _run_at_once(model, 1)  # the rate moves between calls only
        model.fit(dataset.repeat(), steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0, callbacks=[sweep])
    except Fault:  # of a learner, which looks at what each step and a whole epoch give: the test is over, as for a plain model
        if len(sweep.losses) < 3:
            raise
    finally:
        _run_at_once(model, at_once)
        for variable, value in before:
            variable.assign(value)
    return LearningRates.from_losses(sweep.rates[:len(sweep.losses)], sweep.losses)


def _run_at_once(model, steps):
    """Sets how many steps run in one call, and makes the function anew that was made for another number."""
    if model.steps_per_execution != steps:
        model.steps_per_execution = steps
        model.make_train_function(force=True)


@dataclasses.dataclass
class LearningRates:
    """What `find_learning_rate` found.

    Attributes:
        rates: the learning rates tried, ascending.
        losses: the smoothed training loss after a step at each of them.
        suggestion: the rate where the loss falls fastest.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float

    @classmethod
    def from_losses(cls, rates, losses):
        """Smooths the raw `losses` and finds the steepest fall."""
        rates, losses = np.asarray(rates), smoothed(losses)
        if len(losses) < 3:
            raise ValueError("The loss was not a number within the first steps, at the lowest rate. Look for missing "
                             "or infinite values in the data.")
        slope = np.gradient(losses, np.log(rates))
        upto = int(np.argmin(losses)) + 1  # beyond its lowest point the loss only jumps
        return cls(rates, losses, float(rates[np.argmin(slope[:upto])]))

    def plot(self, path=None):
        """Draws loss against rate; writes the picture to `path` if given. Returns the matplotlib axes."""
        _check.extra("matplotlib", "report")
        from matplotlib.figure import Figure

        axes = Figure(figsize=(6, 4), layout="constrained").add_subplot()
        axes.plot(self.rates, self.losses)
        axes.axvline(self.suggestion, color="tab:red", linestyle="--", label=f"suggestion: {self.suggestion:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss (smoothed)")
        axes.legend()
        if path is not None:
            axes.figure.savefig(path)
        return axes


def smoothed(losses):
    """Running mean with bias correction: m_t = 0.9 m_(t-1) + 0.1 l_t, over 1 - 0.9^t."""
    mean, result = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = _MEMORY * mean + (1 - _MEMORY) * loss
        result.append(mean / (1 - _MEMORY ** step))
    return np.array(result)


class _Sweep(keras.callbacks.Callback):
    def __init__(self, rates, optimizer):
        super().__init__()
        self.rates, self.optimizer, self.losses = rates, optimizer, []

    def on_train_batch_begin(self, batch, logs=None):
        self.optimizer.learning_rate = self.rates[batch]
        self.model.reset_metrics()  # so that the log holds the loss of this batch alone

    def on_train_batch_end(self, batch, logs=None):
        loss = float(self.model.get_metrics_result()["loss"])  # of all replicas; in the log one without rows would count
        if not np.isfinite(loss):
            self.model.stop_training = True
            return
        self.losses.append(loss)
        smooth = smoothed(self.losses)
        self.model.stop_training = bool(smooth[-1] > _STOP_AT * smooth.min())
