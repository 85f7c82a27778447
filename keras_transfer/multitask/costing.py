"""What a weighting costs, before training with it."""
import dataclasses
import math
import time

import numpy as np
import tensorflow as tf

from .. import _check
from .._table import Table
from ..network import model_of
from .probing import first_batches, learner_of, made_up_batch, restored
from .weighting import Weighting

_STEPS = 3  # in a row; one alone would measure the clock
_LEAST = 1e6  # bytes that are told: on a processor TensorFlow doesn't count tensors of less than some 100 kB


def cost(model, weighting, dataset=None, *, at=None, repeats=5, batch_size=32):
    """Measures what a training step with a weighting takes against the plain sum of the losses; nothing is trained.

    Methods on losses take one backward pass. Methods on gradients take one for each task, and keep a gradient of all that is
    shared for each; with `at` these passes end at one layer. Surgery is worth its price where `conflicts` shows tasks that
    oppose each other and `gain` shows that some lose; the plain sum with the right loss weights is the one to beat (Kurin et
    al. 2022, arXiv:2201.04122).

    Steps of both run in turns on one batch, on copies of weighting and optimizer; the weights are put back.

    Args:
        model: what `kt.attach` returned with a dict of heads, or its learner.
        weighting: as for `kt.MultiTask`.
        dataset: as for `fit`; the first batch is used. None: random numbers of the model's own shapes.
        at: as for `kt.MultiTask`.
        repeats: how often a few steps of each are timed; the median counts.
        batch_size: the rows of the batch without a `dataset`.

    Returns:
        A `Cost`.

    Raises:
        ValueError: as from `kt.MultiTask`; `repeats` or `batch_size` is below 1; or there is no `dataset`, and shapes without
            a size, inputs of text or heads of your own don't tell what to draw.

    Example:
        >>> print(kt.multitask.cost(model, kt.multitask.PCGrad()))
    """
    _check.whole(repeats, "repeats", least=1)
    _check.whole(batch_size, "batch_size", least=1)
    network = model_of(model)
    batch = made_up_batch(network, batch_size) if dataset is None else first_batches(model, dataset, 1)[0]
    copied = type(weighting).from_config(weighting.get_config()) if isinstance(weighting, Weighting) else weighting
    # at a rate of 0: steps in a row on one batch could end in NaN
    learners = [learner_of(model, None, learning_rate=0.0), learner_of(model, copied, at, learning_rate=0.0)]
    with restored(network.variables):
        seconds = np.median(_timed(learners, batch, repeats), axis=0)
        peaks = [max(peak_bytes(lambda: _step(learner, batch)) for _ in range(_STEPS)) for learner in learners]
    passes, small = passes_of(copied, len(learners[1].tasks), at)
    state = 0 if copied is None else sum(v.numpy().nbytes for v in copied.variables)
    name = "plain sum" if weighting is None else type(weighting).__name__
    return Cost(name, at, passes, small, *map(float, seconds), peaks[0], peaks[1] + state)


def passes_of(weighting, tasks, at):
    """Returns how many backward passes a step takes through the network, and how many through the heads alone.

    Two passes through half of the batch each count as one.
    """
    if weighting is None or not weighting.reads_gradients:
        return 1, 0
    return (tasks, 0) if at is None else (1, tasks)


def peak_bytes(run):
    """Returns the most memory that TensorFlow holds during `run()` in addition to what it held before; NaN if it doesn't count.

    Whether it counts on a processor depends on the kind: its allocator for Intel's library has no such figures.
    """
    device, of = ("GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"), tf.config.experimental
    try:
        of.reset_memory_stats(device)
    except ValueError:
        return math.nan
    before = of.get_memory_info(device)["current"]
    run()
    return of.get_memory_info(device)["peak"] - before


def _step(learner, batch):
    x, y, sample_weight = batch
    learner.train_on_batch(x, y, sample_weight=sample_weight)


def _timed(learners, batch, repeats):
    """Seconds a step, `(repeats, learners)`, measured in turns so that a busy moment hits all."""
    for learner in learners:
        _step(learner, batch), _step(learner, batch)  # traced and warm
    found = []
    for _ in range(repeats):
        found.append([])
        for learner in learners:
            start = time.perf_counter()
            for _ in range(_STEPS):
                _step(learner, batch)
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
        plain_bytes: the most memory that a step with the plain sum holds in addition to what is there between steps (weights,
            data, the optimizer's state). On a processor TensorFlow doesn't count tensors of less than some 100 kB, and on some
            kinds none at all: NaN.
        bytes: that of a step with the weighting, and the state of the weighting.
    """

    name: str
    at: str | None
    passes: int
    head_passes: int
    plain_seconds: float
    seconds: float
    plain_bytes: float
    bytes: float

    @property
    def factor(self):
        """How many times as long as with the plain sum a step takes."""
        return self.seconds / self.plain_seconds

    def __str__(self):
        passes = f"{self.passes} + {self.head_passes} from {self.at}" if self.head_passes else str(self.passes)
        rows = [("plain sum", "1", self.plain_seconds, 1.0, _told(self.plain_bytes)),
                (self.name, passes, self.seconds, self.factor, _told(self.bytes))]
        return str(Table({"weighting": name, "backward passes": number, "ms a step": 1000 * seconds, "factor": factor,
                          "memory": memory} for name, number, seconds, factor, memory in rows))

    __repr__ = __str__


def _told(count):
    if math.isnan(count):
        return "not counted"
    return size(count) if count >= _LEAST else f"< {size(_LEAST)}"


def size(count):
    """Returns a number of bytes in words."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
