"""Data sets of different tasks -> one data set, in which each row has the labels that its own set knows."""
import dataclasses
import hashlib
import math

import keras
import numpy as np
import tensorflow as tf

from .. import _check
from ..data.describing import Info, described, info
from ..data.streaming import AHEAD, epoch_variable, shuffled_rows, steady

SAMPLINGS = ("proportional", "temperature", "annealed", "equal")
_PASSES = 1 << 20  # epochs of a set's own that one epoch of the mixture may take


def mix(datasets, sampling="proportional", *, temperature=2.0, epochs=None, steps=None, batch_size=32, seed=0):
    """Mixes data sets of one task each, or of several, into batches with rows of all of them.

    Use it where the tasks have data of their own. A row has the labels of its own set; those of other tasks are missing (-1,
    or NaN where labels are floats), which masked losses leave out. All tasks may be in one batch, so that methods on
    gradients can compare them.

    A set of n_i rows gives the share p_i of an epoch:

    - "proportional": p_i ~ n_i, each row once an epoch.
    - "temperature": p_i ~ n_i^(1/T). T = 1 is proportional, large T equal. Multilingual BERT took 1/T = 0.7, mT5 0.3 (Xue et
      al. 2021, arXiv:2010.11934).
    - "annealed": p_i ~ n_i^alpha, alpha = 1 - 0.8 (e - 1) / (E - 1) in epoch e of E: proportional at first, nearly equal
      in the end, so that small sets aren't worn out early (Stickland and Murray 2019, arXiv:1902.02671).
    - "equal": p_i ~ 1.

    Shares are kept exactly, but for rounding, where the papers draw at random: no task misses an epoch, and each gives at
    least one row. A small set begins anew as often as needed. The order is a function of the seed and the epoch's number only,
    for sets of kt.data and arrays; other sets give their rows in an order of their own, so shuffle them beforehand.

    Args:
        datasets: `{task: dataset}`: batched `tf.data.Dataset` of (x, y), finite, or a tuple of arrays (x, y). y: the labels of
            that task, `(batch, ...)`; or a dict of them for several tasks, where the name of the set doesn't matter.
        sampling: see above.
        temperature: T, over 0, for "temperature".
        epochs: E, for "annealed".
        steps: batches an epoch; None: as many as hold the rows of all sets.
        batch_size: rows a batch.
        seed: whole number.

    Returns:
        A `tf.data.Dataset` of (x, `{task: labels}`).

    Raises:
        ValueError: an argument is out of range, a set is empty or endless, or x or labels don't fit together.

    Example:
        >>> train = kt.multitask.mix({"breed": breeds, "age": ages}, "temperature")
        >>> kt.fine_tune(model, train)
    """
    if not isinstance(datasets, dict) or not datasets:
        raise ValueError(f"`datasets` must be a dict {{task: dataset}}. Received: {datasets!r}")
    exponent = _exponent(_check.one_of(sampling, SAMPLINGS, "sampling"), temperature, epochs)
    batch_size, seed = _check.whole(batch_size, "batch_size", least=1), _check.whole(seed, "seed")
    parts = [_part(name, dataset, batch_size, seed) for name, dataset in datasets.items()]
    labels = _labels(parts)
    sizes = np.array([part.rows for part in parts], "float64")
    rows = int(sizes.sum()) if steps is None else _check.whole(steps, "steps", least=1) * batch_size
    if rows < len(parts):
        raise ValueError(f"{len(parts)} data sets don't fit into an epoch of {rows} rows. Give more `steps`.")
    streams = [part.filled(labels).unbatch().repeat() for part in parts]
    epoch = epoch_variable()

    def order(_):
        number = tf.identity(epoch.assign_add(1)) - 1
        for part in parts:
            if part.epoch is not None:
                part.epoch.assign(number * _PASSES)
        counts = quotas(sizes ** exponent(tf.cast(number, tf.float64)), rows)
        choice = tf.repeat(tf.range(len(parts), dtype=tf.int64), counts)
        choice = tf.random.experimental.stateless_shuffle(choice, tf.stack([seed, number]), alg="philox")
        taken = [stream.take(counts[place]) for place, stream in enumerate(streams)]  # no pass is begun that isn't needed
        choice = tf.data.Dataset.from_tensor_slices(choice)
        return tf.data.Dataset.choose_from_datasets(taken, choice, stop_on_empty_dataset=False)

    mixed = tf.data.Dataset.range(1).flat_map(order).batch(batch_size)
    batches = tf.data.experimental.assert_cardinality(math.ceil(rows / batch_size))
    mark = repr((sampling, temperature, epochs, rows, batch_size, seed, [part.mark for part in parts]))
    return described(steady(mixed.apply(batches).prefetch(AHEAD)), _about(parts, mark, epoch, seed))


def quotas(shares, rows):
    """Divides rows: each set gets one, and the others go by largest remainders to what shares exceed one row by.

    Args:
        shares: `(sets,)`, over 0.
        rows: whole number, at least that of the sets.

    Returns:
        int64 `(sets,)` with the sum `rows`.
    """
    rest = rows - len(shares)
    excess = tf.maximum(shares / tf.reduce_sum(shares) * rows - 1, 0)
    exact = tf.math.divide_no_nan(excess, tf.reduce_sum(excess)) * rest
    counts = tf.cast(tf.floor(exact + 1e-9), tf.int64)  # a whole number may come out a rounding error below it
    place = tf.argsort(tf.argsort(tf.cast(counts, tf.float64) - exact, stable=True))  # 0 for the largest remainder
    return 1 + counts + tf.cast(tf.cast(place, tf.int64) < rest - tf.reduce_sum(counts), tf.int64)


def _exponent(sampling, temperature, epochs):
    """The power of n_i that a share is proportional to, a function of the epoch's number, float64 from 0 on."""
    if sampling == "annealed":
        if epochs is None:
            raise ValueError('With sampling="annealed" the shares depend on the number of epochs. Give `epochs`.')
        last = max(1, _check.whole(epochs, "epochs", least=1) - 1)
        return lambda number: 1.0 - 0.8 * tf.minimum(number / last, 1.0)
    _check.over_zero(temperature, "temperature")
    power = {"proportional": 1.0, "temperature": 1.0 / temperature, "equal": 0.0}[sampling]
    return lambda number: tf.constant(power, tf.float64)


@dataclasses.dataclass(frozen=True)
class _Part:
    """One of the sets: its batches of (x, {task: labels}), their specs, and what is known of it."""

    name: str
    dataset: tf.data.Dataset
    rows: int
    epoch: tf.Variable | None
    info: Info | None
    mark: str

    @property
    def specs(self):
        return self.dataset.element_spec

    def filled(self, labels):
        """With all `labels`, `{task: TensorSpec}`; those it lacks are missing."""
        def fill(x, y):
            rows = tf.shape(keras.tree.flatten(x)[0])[0]
            return x, {task: y[task] if task in y else _missing(spec, rows) for task, spec in labels.items()}

        return self.dataset.map(fill)


def _missing(spec, rows):
    shape = tf.concat([[rows], spec.shape[1:]], 0)
    return tf.fill(shape, tf.constant(-1 if spec.dtype.is_integer else math.nan, spec.dtype))


def _part(name, dataset, batch_size, seed):
    known = None
    if isinstance(dataset, tuple):
        lengths = {len(leaf) for leaf in keras.tree.flatten(dataset)}
        if len(lengths) != 1:
            raise ValueError(f"The arrays of the data set {name!r} have {' and '.join(map(str, sorted(lengths)))} rows. Give a label "
                             "for each row.")
        (rows,) = lengths
        dataset, epoch = shuffled_rows(dataset, batch_size, seed) if rows else (dataset, None)
    elif not isinstance(dataset, tf.data.Dataset):
        raise TypeError(f"The data set {name!r} must be a tf.data.Dataset or a tuple of arrays (x, y). Received: "
                        f"{type(dataset).__name__}")
    else:
        known = info(dataset)
        epoch = known and known.epoch
        rows = _counted(name, dataset) if known is None else len(known.files)
    if not rows:
        raise ValueError(f"The data set {name!r} is empty.")
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise ValueError(f"The data set {name!r} must give (x, y). Sample weights come after mixing: "
                         f"kt.data.balance(kt.multitask.mix(...)). It gives: {spec}")
    if not isinstance(spec[1], dict):
        dataset = dataset.map(lambda x, y: (x, {name: y}))
    mark = known.fingerprint if known else repr((rows, spec))
    return _Part(name, dataset, rows, epoch, known, f"{name}: {mark}")


def _counted(name, dataset):
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"The data set {name!r} has no end, so its share can't be told. Mix it before `repeat`.")
    return sum(len(keras.tree.flatten(batch)[0]) for batch in dataset)


def _labels(parts):
    """The labels of all sets, `{task: TensorSpec}`."""
    first, found = parts[0], {}
    for part in parts:
        x, y = part.specs
        if not _same(x, first.specs[0]):
            raise ValueError(f"The sets {first.name!r} and {part.name!r} differ in x: {first.specs[0]} and {x}. Bring them to "
                             "one shape and dtype.")
        for task, spec in y.items():
            if not (spec.dtype.is_floating or spec.dtype.is_integer and not spec.dtype.is_unsigned):
                raise ValueError(f"The labels of task {task!r} in the set {part.name!r} are {spec.dtype.name}, which has no "
                                 "value for a missing one. Give class numbers as int32, or floats.")
            other, before = found.setdefault(task, (spec, part))
            if not _same(spec, other):
                raise ValueError(f"The sets {before.name!r} and {part.name!r} differ in the labels of task {task!r}: {other} and "
                                 f"{spec}. Bring them to one shape and dtype.")
    return {task: spec for task, (spec, _) in found.items()}


def _same(one, other):
    """Whether two structures of specs agree but for the batch."""
    pairs = [keras.tree.flatten(spec) for spec in (one, other)]
    return len(pairs[0]) == len(pairs[1]) and all(
        a.dtype == b.dtype and a.shape[1:].is_compatible_with(b.shape[1:]) for a, b in zip(*pairs))


def _about(parts, mark, epoch, seed):
    """What is known of the mixture: its epochs, and the class names, which must be the same wherever a task occurs."""
    names, known = {}, [part for part in parts if part.info is not None]
    for part in known:
        tasks, labels = list(part.specs[1]), part.info.labels
        for task, own in (labels.items() if isinstance(labels, dict) and set(tasks) == set(labels) else [(tasks[0], labels)]):
            if isinstance(own, list) and names.setdefault(task, own) != own:
                raise ValueError(f"The classes of task {task!r} aren't the same in all sets: {', '.join(names[task][:5])} and, "
                                 f"in {part.name!r}, {', '.join(own[:5])}. Class numbers would mean different things.")
    size, fit = (known[0].info.size, known[0].info.fit) if known else ((0, 0), "stretch")
    return Info(fingerprint=hashlib.sha256(mark.encode()).hexdigest(), random=False, epoch=epoch, labels=names, targets={},
                files=[file for part in known for file in part.info.files], size=size, fit=fit, seed=seed)
