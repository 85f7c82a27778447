"""Batch norms in inference mode, folded into the layers below them."""
import collections

import keras
import numpy as np

from ... import _compat

# these themselves: a subclass may compute with something else than its kernel, such as a standardized one
_PLAIN = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.Dense)  # kernel (..., inputs, outputs)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)  # kernel (..., inputs, multiplier)


def folded(prefix):
    """Returns what the weights of `prefix` are after folding, and the norms that are then only a shift.

    A norm in inference mode is y = scale x + shift, with scale = gamma / sqrt(variance + epsilon) and
    shift = beta - mean scale. Above a linear layer x = K u + b it is y = (scale K) u + scale b + shift: the same
    function, to rounding. It's done where the layer has no activation, is read by the norm alone, and nothing else reads
    the weights of either.

    Args:
        prefix: a Functional `keras.Model`, run in inference mode.

    Returns:
        `(values, shifts)`: `[(variable, array)]`, new values of kernels and biases, and `{id of a norm: array}`.
    """
    calls = list(_compat.calls(prefix))
    used = collections.Counter(id(weight) for operation, *_ in calls for weight in getattr(operation, "weights", []))
    made_by = {id(tensor): operation for operation, _, _, outputs in calls for tensor in keras.tree.flatten(outputs)}
    read = collections.Counter(id(t) for _, args, kwargs, _ in calls for t in keras.tree.flatten((args, kwargs)))
    read.update(id(tensor) for tensor in prefix.outputs)
    values, shifts = [], {}
    for norm, args, kwargs, _ in calls:
        tensor = args[0] if args else kwargs.get("inputs")
        layer = made_by.get(id(tensor))
        if _is_norm(norm) and _is_linear(layer) and read[id(tensor)] == 1 and all(
                used[id(weight)] == 1 for weight in [*norm.weights, *layer.weights]):
            scale, shifts[id(norm)] = _scale_and_shift(norm)
            values.append((layer.kernel, _scaled(layer, scale)))
            if layer.use_bias:
                values.append((layer.bias, (layer.bias.numpy() * scale).astype("float32")))
    return values, shifts


def _is_norm(operation):
    return type(operation) is keras.layers.BatchNormalization and operation.compute_dtype == "float32" and (
        operation.axis in (-1, operation.input_spec.ndim - 1))


def _is_linear(layer):
    """Whether `layer` is a convolution or dense layer whose channels are last, without an activation of its own.

    With LoRA, or quantized, it isn't its kernel that a layer multiplies by.
    """
    return type(layer) in (*_PLAIN, *_DEPTHWISE) and (
        layer.activation is keras.activations.linear and layer.compute_dtype == "float32"
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and not getattr(layer, "lora_enabled", False) and layer.quantization_mode is None)


def _scale_and_shift(norm):
    scale = 1 / np.sqrt(norm.moving_variance.numpy().astype("float64") + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma.numpy()
    shift = -norm.moving_mean.numpy() * scale
    return scale, (shift + norm.beta.numpy() if norm.center else shift).astype("float32")


def _scaled(layer, scale):
    kernel = layer.kernel.numpy()
    if type(layer) in _DEPTHWISE:
        scale = scale.reshape(kernel.shape[-2:])
    return (kernel * scale).astype("float32")
