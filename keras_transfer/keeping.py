"""What goes along with `fit` in `fine_tune`: seeds, rates, the best weights, an early end, and the checkpoint."""
import contextlib
import math

import keras
import numpy as np

from . import _compat
from .agreeing import RATE_CALLBACKS
from .fitting import check_loss
from .network import model_of
from .replicating import share_accumulated

_PATIENCE = 5  # epochs without a better validation loss before a phase ends


class Keeper(keras.callbacks.Callback):
    """Seeds every epoch, remembers the best weights, ends a phase early, and writes the checkpoint."""

    def __init__(self, state, directory, callbacks):
        super().__init__()
        self.state, self.directory, self.info = state, directory, None
        self.restores = not any(isinstance(c, keras.callbacks.EarlyStopping) for c in callbacks)
        self.falls = not any(isinstance(c, RATE_CALLBACKS) for c in callbacks)

    def begin(self, network, name, last_epoch, rate):
        """A phase begins at `rate`; `network` is the whole model or learner, of which `fit` may see the tail only."""
        self.network, self.name, self.last_epoch, self.rate = network, name, last_epoch, rate

    def say(self, verbose, computed_once):
        state, count = self.state, self.last_epoch - self.state.begun
        model = model_of(self.network)
        trainable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        if verbose and state.epoch < self.last_epoch:
            print(f"Phase {self.name!r}: {count} epochs"
                  + f", from epoch {state.epoch + 1} on" * (state.epoch > state.begun)
                  + f"; {trainable:,} of {model.count_params():,} parameters train"
                  + ", and what is frozen below them is computed once" * computed_once + ".")

    def on_epoch_begin(self, epoch, logs=None):
        if self.name == "tune" and self.falls and not math.isnan(self.rate):
            done = (epoch - self.state.begun) / (self.last_epoch - self.state.begun)
            _compat.inner(self.model.optimizer).learning_rate = self.rate * (1 + math.cos(math.pi * done)) / 2
        if getattr(self.info, "epoch", None) is not None:
            self.info.epoch.assign(epoch)
        random_states = [v for v in self.network.variables if v.path.endswith("seed_generator_state")]
        for number, variable in enumerate(random_states):
            first = np.random.SeedSequence([self.state.seed, epoch, number]).generate_state(1)[0] >> 1
            variable.assign(np.array([first, 0], variable.dtype))

    def on_epoch_end(self, epoch, logs=None):
        check_loss(logs or {}, epoch)
        state, loss = self.state, (logs or {}).get("val_loss")
        rate = float(keras.ops.convert_to_numpy(_compat.inner(self.model.optimizer).learning_rate))
        lacking = dict.fromkeys([k for k in state.history if k not in logs], math.nan)  # as weights of a phase that has none
        state.history |= {k: [math.nan] * state.epoch for k in logs if k not in state.history}
        plain = {k: keras.ops.convert_to_numpy(v).tolist() for k, v in logs.items()}  # some metrics give several numbers
        state.log(**lacking | plain | {"learning_rate": rate, "phase": self.name})
        state.epoch, state.wait = epoch + 1, state.wait + 1
        if loss is not None and (state.best is None or loss < state.best):
            state.best, state.wait = float(loss), 0
            state.best_weights = [w.numpy() for w in self.network.weights] if self.restores else None
        if loss is not None and self.restores and state.wait >= _PATIENCE:
            self.model.stop_training = True
        state.epochs_over = bool(self.model.stop_training) or state.epoch == self.last_epoch  # a callback may give NumPy's
        self.write(self.network)

    def write(self, model):
        if self.directory is not None:
            share_accumulated(model.optimizer, model.distribute_strategy)
            self.state.save(self.directory, [*model.weights, *model.optimizer.variables], model.distribute_strategy)


@contextlib.contextmanager
def appended_to(callbacks, epochs):
    """Context: where `epochs` epochs are over, a `CSVLogger` goes on with its file, which it would begin anew in each `fit`."""
    given = [(callback, callback.append) for callback in callbacks if isinstance(callback, keras.callbacks.CSVLogger)]
    try:
        for callback, append in given:
            callback.append = append or epochs > 0
        yield
    finally:
        for callback, append in given:
            callback.append = append


def restore(variables, values):
    """Gives variables the values of a checkpoint, or refuses these."""
    if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
        raise ValueError("The checkpoint is of another run: what trained in it was another part of the network. Give the "
                         "same settings to go on with it, or another `directory` to start anew.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
