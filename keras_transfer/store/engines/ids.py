"""Ids that an embedding doesn't have: Keras refuses them, OpenVINO gives zeros for them in silence."""
import keras
import numpy as np
import tensorflow as tf

from ... import _compat


class Ids:
    """Refuses rows with ids for which Keras finds no row in an embedding.

    Ids within the smallest embedding that reads an input are right; negative ones count from its end, as in Keras. Further
    out Keras is asked, once for each id that is the furthest so far: a layer around the embedding may change ids first.

    Args:
        prefix: a Functional `keras.Model`.
    """

    def __init__(self, prefix):
        self.prefix, self.sizes = prefix, {}  # number of an input -> {size: name} of the embeddings that read it
        for operation, args, kwargs, _ in _compat.calls(prefix):
            given = set(map(id, keras.tree.flatten((args, kwargs))))
            for number, tensor in enumerate(prefix.inputs):
                if id(tensor) in given and (sizes := _sizes(operation, tensor)):
                    self.sizes.setdefault(number, {}).update(sizes)
        self.right = {number: (-min(sizes), min(sizes) - 1) for number, sizes in self.sizes.items()}  # from, to

    def check(self, inputs):
        """Refuses a batch, as arrays in the order of the network's inputs, with an id that is nowhere."""
        for number in self.sizes:
            for place in _ends(inputs[number]):
                self._check(inputs, number, place)

    def _check(self, inputs, number, place):
        found, (low, high) = int(inputs[number].flat[place]), self.right[number]
        if low <= found <= high:
            return
        row = np.unravel_index(place, inputs[number].shape)[0]
        if self._is_refused([array[row:row + 1] for array in inputs]):
            # one that is smaller than what Keras has taken isn't what refuses this
            size = min((size for size in self.sizes[number] if size > high), default=max(self.sizes[number]))
            raise ValueError(f"The data hold the id {found}, and the embedding {self.sizes[number][size]!r} has {size}, "
                             "numbered from 0: mend these rows, or give it a larger `input_dim`.")
        self.right[number] = min(low, found), max(high, found)

    def _is_refused(self, row):
        try:
            self.prefix(keras.tree.pack_sequence_as(self.prefix.input, row), training=False)
        except tf.errors.InvalidArgumentError:
            return True
        except ValueError:  # of a network that takes no single row, which isn't the fault of its ids
            pass
        return False


def _sizes(operation, tensor):
    """The embeddings to which `operation` may hand a tensor: `{size: name}`."""
    inside = _compat.flat_layers(operation) if isinstance(operation, keras.layers.Layer) else []
    # numbers with a fraction are ids if an embedding itself reads them, and seldom so elsewhere
    whole = isinstance(operation, keras.layers.Embedding) or "int" in tensor.dtype
    return {layer.input_dim: layer.name for layer in inside if whole and isinstance(layer, keras.layers.Embedding)}


def _ends(array):
    """The places of the least and the largest number."""
    return (array.argmin(), array.argmax()) if array.size else ()
