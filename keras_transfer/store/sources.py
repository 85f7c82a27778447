"""Data sets as a feature store reads them: shard by shard, in an order that can be found again."""
import collections
import concurrent.futures
import contextlib
import hashlib
import math
import uuid

import keras
import numpy as np
import tensorflow as tf

from .. import _check, data
from ..data.streaming import AHEAD, permutation, steady
from . import keys

BATCH = 32  # rows that are computed at once, where the order of rows is free


def source_of(dataset, views=1, key=None):
    """Returns the source for a data set.

    Args:
        dataset: a set of `kt.data`; or any finite `tf.data.Dataset` of batches, a `keras.utils.PyDataset`, or a tuple
            of arrays, that gives the same elements in every pass (or has a `key`).
        views: how many passes are stored; one, if all are the same.
        key: the caller's word for what the data are, for data without a fingerprint of their own.

    Raises:
        TypeError: `dataset` is nothing of the kind.
        ValueError: it has no end, isn't batched, is empty, or gives other elements in the next pass.
    """
    known = data.info(dataset) if isinstance(dataset, tf.data.Dataset) else None
    if known is None or (known.reader is None and not known.random):
        return Elements(dataset, views, key)
    return Passes(dataset, known, views) if known.random else Rows(dataset, known)


class _Source:
    """What all sources have.

    Attributes:
        spec: the structure of one element, with `shape` and `dtype` at its leaves.
        step: rows a batch of those that `batches` yields.
        batch_size: rows a batch of the data set itself.
        count: rows of one view; None while it isn't known.
        views: the number of views.
        info: the `kt.data.Info`, or None.
        repeatable: whether every pass gives the same elements, so that one can complete what another began.
        unchecked: whether that is only thought so, until all of them have been read.
    """

    views, info, count, repeatable, unchecked = 1, None, None, True, False

    @property
    def rest(self):
        """What comes beside x: labels, and sample weights."""
        return tuple(self.spec[1:]) if isinstance(self.spec, tuple) else ()

    def mark(self):
        """Returns what tells these data from others."""
        return self.info.fingerprint

    def check_unchanged(self):
        """Refuses data whose files have changed since the data set was made."""
        changed = [] if self.info is None else self.info.changed()
        if changed:
            raise ValueError(f"{len(changed)} photos have changed or gone since the data set was made, such as "
                             f"{str(changed[0])!r}. Read the data again with kt.data.")


class Rows(_Source):
    """A set of `kt.data` without random augmentation: any row can be read, so that no photo is read in vain."""

    def __init__(self, dataset, known):
        self.info, self.count, self.step, self.spec = known, len(known.files), BATCH, dataset.element_spec
        self.batch_size = known.batch_size

    def batches(self, view, shards, rows):
        """Yields (shard, offset, x, rest, ids) of the given shards, which hold `rows` rows each, in batches."""
        wanted = [np.arange(shard * rows, min((shard + 1) * rows, self.count)) for shard in shards]
        numbers, place = np.concatenate(wanted or [np.arange(0)]), 0
        for x, *rest in _beside_inference(self.info.reader(numbers, self.step)) if len(numbers) else ():
            ids = numbers[place:place + len(keras.tree.flatten(x)[0])]
            yield int(ids[0]) // rows, int(ids[0]) % rows, x, rest, ids
            place += len(ids)


class Passes(_Source):
    """A set of `kt.data` with random augmentation: a view is a pass, as training would see it."""

    def __init__(self, dataset, known, views):
        self.dataset, self.info, self.views, self.spec = dataset, known, views, dataset.element_spec
        self.count, self.step = len(known.files), known.batch_size
        self.batch_size = self.step

    def mark(self):
        return f"{self.info.fingerprint}, seed {self.info.seed}, batches of {self.step}"

    def batches(self, view, shards, rows):
        before = self.info.epoch.numpy()
        self.info.epoch.assign(view)
        order = permutation(self.count, self.info.seed, np.int64(view)).numpy()
        place = min(shards, default=0) * rows
        try:
            for x, *rest in _beside_inference(self.dataset.skip(place // self.step)) if shards else ():
                ids = order[place:place + len(keras.tree.flatten(x)[0])]
                if place // rows in shards:
                    yield place // rows, place % rows, x, rest, ids
                place += len(ids)
                if place // rows > max(shards):
                    break
        finally:
            self.info.epoch.assign(before)


class Elements(_Source):
    """Any other data: read from the beginning, and told from others by a hash of their elements."""

    def __init__(self, dataset, views, key):
        self.dataset = dataset = _check.given(dataset)
        self.key, self.hash = key, None
        self.views = 1 if isinstance(dataset, tuple) else views
        _check_kind(dataset)
        first = self._first()
        if first is None:
            raise ValueError("`dataset` is empty, so there is nothing to compute.")
        self.spec = getattr(dataset, "element_spec", first)
        if isinstance(first, tuple):
            self.spec = self.spec[:len(first)]  # of a `tf.data.Dataset` it may end with None, too
        lengths = {len(a) if np.ndim(a) else None for a in keras.tree.flatten(first)}
        if len(lengths) != 1 or None in lengths:
            raise ValueError("`dataset` must give batches: tensors with the same number of rows. Batch it first, with "
                             f"`dataset.batch(32)`. Received: {keras.tree.map_structure(np.shape, first)}")
        self.step = self.batch_size = lengths.pop()
        self.count = len(keras.tree.flatten(dataset)[0]) if isinstance(dataset, tuple) else None
        self.repeats = key is None and self.views == 1
        self.repeatable = self.views == 1 and (
            isinstance(dataset, tuple) or _hash([first]) == _hash([self._first()]))
        if self.repeats and not self.repeatable:
            raise self._unrepeatable()

    def _first(self):
        """The first element of a pass, after which the pass is over."""
        with contextlib.closing(self._elements(0)) as elements:
            return _check.given(next(elements, None))

    @property
    def unchecked(self):
        return self.repeats and self.hash is None and not isinstance(self.dataset, tuple)

    def mark(self):
        if self.key is not None:
            return f"key {self.key!r}"
        if not self.repeats:
            return uuid.uuid4().hex  # of passes that differ, no hash tells whether they are the same as before
        self.read_through()
        return self.hash

    def read_through(self):
        collections.deque(self.batches(0, (), 1 << 62), maxlen=0)

    def batches(self, view, shards, rows):
        digest, place = hashlib.sha256(), 0
        for element in self._iterate(AHEAD):
            x, *rest = element if isinstance(element, tuple) else (element,)
            low, length = 0, len(keras.tree.flatten(x)[0])
            _check_finite(x, place, length)
            if self.repeats:
                keys.of_elements(digest, element)
            while low < length:  # a later batch may be larger than the first, and reach into the next shard
                shard, offset = divmod(place, rows)
                count = min(rows - offset, length - low)
                if shard in shards:
                    yield shard, offset, *keras.tree.map_structure(lambda a: np.asarray(a)[low:low + count], (x, rest)), \
                        np.arange(place, place + count)
                low, place = low + count, place + count
        if self.count not in (None, place) or self.hash not in (None, digest.hexdigest()):
            raise self._unrepeatable()
        self.count, self.hash = place, digest.hexdigest() if self.repeats else None

    def _iterate(self, ahead=0):
        return map(_check.given, self._elements(ahead))

    def _elements(self, ahead):
        if isinstance(self.dataset, tuple):
            length = len(keras.tree.flatten(self.dataset)[0])
            for low in range(0, length, BATCH):
                yield keras.tree.map_structure(lambda a: np.asarray(a[low:low + BATCH]), self.dataset)
        elif isinstance(self.dataset, keras.utils.PyDataset):
            self.dataset.on_epoch_begin()
            try:
                with contextlib.closing(_ahead(map(self.dataset.__getitem__, range(len(self.dataset))))) as batches:
                    for batch in batches:
                        yield tuple(batch) if isinstance(batch, list) else batch
            finally:  # where it may shuffle
                self.dataset.on_epoch_end()
        else:
            yield from _beside_inference(self.dataset.prefetch(ahead))

    def _unrepeatable(self):
        return ValueError("`dataset` gives other elements in the next pass: it's shuffled or augmented, so that what is "
                          "computed once would not be what training sees. Leave that out and give shuffle=True, or "
                          "say what the data are with store=kt.Store(key=...) to keep one pass as it comes.")


def _hash(elements):
    digest = hashlib.sha256()
    for element in elements:
        keys.of_elements(digest, element)
    return digest.hexdigest()


def is_finite(x):
    """Whether x holds no NaN or infinite numbers, which some kernels of inference turn into ordinary ones."""
    arrays = map(np.asarray, keras.tree.flatten(x))
    return all(np.isfinite(array.sum(dtype="float64")) for array in arrays if array.dtype.kind == "f")


def _check_finite(x, first, count):
    if not is_finite(x):
        raise ValueError(f"The data hold NaN or infinite numbers in x, in rows {first} to {first + count - 1}. Mend "
                         "or leave out these rows.")


class _All:
    def __contains__(self, shard):
        return True


ALL = _All()


def _check_kind(dataset):
    """Refuses what can't be read to its end."""
    if not isinstance(dataset, (tf.data.Dataset, keras.utils.PyDataset, tuple)):
        raise TypeError("`dataset` must be a tf.data.Dataset, a keras.utils.PyDataset or a tuple of arrays. "
                        f"Received: {type(dataset).__name__}")
    shapes = [np.shape(array) for array in keras.tree.flatten(dataset)] if isinstance(dataset, tuple) else [(1,)]
    if len({shape[:1] for shape in shapes}) != 1 or () in shapes:
        raise ValueError("`dataset` must hold arrays with the same number of rows. Received arrays of shape "
                         f"{shapes[:10]}.")
    if is_endless(dataset):
        raise ValueError("`dataset` has no end. Give a finite one, such as `dataset.take(100)`.")


def is_endless(dataset):
    """Whether a `tf.data.Dataset` or `keras.utils.PyDataset` is known to have no end; anything else has one."""
    if isinstance(dataset, keras.utils.PyDataset):
        return dataset.num_batches in (None, math.inf)
    return isinstance(dataset, tf.data.Dataset) and bool(dataset.cardinality() == tf.data.INFINITE_CARDINALITY)


def _ahead(elements):
    """The elements, each read on another thread while the caller works on the one before."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, elements, None)
        while (element := coming.result()) is not None:
            coming = pool.submit(next, elements, None)
            yield element


def _beside_inference(dataset):
    """Elements as arrays, read by threads that leave the processor's other ones to the network."""
    options = tf.data.Options()
    options.threading.max_intra_op_parallelism = 1
    own = dataset.options().autotune.enabled
    return (steady(dataset) if own is None else dataset).with_options(options).as_numpy_iterator()
