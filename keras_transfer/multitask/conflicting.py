"""Where tasks fight: cosines between their gradients, by block and over time."""
import dataclasses
import itertools

import keras
import numpy as np
import tensorflow as tf

from .. import _check, blocks
from .._table import Table
from ..distributing import outside_scope
from ..network import model_of
from . import drawing
from .probing import Probe, first_batches, restored
from .reaching import shared_variables
from .weighting.weighting import gramian_of

WHOLE = "all"
_BY = ("block", "layer", "model")


def conflicts(model, dataset, *, batches=8, by="block", at=None):
    """Returns the cosines between the gradients of the tasks, block by block: below 0 a step for one task undoes another's.

    cos_ij = g_i' g_j / (|g_i| |g_j|), g_i being the gradient of task i with respect to what at least two tasks share (Yu et
    al. 2020, arXiv:2001.06782, which calls tasks with a cosine below 0 conflicting). Methods on gradients, such as
    `kt.multitask.PCGrad`, are for tasks that oppose each other often and strongly; near 0 they do what the plain sum does.
    Blocks where tasks fight are where to part them, for instance with `kt.multitask.CrossStitch(at=...)`.

    The model runs as in training; what that changes is put back, so it can be called at any time. For a view over
    time there is `Conflicts`.

    Args:
        model: what `kt.attach` returned with a dict of heads, or its learner; or any compiled Functional model with a dict of
            outputs.
        dataset: as for `fit`; of a shuffled one the next `batches` are taken.
        batches: how many batches are looked at.
        by: "block" of the backbone, "layer", or "model": all in one.
        at: the name of a layer ("features"): gradients with respect to its output instead of the variables. That is what
            a frozen backbone allows.

    Returns:
        A `ConflictMap`.

    Raises:
        ValueError: the tasks share nothing that trains, or an argument is out of range.

    Example:
        >>> found = kt.multitask.conflicts(model, train)
        >>> print(found)
        >>> found.plot("conflicts.png")
    """
    _check.whole(batches, "batches", least=1)
    return _Meter(model, by, at).measured(first_batches(model, dataset, batches))


class _Meter:
    """What is measured, and its traced functions."""

    def __init__(self, model, by, at):
        _check.one_of(by, _BY, "grouping `by`")
        self.network = model_of(model)
        self.parts = {at: [0]} if at is not None else _parts(self.network, by)
        variables = shared_variables(self.network) if at is None else ()
        self.probe = Probe(model, variables, at, training=True)
        self.gramians = tf.function(self._gramians, reduce_retracing=True)

    @outside_scope  # between replicas, a variable that each has can't be differentiated by
    def measured(self, batches):
        with restored(self.network.non_trainable_variables):
            found = [tf.nest.map_structure(np.asarray, self.gramians(*batch)) for batch in batches]
        cosines = np.stack([_cosines(gramians, present) for gramians, present in found])
        names = [*self.parts, WHOLE] if len(self.parts) > 1 else list(self.parts)
        return ConflictMap(self.probe.tasks, names, cosines[:, :len(names)])

    def _gramians(self, x, y, sample_weight):
        gradients, _, present = self.probe.gradients(x, y, sample_weight)
        each = [gramian_of([gradients[k] for k in places]) for places in self.parts.values()]
        return tf.stack([*each, tf.add_n(each)]), present


def _parts(network, by):
    """The shared variables by the block that they belong to: `{name: places}`, from input to output."""
    shared = shared_variables(network)
    if not shared:
        raise ValueError("No variable that trains is shared by two tasks, so there are no gradients to compare. Unfreeze a part "
                         "of the backbone, or give at=\"features\".")
    if by == "model":
        return {WHOLE: list(range(len(shared)))}
    backbone = blocks.backbone_of(network)
    alone = [layer for layer in network.layers if layer is not backbone]
    groups = blocks.blocks(backbone) if by == "block" else []
    alone = alone if by == "block" else [*blocks.depth_layers(backbone), *alone]
    groups += [(layer.name, [layer]) for layer in alone]
    places, found = {id(v): k for k, v in enumerate(shared)}, {}
    for name, layers in groups:
        mine = [places.pop(id(v)) for layer in layers for v in layer.trainable_variables if id(v) in places]
        if mine:
            found.setdefault(name, []).extend(mine)
    return found


def _cosines(gramians, present):
    """(parts, tasks, tasks); NaN for tasks without labels, and where a gradient is 0."""
    lengths = np.sqrt(np.einsum("...ii->...i", gramians))
    lengths = np.where(present & (lengths > 0), lengths, np.nan)
    return np.clip(gramians / lengths[..., :, None] / lengths[..., None, :], -1, 1)


@dataclasses.dataclass(repr=False)
class ConflictMap:
    """What `conflicts` found. It prints as a table with a row a block and a column a pair of tasks.

    Attributes:
        tasks: their names.
        parts: the names of the blocks from input to output; the last one, "all", is the whole of what is shared.
        cosines: `(batches, parts, tasks, tasks)`; NaN where a task had no label or no gradient.
    """

    tasks: list
    parts: list
    cosines: np.ndarray

    @property
    def mean(self):
        """The mean cosine over batches, `(parts, tasks, tasks)`."""
        return _mean(self.cosines)

    @property
    def opposed(self):
        """The share of batches with a cosine below 0, `(parts, tasks, tasks)`."""
        return _mean(np.where(np.isnan(self.cosines), np.nan, self.cosines < 0))

    @property
    def pairs(self):
        """The pairs of tasks, `[(number, number)]`."""
        return list(itertools.combinations(range(len(self.tasks)), 2))

    def titles(self):
        """Returns the names of the pairs."""
        return [f"{self.tasks[i]} – {self.tasks[j]}" for i, j in self.pairs]

    def table(self):
        """Returns a `Table` of mean cosines: a row a block, a column a pair of tasks."""
        cells = [[round(float(part[i, j]), 3) for i, j in self.pairs] for part in self.mean]
        return Table({"block": part, **dict(zip(self.titles(), row))} for part, row in zip(self.parts, cells))

    def worst(self):
        """Returns (pair, block) with the lowest mean cosine as numbers, or None if none is known."""
        mean = self.mean
        known = {((i, j), p): mean[p, i, j] for p in range(len(self.parts)) for i, j in self.pairs if not np.isnan(mean[p, i, j])}
        return min(known, key=known.get) if known else None

    def plot(self, path=None):
        """Draws the mean cosines, blocks by pairs of tasks; writes the picture to `path` if given. Returns matplotlib axes."""
        values = np.array([[self.mean[p, i, j] for i, j in self.pairs] for p in range(len(self.parts))])
        figure, (axes,) = drawing.figure(1, len(self.parts), len(self.pairs))
        drawing.heat_map(axes, values, self.parts, self.titles(), rotation=30)
        return drawing.finished(figure, [axes], path)

    def __str__(self):
        return f"{self.table()}\n{self._said()}"

    __repr__ = __str__

    def _said(self):
        found = self.worst()
        if found is None:
            return "No two tasks had labels and gradients in one batch."
        (i, j), part = found
        cosine, count = self.mean[part, i, j], int(np.sum(~np.isnan(self.cosines[:, part, i, j])))
        if cosine >= 0:
            return "No two tasks oppose each other on average."
        return (f"{self.tasks[i]} and {self.tasks[j]} oppose each other most in {self.parts[part]}: cosine {cosine:.2f}, below 0 "
                f"in {round(self.opposed[part, i, j] * count)} of {count} batches.")


def _mean(values):
    """The mean over the first axis, NaN left out."""
    known = ~np.isnan(values)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)


class Conflicts(keras.callbacks.Callback):
    """Looks at the conflicts between tasks before training and after each epoch, on the same batches.

    Args:
        dataset: as for `conflicts`.
        batches: as for `conflicts`.
        by: as for `conflicts`.
        at: as for `conflicts`.

    Attributes:
        found: a `ConflictMap` for each moment, the first one before training.

    Example:
        >>> watch = kt.multitask.Conflicts(train, batches=4)
        >>> learner.fit(train, epochs=10, callbacks=[watch])
        >>> watch.plot("conflicts.png")
    """

    def __init__(self, dataset, *, batches=4, by="block", at=None):
        super().__init__()
        self.dataset, self.batches, self.by, self.at = dataset, _check.whole(batches, "batches", least=1), by, at

    def on_train_begin(self, logs=None):
        self.meter = _Meter(self.model, self.by, self.at)
        self.held = first_batches(self.model, self.dataset, self.batches)
        self.found = [self.meter.measured(self.held)]

    def on_epoch_end(self, epoch, logs=None):
        self.found.append(self.meter.measured(self.held))

    def plot(self, path=None, most=6):
        """Draws the mean cosines, blocks by epochs, for the `most` pairs of tasks that oppose each other most.

        Writes the picture to `path` if given. Returns the matplotlib axes, one a pair.
        """
        first, cosines = self.found[0], np.stack([moment.mean for moment in self.found])
        lows = [np.nanmin(np.append(cosines[:, :, i, j], 1.0)) for i, j in first.pairs]
        chosen = sorted(np.argsort(lows, kind="stable")[:most])
        figure, panels = drawing.figure(len(chosen), len(first.parts), len(self.found))
        for axes, k in zip(panels, chosen):
            i, j = first.pairs[k]
            drawing.heat_map(axes, cosines[:, :, i, j].T, first.parts, range(len(self.found)), title=first.titles()[k])
            axes.set_xlabel("epochs trained")
        return drawing.finished(figure, panels, path)
