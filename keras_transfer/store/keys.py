"""Fingerprints: of what a prefix computes, and of data that don't bring one of their own."""
import hashlib

import keras
import numpy as np

from .. import _compat

_NAMES = ("name", "trainable", "seed", "build_config", "registered_name")  # change nothing that inference computes


def of_network(prefix):
    """Returns a hex digest of the graph and the weights of `prefix`: equal for networks that compute the same.

    Names that Keras makes up, flags and seeds play no part, so that the same script finds its features again.

    Raises:
        ValueError: a layer doesn't tell its config.
    """
    digest, numbers = hashlib.sha256(), {}
    for tensor in prefix.inputs:
        digest.update(_said((tensor.shape, tensor.dtype, _numbered(tensor, numbers))))
    for operation, args, kwargs, outputs in _compat.calls(prefix):
        arguments = keras.tree.map_structure(
            lambda x: _numbered(x, numbers) if isinstance(x, keras.KerasTensor) else x, (list(args), kwargs))
        digest.update(_said((type(operation).__module__, type(operation).__qualname__, _config(operation), arguments)))
        for tensor in keras.tree.flatten(outputs):
            _numbered(tensor, numbers)
    digest.update(_said([_numbered(tensor, numbers) for tensor in prefix.outputs]))
    for weight in prefix.weights:
        digest.update(_said((weight.shape, weight.dtype)))
        digest.update(_bytes(keras.ops.convert_to_numpy(weight)))
    return digest.hexdigest()


def of_elements(digest, element):
    """Adds the tensors of one element of a data set, in any structure, to a `hashlib` digest."""
    for array in map(np.asarray, keras.tree.flatten(element)):
        digest.update(_said((array.dtype.str, array.shape)))
        digest.update(_said(array.tolist()) if array.dtype == object else _bytes(array))
    return digest


def of_words(*words):
    """Returns the hex digest of anything with a faithful `repr`."""
    return hashlib.sha256(_said(words)).hexdigest()


def _numbered(tensor, numbers):
    """A tensor's place in the order of the graph, which no name tells reliably."""
    return f"tensor {numbers.setdefault(id(tensor), len(numbers))}"


def _config(operation):
    try:
        return _essence(operation.get_config())
    except NotImplementedError as error:
        raise ValueError(f"The layer {operation.name!r} ({type(operation).__name__}) has no `get_config`, so features that "
                         "it gave can't be told from others. Write that method, or leave `directory` out.") from error


def _essence(config):
    if isinstance(config, dict):
        return sorted((str(k), _essence(v)) for k, v in config.items() if k not in _NAMES)
    return [_essence(v) for v in config] if isinstance(config, (list, tuple)) else config


def _said(thing):
    return repr(thing).encode("utf-8", "surrogateescape")


def _bytes(array):
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1).data if array.size else b""
