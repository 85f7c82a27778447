"""A data set beside the network that reads it: do they fit, and what is kept of each row."""
import keras
import numpy as np

from .. import _compat
from .engines.tracing import fitted
from .shards import BFLOAT16


def check_inputs(prefix, source):
    """Compares x with what the network takes."""
    x = _x_of(source)
    if any(leaf.shape is None or getattr(leaf.shape, "rank", 0) is None for leaf in keras.tree.flatten(x)):
        raise ValueError("The data set doesn't tell the number of dimensions of x. Say it, with a map of "
                         "`tf.ensure_shape(x, (None, height, width, 3))` before the batches are cached.")
    structure = _compat.input_structure(prefix)
    names = tuple(structure) if isinstance(structure, dict) and isinstance(x, dict) else names_for(prefix, source)
    if names is not None and not set(names) <= set(x):
        raise ValueError(f"The model takes the inputs {', '.join(names)}, but the data set gives {', '.join(map(str, x))}. Name "
                         "them alike.")
    given = [tuple(leaf.shape)[1:] for leaf in _compat.leaves_of(prefix, x)]
    wanted = [tuple(t.shape)[1:] for t in prefix.inputs]
    pairs = [(fitted(g, w), w) for g, w in zip(given, wanted)]
    fits = len(given) == len(wanted) and all(
        len(g) == len(w) and all(a is None or b is None or a == b for a, b in zip(g, w)) for g, w in pairs)
    if not fits:
        raise ValueError(f"The model takes inputs of shape {wanted}, a row, but the data set gives {given}. Read photos with "
                         "the `size` that the backbone was built for.")


def names_for(prefix, source):
    """The names by which the tensors of x find their inputs, or None if they go by their order."""
    by_name = isinstance(_x_of(source), dict) and not isinstance(_compat.input_structure(prefix), dict)
    return tuple(_compat.input_names(prefix)) if by_name else None


def _x_of(source):
    return source.spec[0] if isinstance(source.spec, tuple) else source.spec


def columns_of(prefix, source, store):
    """The columns of the store: `{name: (shape, dtype)}`."""
    columns = {}
    for number, tensor in enumerate(prefix.outputs):
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        half = store.dtype == "bfloat16" and dtype in ("float32", "float16", "float64") or dtype == "bfloat16"
        columns[f"x{number}"] = tuple(tensor.shape[1:]), BFLOAT16 if half else dtype
    for number, leaf in enumerate(keras.tree.flatten(source.rest)):
        columns[f"y{number}"] = tuple(leaf.shape[1:]), getattr(leaf.dtype, "as_numpy_dtype", leaf.dtype)
    columns["id"] = (), "int64"
    for name, (shape, dtype) in columns.items():
        if None in shape or dtype == "string" or np.dtype(dtype) == object:
            what = "features" if name[0] == "x" else "labels"
            raise ValueError(f"The {what} have the shape {shape} and the dtype {np.dtype(dtype)}; only numbers of one fixed "
                             "shape can be kept. Give the backbone an `input_shape`, and text labels as class numbers.")
    return {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in columns.items()}
