"""From a whole network to the features: which layers give them and how maps are pooled."""
import keras

from .. import _check, _compat
from ..network import Network

_POOLS = {3: {"avg": keras.layers.GlobalAveragePooling1D, "max": keras.layers.GlobalMaxPooling1D},
          4: {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}}
_KINDS = {"avg": ["avg"], "max": ["max"], "both": ["avg", "max"], None: []}


def check(pooling, at):
    """Refuses a `pooling` or an `at` of the wrong kind before anything is built."""
    if not isinstance(pooling, (str, type(None))) or pooling not in _KINDS:
        raise ValueError(f'`pooling` must be "avg", "max", "both" or None. Received: {pooling!r}')
    names = [at] if isinstance(at, str) else at
    if at is not None and (not isinstance(names, (list, tuple)) or not names
                           or not all(isinstance(name, str) for name in names)):
        raise TypeError(f"`at` must be the name of a layer or a list of names. Received: {at!r}")


def network(model, pooling, at, after=None):
    """Returns the network from the input of `model` to its features.

    Args:
        model: a Functional or Sequential `keras.Model`, whose layers are shared.
        pooling: "avg", "max", "both" (average, then maximum) or None; outputs that are
            neither maps nor sequences (batch, steps, channels) are left alone.
        at: None for the output of `model`, the name of a layer, or a list of names for several outputs.
        after: a layer that `model` ends with and that belongs above the pooling.

    Returns:
        A `Network` whose layers are those of `model` up to the features.
    """
    names = [at] if isinstance(at, str) else at or []
    if names:
        tensors = [_inner(model, name) for name in names]
    else:
        tensors = [model.outputs[0] if after is None else after.input]
    taken = {layer.name for layer in model.layers}
    features = [_pooled(tensor, pooling, taken, None if names else after) for tensor in tensors]
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    while isinstance(inputs, (list, tuple)) and len(inputs) == 1:
        inputs = inputs[0]
    return Network(inputs, features[0] if len(features) == 1 else features, name="backbone")


def _inner(model, name):
    _check.one_of(name, [layer.name for layer in model.layers], "layer")
    uses = _compat.outputs_of_uses(model, model.get_layer(name))
    if len(uses) != 1:
        raise ValueError(f"The layer {name!r} is used {len(uses)} times and has no one output. Name a layer that "
                         "is used once.")
    if len(uses[0]) != 1:
        raise ValueError(f"The layer {name!r} has several outputs. Name a layer that has one.")
    return uses[0][0]


def _pooled(tensor, pooling, taken, after):
    pools = _POOLS.get(len(tensor.shape))
    if pools is None or pooling is None:
        return tensor if after is None else after(tensor)
    vectors = [pools[kind](name=_free(f"{kind}_pool", taken))(tensor) for kind in _KINDS[pooling]]
    if after is not None:
        vectors = [after(vector) for vector in vectors]
    return vectors[0] if len(vectors) == 1 else keras.layers.Concatenate(name=_free("both_pool", taken))(vectors)


def _free(name, taken):
    """Names of layers are unique in a model: adds a number to a `name` that is taken."""
    candidates = (name if k == 0 else f"{name}_{k}" for k in range(len(taken) + 1))
    free = next(candidate for candidate in candidates if candidate not in taken)
    taken.add(free)
    return free
