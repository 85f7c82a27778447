"""A frozen network as one graph without variables."""
import keras
import numpy as np
import tensorflow as tf

from ... import _compat
from ...network import takes_training
from .folding import folded


def inputs_of(prefix, x):
    """Returns the arrays of `x`, in any structure, in the order and the dtypes that `prefix` takes."""
    pairs = zip(_compat.leaves_of(prefix, x), prefix.inputs, strict=True)
    return [np.asarray(array, dtype=_numpy(t.dtype)).reshape(fitted(np.shape(array), t.shape)) for array, t in pairs]


def fitted(shape, wanted):
    """Returns a shape as Keras takes it where `wanted` is asked for: with a last axis of 1 more or less."""
    if len(shape) + 1 == len(wanted) and wanted[-1] == 1:
        return (*shape, 1)
    return tuple(shape[:-1] if len(shape) == len(wanted) + 1 and shape[-1] == 1 else shape)


def constant_function(prefix):
    """Returns `prefix` in inference mode as a concrete function whose weights are constants, its norms folded.

    Constants let TensorFlow and OpenVINO simplify the graph further. Variables that Keras doesn't read itself, those of
    a SavedModel, become constants too.

    Args:
        prefix: a Functional `keras.Model`.

    Returns:
        A concrete function of the inputs, `(batch, ...)` each, as positional arguments, that gives a list of tensors.
    """
    values, shifts = folded(prefix)
    changed = {id(variable) for variable, _ in values}
    values += [(w, w.numpy()) for w in prefix.weights if id(w) not in changed and w.dtype != "string"]
    # of any number of rows, as Keras runs it, whatever the inputs say
    specs = [tf.TensorSpec((None, *t.shape[1:]), t.dtype, name=f"input_{k}") for k, t in enumerate(prefix.inputs)]

    def wrap(operation):
        if id(operation) in shifts:
            return lambda inputs, **_: _shifted(inputs, shifts[id(operation)]) if len(inputs.shape) > 1 else inputs
        return (lambda *a, **k: operation(*a, **{**k, "training": False})) if takes_training(operation) else operation

    def run(*inputs):
        packed = keras.tree.pack_sequence_as(_compat.input_structure(prefix), list(inputs))
        with keras.StatelessScope(state_mapping=[(v, tf.constant(value)) for v, value in values]):
            outputs = _compat.run_graph(prefix, packed, wrap)
        return [tf.identity(t, name=f"output_{k}") for k, t in enumerate(keras.tree.flatten(outputs))]

    function = tf.function(run, input_signature=specs, autograph=False).get_concrete_function()
    return _compat.without_variables(function) if function.variables else function


def _shifted(inputs, by):
    outputs = tf.nn.bias_add(inputs, by)
    if (mask := _compat.mask_of(inputs)) is not None:  # the norm would hand it on
        _compat.set_mask(outputs, mask)
    return outputs


def _numpy(dtype):
    return object if dtype == "string" else tf.as_dtype(dtype).as_numpy_dtype
