"""Training on features held in memory instead of on photos."""
import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from .. import data
from ..data.describing import described
from ..data.streaming import permutation, shuffled_rows
from .splitting import split

LIMIT = 1 << 30  # bytes of features; a larger set is computed in every epoch


def with_features(model, train, validation):
    """Splits `model` where training begins, and runs the part below it once over the data.

    Training the tail on the result is training the model: the same batches in the same order give the same losses.
    It's done only where that holds, for sets of `kt.data` without random augmentation, and where the features fit
    into `LIMIT`.

    Args:
        model: a Functional `keras.Model` with its flags set.
        train: a shuffled set of `kt.data`.
        validation: a set of `kt.data`, or None.

    Returns:
        `(tail, train, validation)` with features in place of photos, or None where it isn't exact or too large.
    """
    known = [data.info(part) for part in (train, validation) if part is not None]
    if None in known or any(info.random for info in known) or known[0].epoch is None:
        return None
    prefix, tail = split(model)
    if prefix is None or 4 * sum(len(info.files) for info in known) * _width(prefix) > LIMIT:
        return None
    known[0].epoch.assign(0)
    rows, size = _computed(prefix, train)
    order = permutation(len(known[0].files), known[0].seed, np.int64(0)).numpy()
    in_place = keras.tree.map_structure(lambda array: _unpermuted(array, order), rows)
    dataset, epoch = shuffled_rows(in_place, size, known[0].seed)
    train = described(dataset, dataclasses.replace(known[0], epoch=epoch))
    if validation is not None:
        rows, size = _computed(prefix, validation)
        validation = tf.data.Dataset.from_tensor_slices(rows).batch(size)
    return tail, train, validation


def _width(prefix):
    """Numbers that one photo is turned into."""
    return sum(math.prod(side or 10 ** 9 for side in tensor.shape[1:]) for tensor in prefix.outputs)


def _computed(prefix, dataset):
    """All elements of `dataset` with x replaced by the outputs of `prefix`, as arrays, and the batch size."""
    @tf.function(input_signature=[dataset.element_spec[0]])
    def run(x):
        features = prefix(x, training=False)
        return tuple(features) if isinstance(features, list) else features

    batches = [keras.tree.map_structure(np.asarray, (run(x), *rest)) for x, *rest in dataset]
    size = len(keras.tree.flatten(batches[0])[0])
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches), size


def _unpermuted(array, order):
    result = np.empty_like(array)
    result[order] = array
    return result

