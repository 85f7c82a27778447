"""The layers of a backbone in depth order, and the blocks that their names speak of."""
import numbers
import re

import keras
import numpy as np

from . import _check, _compat
from .network import model_of

# Each pattern's group is the block's name. The first that matches the start of a layer's name decides.
_PATTERNS = [re.compile(p) for p in (
    r"(.*?stage_?\d+_block_?\d+)(?=_|$)",    # ConvNeXt
    r"(conv\d+_block\d+)(?=_|$)",            # ResNet, DenseNet
    r"(block\d+_\d+)(?=_|$)",                # InceptionResNetV2
    r"(.*?block_?\d+[a-z]?)(?=_|$)",         # MobileNetV2, EfficientNet, VGG, Xception
    r"(expanded_conv(?:_\d+)?)(?=_)",        # MobileNetV3
    r"conv_(?:pad|dw|pw)_(\d+)(?=_|$)",      # MobileNet
    r"(?!conv\dd)([a-z]+\d+[a-z]?)(?=_)",    # fire2_squeeze, conv1_bn; not conv2d_7, a name that Keras makes up
)]
_GROUPS = 10
_LAST_SHARE = 0.25  # of the layers are tuned, if nothing is said


def backbone_of(model):
    """Returns the layer named `backbone` of a model from `attach` or of its learner, or `model` itself, a bare backbone."""
    model = model_of(model)
    return next((layer for layer in getattr(model, "layers", []) if layer.name == "backbone"), model)


def check_whole(model):
    """Refuses the tail that `kt.cache_features` returns, whose layers, heads and all, would be taken for a backbone."""
    if getattr(model_of(model), "is_tail", False):
        raise ValueError("`model` is the rest of a model that was cut for its features, and has no backbone. Give the model that "
                         "was cut: they share their layers, and an optimizer for its variables serves both.")


def depth_layers(backbone):
    """Returns the layers of `backbone` from input to output, nested models replaced by their own layers."""
    layers = []
    for layer in backbone.layers:
        layers += depth_layers(layer) if _compat.graph(layer) is not None else [layer]
    return layers


def blocks(backbone):
    """Returns the blocks of `backbone` as `[(name, layers)]` in depth order.

    Blocks are read from the layers' names (`block_16_expand` belongs to `block_16`). A layer whose name tells
    nothing belongs to the block around it, or begins one of its own, named after it. Where fewer than half of the
    layers with weights tell, the layers are cut into ten groups of equal length instead. A backbone without a graph
    is one block.
    """
    if _compat.graph(backbone) is None:
        return [("backbone", [backbone])]
    layers = depth_layers(backbone)
    names = [_block_name(layer.name) for layer in layers]
    weighted = [name for layer, name in zip(layers, names) if _learns(layer)]
    if sum(name is not None for name in weighted) * 2 < len(weighted):
        return _equal_groups(layers)
    last = {name: place for place, name in enumerate(names) if name}
    found, current, waiting = {}, None, []
    for place, (layer, name) in enumerate(zip(layers, names)):
        if name is None and (place < last.get(current, -1) or not _learns(layer) or current not in (None, *last)):
            name = current  # inside a block, or nothing that could train, or next to another nameless layer
        elif name is None:
            name = layer.name
        waiting.append(layer)
        if name is not None:  # layers below the first one with a name belong to it
            found.setdefault(name, []).extend(waiting)
            current, waiting = name, []
    return list(found.items())


def last_quarter(backbone):
    """Returns the name of the block that begins nearest to three quarters of the depth.

    Raises:
        ValueError: no layer of `backbone` has weights.
    """
    groups = blocks(backbone)
    if not groups:
        raise ValueError("No layer of the backbone has weights, so there is nothing to tune. Train the head only, with epochs=0.")
    starts = np.cumsum([0] + [len(layers) for _, layers in groups[:-1]])
    goal = (1 - _LAST_SHARE) * sum(len(layers) for _, layers in groups)
    return groups[int(np.argmin(np.abs(starts - goal)))][0]


def position(backbone, where, argument):
    """Returns `(first, stop)`, the places among `depth_layers(backbone)` that `where` names.

    Args:
        backbone: a Functional or Sequential `keras.Model`.
        where: the name of a layer or block; a number of layers; a share of them.
        argument: what the caller calls `where`, for the error.

    Raises:
        ValueError: `where` is no layer or block, or out of range.
    """
    layers = depth_layers(backbone)
    if isinstance(where, str):
        members = dict(blocks(backbone)).get(where) or [layer for layer in layers if layer.name == where]
        if not members:
            known = [name for name, _ in blocks(backbone)] + [layer.name for layer in layers]
            raise ValueError(f"`{argument}` names no layer or block of the backbone: {where!r}."
                             f"{_check.suggestion(where, dict.fromkeys(known))}")
        places = [layers.index(layer) for layer in members]
        return min(places), max(places) + 1
    count = where
    if isinstance(where, float) and 0 <= where <= 1:
        count = round(where * len(layers))
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or not 0 <= count <= len(layers):
        raise ValueError(f"`{argument}` must be a number of layers from 0 to {len(layers)}, a share from 0.0 to 1.0, "
                         f"or the name of a layer or block. Received: {where!r}")
    return int(count), int(count)


def _learns(layer):
    return bool(layer.weights) and not isinstance(layer, keras.layers.Normalization)  # which holds constants


def _block_name(name):
    match = next(filter(None, (p.match(name) for p in _PATTERNS)), None)
    return match and (f"conv_{match[1]}" if match[1].isdigit() else match[1])


def _equal_groups(layers):
    size = -(-len(layers) // _GROUPS)
    return [(layers[i].name, layers[i:i + size]) for i in range(0, len(layers), size)]
