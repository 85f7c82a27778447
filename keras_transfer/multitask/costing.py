"""What a weighting costs, before training with it."""
import dataclasses
import time

import keras
import numpy as np

from .. import _check
from .._table import Table
from ..network import model_of
from .probing import first_batches, learner_of, restored
from .reaching import shared_variables
from .weighting import Weighting

_STEPS = 3  # in a row; one alone would measure the clock


def cost(model, weighting, dataset, *, at=None, repeats=5):
    """Measures what a training step with a weighting costs against the plain sum of the losses; nothing is trained.

    Methods on losses cost one backward pass. Methods on gradients cost one for each task, and keep a gradient of all that is
    shared for each; with `at` these passes end at one layer. Surgery is worth its price where `conflicts` shows tasks that
    oppose each other and `gain` shows that some lose; the plain sum with the right loss weights is the one to beat (Kurin et
    al. 2022, arXiv:2201.04122).

    Steps of both run in turns on one batch, on copies of weighting and optimizer; the weights are put back.

    Args:
        model: what `kt.attach` returned with a dict of heads, or its learner.
        weighting: as for `kt.MultiTask`.
        dataset: as for `fit`; the first batch is used.
        at: as for `kt.MultiTask`.
        repeats: how often a few steps of each are timed; the median counts.

    Returns:
        A `Cost`.

    Raises:
        ValueError: as from `kt.MultiTask`; or `repeats` is below 1.

    Example:
        >>> print(kt.multitask.cost(model, kt.multitask.PCGrad(), train, at="features"))
    """
    _check.whole(repeats, "repeats", least=1)
    network = model_of(model)
    (batch,) = first_batches(model, dataset, 1)
    copied = type(weighting).from_config(weighting.get_config()) if isinstance(weighting, Weighting) else weighting
    learners = [learner_of(model, None), learner_of(model, copied, at)]
    with restored(network.variables):
        seconds = np.median(_timed(learners, batch, repeats), axis=0)
    passes, small = passes_of(copied, len(learners[1].tasks), at)
    kept = 0 if passes + small == 1 else kept_bytes(learners[1], copied, batch[0])
    state = 0 if copied is None else sum(v.numpy().nbytes for v in copied.variables)
    name = "plain sum" if weighting is None else type(weighting).__name__
    return Cost(name, at, passes, small, *map(float, seconds), kept + state)


def passes_of(weighting, tasks, at):
    """Returns how many backward passes a step takes through the network, and how many through the heads alone.

    Two passes through half of the batch each count as one.
    """
    if weighting is None or not weighting.reads_gradients:
        return 1, 0
    return (tasks, 0) if at is None else (1, tasks)


def kept_bytes(learner, weighting, x):
    """Returns the size of the tasks' gradients that a step keeps at once, float32."""
    if learner.at is not None:
        numbers = np.prod(learner.trunk.compute_output_shape(_shape(x)))
    else:
        numbers = sum(np.prod(v.shape) for v in shared_variables(learner.model)) * weighting.parts
    return 4 * len(learner.tasks) * int(numbers)


def _shape(x):
    return keras.tree.map_structure(lambda t: tuple(t.shape), x)


def _timed(learners, batch, repeats):
    """Seconds a step, `(repeats, learners)`, measured in turns so that a busy moment hits all."""
    x, y, sample_weight = batch
    run = lambda learner: learner.train_on_batch(x, y, sample_weight=sample_weight)  # noqa: E731
    for learner in learners:
        run(learner), run(learner)  # traced and warm
    found = []
    for _ in range(repeats):
        found.append([])
        for learner in learners:
            start = time.perf_counter()
            for _ in range(_STEPS):
                run(learner)
            found[-1].append((time.perf_counter() - start) / _STEPS)
    return found


@dataclasses.dataclass(frozen=True, repr=False)
class Cost:
    """What `cost` found.

    Attributes:
        name: of the weighting.
        at: where gradients are compared, or None.
        passes: backward passes a step through the network.
        head_passes: backward passes a step through what lies above `at`.
        plain_seconds: of a step with the plain sum, the median.
        seconds: of a step with the weighting, the median.
        extra_bytes: what the step holds in addition, computed, not measured: a gradient of each task, and the state of
            the weighting.
    """

    name: str
    at: str | None
    passes: int
    head_passes: int
    plain_seconds: float
    seconds: float
    extra_bytes: int

    @property
    def factor(self):
        """How many times as long as with the plain sum a step takes."""
        return self.seconds / self.plain_seconds

    def __str__(self):
        passes = f"{self.passes} + {self.head_passes} from {self.at}" if self.head_passes else str(self.passes)
        rows = [("plain sum", "1", self.plain_seconds, 1.0, "0 B"),
                (self.name, passes, self.seconds, self.factor, size(self.extra_bytes))]
        return str(Table({"weighting": name, "backward passes": number, "ms a step": 1000 * seconds, "factor": factor,
                          "extra memory": memory} for name, number, seconds, factor, memory in rows))

    __repr__ = __str__


def size(count):
    """Returns a number of bytes in words."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
