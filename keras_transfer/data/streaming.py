"""Samples to `tf.data`: in order, or shuffled and augmented by (seed, epoch) only."""
import dataclasses
import functools
import math
import os

import numpy as np
import tensorflow as tf

from . import seen
from .decoding import decode_known
from .formats import ANY

AHEAD = 4  # batches ready before they're asked for
unconverted = tf.autograph.experimental.do_not_convert  # a function without Python's `if` or `for` is traced sooner then


@dataclasses.dataclass(frozen=True)
class Samples:
    """Photos with their labels.

    Attributes:
        files: paths that can be opened.
        names: the same paths relative to their folder.
        targets: `{name: array}` of labels, `(samples,)` or `(samples, labels)`.
        plain: whether the one target is yielded itself instead of a dict.
    """

    files: list
    names: list
    targets: dict
    plain: bool

    @functools.cached_property
    def known(self):
        """What is known of all files, see `formats.picture`."""
        return seen.least(self.files)

    def where(self, mask):
        """Returns the samples for which the mask, `(samples,)` bools, holds."""
        keep = np.flatnonzero(mask)
        return Samples([self.files[k] for k in keep], [self.names[k] for k in keep],
                       {name: array[keep] for name, array in self.targets.items()}, self.plain)


def ordered(samples, size, fit, batch_size, rows=None):
    """Returns batches of (photos, labels) in the samples' order, or in that of `rows`, an int64 array of numbers."""
    numbers = np.arange(len(samples.files)) if rows is None else rows
    dataset = tf.data.Dataset.from_tensor_slices(np.asarray(numbers, "int64")).map(_reader(samples, size, fit), tf.data.AUTOTUNE)
    return steady(dataset.batch(batch_size).prefetch(AHEAD))


def shuffled(samples, size, fit, batch_size, seed, augmentation=None):
    """Returns batches reshuffled, and augmented if asked, in every epoch, and the variable that numbers the epochs.

    Order and randomness are functions of the seed, the epoch's number and the batch's number, so setting the variable
    to e gives epoch e again: in any process, whatever was iterated or prefetched before.

    Returns:
        The dataset and its int64 `tf.Variable`: each iteration reads it as it starts and adds one.
    """
    count, epoch, read = len(samples.files), epoch_variable(), _reader(samples, size, fit)

    @unconverted
    def order(_):
        number = tf.identity(epoch.assign_add(1)) - 1
        return tf.data.Dataset.from_tensor_slices((tf.fill((count,), number), permutation(count, seed, number)))

    dataset = tf.data.Dataset.range(1).flat_map(order)
    if augmentation is None:
        dataset = dataset.map(unconverted(lambda number, row: read(row)), tf.data.AUTOTUNE).batch(batch_size)
    else:
        dataset = dataset.map(lambda number, row: (number, *read(row)), tf.data.AUTOTUNE).batch(batch_size)

        def augment(batch, element):
            number, photos, labels = element
            key = tf.random.experimental.stateless_fold_in(tf.stack([seed, number[0]]), batch)
            return augmentation(photos, key), labels

        dataset = dataset.enumerate().map(augment, tf.data.AUTOTUNE)
    batches = tf.data.experimental.assert_cardinality(math.ceil(count / batch_size))
    return steady(dataset.apply(batches).prefetch(AHEAD)), epoch


def shuffled_rows(arrays, batch_size, seed):
    """Returns batches of the rows of `arrays`, in the order that `shuffled` gives photos, and the epoch's variable.

    Args:
        arrays: NumPy arrays `(rows, ...)` in any structure.
        batch_size: rows a batch; the last batch may have fewer.
        seed: whole number.
    """
    count, epoch = len(tf.nest.flatten(arrays)[0]), epoch_variable()
    held = tf.nest.map_structure(tf.convert_to_tensor, arrays)

    @unconverted
    def order(_):
        number = tf.identity(epoch.assign_add(1)) - 1
        return tf.data.Dataset.from_tensor_slices(permutation(count, seed, number)).batch(batch_size)

    dataset = tf.data.Dataset.range(1).flat_map(order)
    dataset = dataset.map(lambda rows: tf.nest.map_structure(lambda array: tf.gather(array, rows), held))
    batches = tf.data.experimental.assert_cardinality(math.ceil(count / batch_size))
    return steady(dataset.apply(batches).prefetch(AHEAD)), epoch


def steady(dataset):
    """Returns the dataset without autotuning, whose thread can miss that a pass is over; `AUTOTUNE` is all processors then.

    The iterator would wait until the thread wakes up, which takes up to as long as the pass has taken, and a minute at most.
    """
    options = tf.data.Options()
    options.autotune.enabled, options.autotune.initial_parallelism = False, os.cpu_count()
    return dataset.with_options(options)


def permutation(count, seed, number):
    """Returns the order of `count` rows in the epoch of that number, int64 `(count,)`."""
    return tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), tf.stack([seed, number]), alg="philox")


def epoch_variable():
    """Returns a new counter, on the processor, where pipelines run."""
    with tf.device("CPU:0"):
        return tf.Variable(0, dtype=tf.int64, trainable=False, name="epoch")


def _reader(samples, size, fit):
    """Returns a function: a row's number -> (photo, labels)."""
    files = tf.constant([os.fsencode(file) for file in samples.files])
    labels = {name: tf.constant(array) for name, array in samples.targets.items()}
    labels = next(iter(labels.values())) if samples.plain else labels
    decode_one = decoder(size, fit, samples.known)

    @unconverted
    def read(row):
        photo = decode_one(tf.io.read_file(tf.gather(files, row)))
        return photo, tf.nest.map_structure(lambda array: tf.gather(array, row), labels)

    return read


@functools.cache
def decoder(size, fit, known=ANY):
    """Returns `decode` for this size and fit as a graph; tracing takes a second, so all who read photos share it."""
    return tf.function(lambda bytes: decode_known(bytes, size, fit, known), [tf.TensorSpec((), tf.string)], autograph=False)
