"""A table of what trains."""
import math

import keras

from . import _compat, blocks
from ._table import Table
from .network import model_of


def summary(model):
    """Returns a table of what trains, a row for each block of the backbone and for each layer above it.

    Args:
        model: what `kt.attach` returned, or a bare backbone.

    Returns:
        A `Table` with the columns `block`, `layers`, `parameters`, `trainable` (parameters that train) and `norms`
        (of its batch norms: "frozen", "training", "mixed", or empty where there are none); the last row is the sum.

    Example:
        >>> print(kt.summary(model))
    """
    model, backbone = model_of(model), blocks.backbone_of(model)
    groups = blocks.blocks(backbone)
    if backbone is not model:
        groups += [(layer.name, [layer]) for layer in model.layers if layer is not backbone and layer.weights]
    rows = [_row(name, layers) for name, layers in groups]
    every = [layer for _, layers in groups for layer in layers]
    return Table([*rows, _row("total", every)])


def _row(name, layers):
    weights = {id(w): w for layer in layers for w in layer.weights}.values()
    norms = {n.trainable for layer in layers for n in _compat.flat_layers(layer)
             if isinstance(n, keras.layers.BatchNormalization)}
    return {"block": name, "layers": len(layers), "parameters": _count(weights),
            "trainable": _count(w for w in weights if w.trainable),
            "norms": "" if not norms else "mixed" if len(norms) > 1 else "training" if norms.pop() else "frozen"}


def _count(weights):
    return sum(math.prod(w.shape) for w in weights)
