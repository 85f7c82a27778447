"""Where a network looked: Grad-CAM on its last maps."""

import keras
import numpy as np
import tensorflow as tf

from .. import _compat
from ..network import is_inlined, takes_training, with_masks

_BATCH = 16  # photos whose maps are held at once


def grad_cam(model, photos, score):
    """Returns where on each photo the score was decided, by the last maps before it (Selvaraju et al. 2017).

    relu(sum_k a_k A_k) with a_k = mean over places of d score / d A_k, for maps A `(height, width, k)`
    (arXiv:1610.02391). With an average of the maps and one linear layer above them, it is the class activation map
    relu(sum_k w_k A_k) up to a factor.

    Args:
        model: a Functional `keras.Model` from photos to outputs; models may be nested in it.
        photos: `(batch, height, width, channels)`, as the model takes them.
        score: a function: the outputs of the model, and the rows of `photos` they are of, a slice -> `(rows,)`.

    Returns:
        float32 `(batch, map height, map width)`, each from 0 to 1 (its largest value; all 0 where nothing speaks for
        the score), or None if the model has no maps that its score depends on.
    """
    place = _last_maps(model, photos[:1], lambda outputs: score(outputs, slice(0, 1)))
    if place is None:
        return None
    parts = []
    for start in range(0, len(photos), _BATCH):
        rows = slice(start, min(start + _BATCH, len(photos)))
        walk = _Walk(place)
        with walk.tape:
            total = tf.reduce_sum(score(walk.run(model, photos[rows]), rows))
        (maps,) = walk.maps
        slopes = tf.cast(walk.tape.gradient(total, maps), "float32")
        weights = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
        parts.append(tf.nn.relu(tf.reduce_sum(weights * tf.cast(maps, "float32"), axis=-1)).numpy())
    maps = np.concatenate(parts)
    largest = maps.max((1, 2), keepdims=True)
    return np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)


def _last_maps(model, photo, score):
    """The number, in the order of calls, of the last maps that the score depends on; None without any."""
    walk = _Walk()
    with walk.tape:
        total = tf.reduce_sum(score(walk.run(model, photo)))
    slopes = walk.tape.gradient(total, walk.maps) if walk.maps else []
    return next((k for k in reversed(range(len(slopes))) if slopes[k] is not None), None)


class _Walk:
    """One pass through the graph, in inference mode, that keeps the maps it meets: all, or those of one number."""

    def __init__(self, wanted=None):
        self.tape = tf.GradientTape(watch_accessed_variables=False)
        self.wanted, self.maps, self.number, self.learned = wanted, [], 0, False

    def run(self, model, inputs):
        return _compat.run_graph(_compat.graph(model), inputs, self.wrap)

    def wrap(self, operation):
        def call(*args, **kwargs):
            if is_inlined(operation):
                return self.run(operation, with_masks(*args, **kwargs))
            if takes_training(operation):
                kwargs["training"] = False
            outputs = operation(*args, **kwargs)
            # before the first layer that learned something there are but pixels
            self.learned |= bool(getattr(operation, "weights", [])) and not isinstance(
                operation, keras.layers.Normalization
            )
            return self.keep(outputs) if self.learned and _is_maps(outputs) else outputs

        return call

    def keep(self, outputs):
        if self.wanted in (None, self.number):
            self.tape.watch(outputs)
            self.maps.append(outputs)
        self.number += 1
        return outputs


def _is_maps(outputs):
    """Whether they have height, width and channels; squeezed ones of a single place say nothing about where."""
    return (
        isinstance(outputs, tf.Tensor)
        and outputs.dtype.is_floating
        and outputs.shape.rank == 4
        and max(outputs.shape[1:3]) > 1
    )
