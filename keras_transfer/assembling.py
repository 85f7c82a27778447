"""The only place where models are put together: a backbone, a joint named `features`, and heads."""
import keras

from . import _check, _compat
from .heads.head import Head
from .network import Network, is_inlined, model_of

_RESERVED = ("backbone", "features", "sharing")


def attach(backbone, heads, *, sharing=None):
    """Returns a model of `backbone` and one head or several, all heads reading the same features.

    The backbone is shared, not copied, and is the layer named `backbone`; the joint is the layer named `features`.
    One head gives a tensor; a dict of heads gives a dict of outputs, where the name of a head is that of its layer,
    output, loss, metrics and, later, of its part of the served signature.

    Args:
        backbone: what `kt.backbone` returned, or any `keras.Model` with one output, `(batch, width)` or maps
            `(batch, height, width, channels)`, which are averaged.
        heads: a `kt.heads.Head`, or `{name: head}`.
        sharing: None; or a layer or function that gives each head features of its own, features -> `{name: features}`; or
            one of `kt.multitask` that taps inner stages of the backbone, such as `kt.multitask.CrossStitch(at=["block_3"])`.

    Returns:
        A Functional `keras.Model`, uncompiled: `model.compile(optimizer=..., **kt.objectives(model))`.

    Raises:
        ValueError: a name is reserved or can't be used, a head is given twice or belongs to another model, the
            backbone has several outputs, or `sharing` is for other tasks than the heads.

    Example:
        >>> model = kt.attach(kt.backbone("EfficientNetLite0"),
        ...                   {"breed": kt.heads.Classifier(37), "species": kt.heads.Classifier(["cat", "dog"])})
    """
    _check_backbone(backbone)
    named = _named(heads)
    names = iter(_compat.input_names(backbone))
    inputs = keras.tree.map_structure(lambda t: _like(t, next(names)), _compat.input_structure(backbone))
    parts = _parts(backbone, inputs, list(named), sharing)
    outputs = {name: head(parts[name]) for name, head in named.items()}
    return Network(inputs, outputs if isinstance(heads, dict) else next(iter(outputs.values())))


def objectives(model):
    """Returns the `loss`, `loss_weights` and `metrics` that the heads of `model` carry, for `model.compile`.

    Every call returns new objects. After `.keras` save and load it returns the same, since the heads keep them.

    Args:
        model: what `kt.attach` returned.

    Returns:
        A dict with the keys `loss`, `loss_weights` and `metrics`: dicts by head name, or for a model with one
        output a loss, a weight and a list.

    Raises:
        ValueError: an output of `model` is not that of a head.

    Example:
        >>> model.compile(optimizer="adam", **kt.objectives(model))
    """
    model = model_of(model)
    heads = heads_of(model)
    loss = {name: head.make_loss() for name, head in heads.items()}
    weights = {name: head.loss_weight for name, head in heads.items()}
    metrics = {name: head.make_metrics() for name, head in heads.items()}
    if isinstance(_compat.output_structure(model), dict):
        return {"loss": loss, "loss_weights": weights, "metrics": metrics}
    name = next(iter(heads))
    return {"loss": loss[name], "loss_weights": weights[name], "metrics": metrics[name]}


def heads_of(model):
    """Returns the heads of a model from `attach` as `{name: head}`, in the order of its outputs."""
    model = model_of(model)
    if _compat.graph(model) is None or isinstance(model, keras.Sequential):
        raise ValueError(f"{type(model).__name__} {model.name!r} has no heads of kt.heads, so nothing is known of its outputs. "
                         "Make the model with `kt.attach`.")
    outputs = _compat.output_structure(model)
    names = list(outputs) if isinstance(outputs, dict) else model.output_names
    layers = {layer.name: layer for layer in model.layers if isinstance(layer, Head)}
    for name in names:
        if name not in layers:
            raise ValueError(f"Output {name!r} of model {model.name!r} doesn't come from a head of kt.heads, so "
                             "nothing is known of its loss. Make the model with `kt.attach`, or compile it by hand.")
    return {name: layers[name] for name in names}


def _check_backbone(backbone):
    _check.no_hidden_weights(backbone)
    if not isinstance(backbone, keras.Model):
        raise TypeError(f"`backbone` must be a keras.Model, such as kt.backbone(...) returns. "
                        f"Received: {type(backbone).__name__}")
    if not is_inlined(backbone):
        what = "no graph" if _compat.graph(backbone) is None else "a `call` of its own, of which its graph doesn't tell"
        raise ValueError(f"`backbone` {backbone.name!r} ({type(backbone).__name__}) has {what}, so nothing can be "
                         "attached to it. Make it a Functional model: keras.Model(inputs, backbone(inputs)) with "
                         "inputs = keras.Input(shape).")
    if len(backbone.outputs) != 1:
        raise ValueError(f"`backbone` must have one output. Received {len(backbone.outputs)}: join them first, or "
                         "take one with `at=`.")


def _named(heads):
    if isinstance(heads, Head):
        heads = {heads.name: heads}
    if not isinstance(heads, dict) or not heads:
        raise TypeError(f"`heads` must be a head or a dict {{name: head}} with at least one. Received: {heads!r}")
    for name, head in heads.items():
        if not isinstance(head, Head):
            raise TypeError(f"Head {name!r} must be one of kt.heads. Received: {type(head).__name__}")
        _check.head_name(name, _RESERVED)
        if list(map(id, heads.values())).count(id(head)) > 1:
            raise ValueError(f"Head {name!r} is given under two names. Make one head for each.")
        if head.built and head.name != name:
            raise ValueError(f"Head {name!r} is already in a model under the name {head.name!r}. Make a new head.")
        head.name = name
    return dict(heads)


def _like(tensor, name):
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)


def _parts(backbone, inputs, tasks, sharing):
    """The features of each task. `sharing` may have a method `over`, which makes a layer `backbone` of its own."""
    if sharing is not None and (isinstance(sharing, type) or not callable(getattr(sharing, "over", sharing))):
        raise TypeError(f"`sharing` must be a layer, a function or one of kt.multitask, such as kt.multitask.MMoE(). "
                        f"Received: {sharing!r}")
    if hasattr(sharing, "over"):
        return {task: _joint(part, f"features_{task}") for task, part in sharing.over(backbone, inputs, tasks).items()}
    backbone.name = "backbone"
    features = _joint(backbone(inputs), "features")
    if sharing is None:
        return dict.fromkeys(tasks, features)
    if hasattr(sharing, "for_tasks"):
        sharing.for_tasks(tasks)
    parts = sharing(features)
    if not isinstance(parts, dict) or set(parts) != set(tasks):
        given = ", ".join(map(str, parts)) if isinstance(parts, dict) else type(parts).__name__
        raise ValueError(f"`sharing` must give a dict with features for each head: {', '.join(tasks)}. Received: {given}")
    return parts


def _joint(features, name):
    if len(features.shape) == 4:
        return keras.layers.GlobalAveragePooling2D(name=name)(features)
    if len(features.shape) != 2:
        raise ValueError(f"`backbone` must give features (batch, width), or maps (batch, height, width, channels). "
                         f"Received: {tuple(features.shape)}")
    return keras.layers.Identity(name=name)(features)
