"""Batch norms in inference mode, folded into the layers below them."""
import collections

import keras
import numpy as np

from ... import _compat

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)  # kernel (..., inputs, outputs)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)  # kernel (..., inputs, multiplier)


def folded(prefix):
    """Returns what the weights of `prefix` are after folding, and the norms that are then only a shift.

    A norm in inference mode is y = scale x + shift, with scale = gamma / sqrt(variance + epsilon) and
    shift = beta - mean scale. Above a linear layer x = K u + b it is y = (scale K) u + scale b + shift: the same
    function, to rounding. It's done where the layer has no activation, is used once and read by the norm alone.

    Args:
        prefix: a Functional `keras.Model`, run in inference mode.

    Returns:
        `(values, shifts)`: `[(variable, array)]`, new values of kernels and biases, and `{id of a norm: array}`.
    """
    calls = list(_compat.calls(prefix))
    uses = collections.Counter(id(operation) for operation, *_ in calls)
    made_by = {id(tensor): operation for operation, _, _, outputs in calls for tensor in keras.tree.flatten(outputs)}
    read = collections.Counter(id(t) for _, args, kwargs, _ in calls for t in keras.tree.flatten((args, kwargs)))
    read.update(id(tensor) for tensor in prefix.outputs)
    values, shifts = [], {}
    for norm, args, kwargs, _ in calls:
        tensor = args[0] if args else kwargs.get("inputs")
        layer = made_by.get(id(tensor))
        if _is_norm(norm) and _is_linear(layer) and uses[id(norm)] == uses[id(layer)] == read[id(tensor)] == 1:
            scale, shifts[id(norm)] = _scale_and_shift(norm)
            values.append((layer.kernel, _scaled(layer, scale)))
            if layer.use_bias:
                values.append((layer.bias, (layer.bias.numpy() * scale).astype("float32")))
    return values, shifts


def _is_norm(operation):
    return isinstance(operation, keras.layers.BatchNormalization) and operation.compute_dtype == "float32" and (
        operation.axis in (-1, operation.input_spec.ndim - 1))


def _is_linear(layer):
    """Whether `layer` is a convolution or dense layer whose channels are last, without an activation of its own."""
    return isinstance(layer, (*_CONVOLUTIONS, *_DEPTHWISE, keras.layers.Dense)) and (
        layer.activation is keras.activations.linear and layer.compute_dtype == "float32"
        and getattr(layer, "data_format", "channels_last") == "channels_last" and not getattr(layer, "lora_enabled", False))


def _scale_and_shift(norm):
    scale = 1 / np.sqrt(norm.moving_variance.numpy().astype("float64") + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma.numpy()
    shift = -norm.moving_mean.numpy() * scale
    return scale, (shift + norm.beta.numpy() if norm.center else shift).astype("float32")


def _scaled(layer, scale):
    kernel = layer.kernel.numpy()
    if isinstance(layer, _DEPTHWISE):
        scale = scale.reshape(kernel.shape[-2:])
    return (kernel * scale).astype("float32")
