"""Features out of a store: as a `tf.data.Dataset`, in the order that training asks for, or as arrays."""
import math
import weakref

import keras
import numpy as np
import tensorflow as tf

from ..data.streaming import AHEAD, epoch_variable, permutation, steady, unconverted
from .shards import Mapped
from .sources import Passes

_NAME = "_keras_transfer_views"


def dataset(shards, counts, source, outputs, shuffle):
    """Returns the features as a dataset, and the variable that numbers its epochs.

    Args:
        shards: complete `Shards`.
        counts: the rows of each view.
        source: what they were computed from.
        outputs: the symbolic outputs of the network in their structure, whose dtypes the features get.
        shuffle: whether to put the rows into a new order in each epoch.

    Returns:
        The dataset; the int64 `tf.Variable` that each iteration reads as it starts and adds one to, None if all epochs are
        the same; and a function (row numbers, rows a batch) -> a dataset of these rows of the first view.
    """
    views = _Views(_columns(shards, view, count) for view, count in enumerate(counts))
    mapped = weakref.ref(views)  # TensorFlow keeps `rows_of` as long as the process lives
    order = _order(counts, source, shards, shuffle)
    epoch = None if order is None else epoch_variable()

    def batches(_):
        number = tf.zeros((), tf.int64) if epoch is None else tf.identity(epoch.assign_add(1)) - 1
        rows = tf.range(counts[0], dtype=tf.int64) if order is None else order(number)
        batched = tf.data.Dataset.from_tensor_slices(rows).batch(source.batch_size)
        return batched.map(unconverted(lambda numbers: (number % len(views), numbers)))

    specs = [tf.TensorSpec((None, *t.shape[1:]), keras.backend.standardize_dtype(t.dtype))
             for t in keras.tree.flatten(outputs)]
    specs += [tf.TensorSpec((None, *shape), dtype) for name, (shape, dtype) in shards.layout.columns.items() if name[0] == "y"]

    def rows_of(view, numbers):
        return [column[numbers].astype(spec.dtype.as_numpy_dtype, copy=False) for column, spec in zip(mapped()[view], specs)]

    def element(view, numbers):
        flat = tf.numpy_function(rows_of, [view, numbers], [spec.dtype for spec in specs])
        packed = _packed([tf.ensure_shape(t, spec.shape) for t, spec in zip(flat, specs)], source, outputs)
        bare = not isinstance(source.spec, tuple) and isinstance(packed, tuple)  # which Keras would take for x and y
        return (packed,) if bare else keras.tree.lists_to_tuples(packed)  # of a list tf.data would make one tensor

    def reader(numbers, batch_size):
        chosen = tf.data.Dataset.from_tensor_slices(np.asarray(numbers, "int64")).batch(batch_size)
        result = steady(chosen.map(unconverted(lambda numbers: element(np.int64(0), numbers))).prefetch(AHEAD))
        setattr(result, _NAME, views)
        return result

    result = tf.data.Dataset.range(1).flat_map(unconverted(batches)).map(unconverted(element))
    if len(set(counts)) == 1:
        result = result.apply(tf.data.experimental.assert_cardinality(math.ceil(counts[0] / source.batch_size)))
    result = steady(result.prefetch(AHEAD))
    setattr(result, _NAME, views)
    return result, epoch, reader


def arrays(shards, count, source, outputs):
    """Returns all rows of the first view as arrays, in the structure of the source's elements."""
    names = [name for name in shards.layout.columns if name != "id"]
    everything = np.arange(count)
    flat = [Mapped(shards, 0, name, count)[everything] for name in names]
    dtypes = [keras.backend.standardize_dtype(t.dtype) for t in keras.tree.flatten(outputs)]
    flat = [a.astype("float32" if d == "bfloat16" else d, copy=False) for a, d in zip(flat, dtypes)] + flat[len(dtypes):]
    return _packed(flat, source, outputs)


class _Views(list):
    """The mapped columns of each view."""


def _columns(shards, view, count):
    return [Mapped(shards, view, name, count) for name in shards.layout.columns if name != "id"]


def _packed(flat, source, outputs):
    """The leaves of an element in its structure, the first of them in that of `outputs` for x: a tuple for a list."""
    count = len(keras.tree.flatten(outputs))
    x = keras.tree.pack_sequence_as(outputs, flat[:count])
    if isinstance(x, list):
        x = x[0] if count == 1 else tuple(x)
    if not isinstance(source.spec, tuple):
        return x
    return (x, *keras.tree.pack_sequence_as(source.rest, flat[count:]))


def _order(counts, source, shards, shuffle):
    """Returns a function: the epoch's number -> the rows of its view in order, int64; None if it's the same always."""
    seed = 0 if source.info is None else source.info.seed
    if isinstance(source, Passes):
        # a view holds the rows in the order of its pass; another epoch that reads it has an order of its own
        ids = [Mapped(shards, view, "id", count)[np.arange(count)] for view, count in enumerate(counts)]
        place = tf.constant(np.stack([np.argsort(each) for each in ids]))
        return lambda number: tf.gather(place[number % len(counts)], permutation(counts[0], seed, number))
    if shuffle or source.info is not None and source.info.epoch is not None:
        sizes = tf.constant(counts, tf.int64)
        return lambda number: permutation(sizes[number % len(counts)], seed, number)
    if len(counts) > 1:
        sizes = tf.constant(counts, tf.int64)
        return lambda number: tf.range(sizes[number % len(counts)])
    return None
