"""SavedModels from TF-Hub, Kaggle or a folder as backbones."""

import os

import keras
import tensorflow as tf

from . import outputs
from ..network import Network
from .saved_model_layer import SavedModelLayer


class Hub:
    """A SavedModel as the source of a backbone, with what a "hub:..." text can't say.

    Args:
        handle: a folder, a `.tar.gz` archive, a URL such as "https://tfhub.dev/...", or a Kaggle handle
            ("google/mobilenet-v2/tensorFlow2/100-224-feature-vector/1"). The last two are fetched and cached by
            tensorflow-hub (extra `hub`).
        signature: what to call: a signature or endpoint by name, or a pair (for inference, for training). None: the
            object itself if it can be called, else "serve", "serving_default" or "default".
        output_key: which of several named outputs are the features.
        arguments: a dict of further arguments for each call.
        allow_unsafe: run it although it reaches files, connections or Python (`kt.inspect` lists where).
        tags: the tags of the graph; None: those to serve, else none, else the only ones.
        scale: what inputs are multiplied by: image models of TF-Hub take 0-1, so `scale=1 / 255` lets them take the
            pixels 0-255 that `kt.data` gives. None: the model keeps its own input range.

    Example:
        >>> kt.backbone(kt.backbones.Hub("downloads/yamnet", output_key="embedding"))   # doctest: +SKIP
    """

    def __init__(
        self, handle, signature=None, output_key=None, arguments=None, allow_unsafe=False, *, tags=None, scale=None
    ):
        if not isinstance(handle, (str, os.PathLike)):
            raise TypeError(
                "`handle` must be the text of a folder, an archive, a URL or a Kaggle handle. "
                f"Received: {type(handle).__name__} {handle!r}"
            )
        if not isinstance(allow_unsafe, bool):
            raise TypeError(f"`allow_unsafe` must be True or False. Received: {allow_unsafe!r}")
        if arguments is not None and not isinstance(arguments, dict):
            raise TypeError(f"`arguments` must be a dict of the function's arguments. Received: {arguments!r}")
        self.handle, self.signature, self.output_key = os.fspath(handle).removeprefix("hub:"), signature, output_key
        self.arguments, self.allow_unsafe, self.tags, self.scale = arguments, allow_unsafe, tags, scale

    def __repr__(self):
        return f"Hub({self.handle!r})"


def build(source, input_shape=None, weights="pretrained", pooling="avg", at=None):
    """Builds a network of one opaque layer named "saved_model". The arguments are those of `kt.backbone`.

    Raises:
        ValueError: for `at` or fresh weights, which a SavedModel doesn't offer, or an input whose shape nobody says.
    """
    if weights != "pretrained":
        raise ValueError(f'A SavedModel comes with its weights: `weights` must be "pretrained". Received: {weights!r}')
    if at is not None:
        raise ValueError(
            f"`at` {at!r}: the layers inside a SavedModel can't be reached. Where it returns several "
            "outputs, take one with kt.backbones.Hub(handle, output_key=...)."
        )
    layer = SavedModelLayer(
        source.handle,
        signature=source.signature,
        output_key=source.output_key,
        tags=source.tags,
        arguments=source.arguments,
        allow_unsafe=source.allow_unsafe,
        name="saved_model",
    )
    inputs = _inputs(layer, input_shape)
    scaled = keras.layers.Rescaling(source.scale, name="rescaling")(inputs) if source.scale is not None else inputs
    features = layer(scaled)
    if isinstance(features, dict):
        return Network(inputs, features, name="backbone")
    return outputs.network(keras.Model(inputs, features), pooling, None)


def check_trainable(network):
    """Refuses to train a backbone that has nothing to train."""
    layers = [layer for layer in getattr(network, "layers", []) if isinstance(layer, SavedModelLayer)]
    for layer in (layer for layer in layers if not layer.can_train):
        why = "which belong to the TF1 hub format, made for inference only" if layer.is_tf1 else "none of them trainable"
        raise ValueError(
            f"Nothing in the SavedModel {layer.handle!r} can be trained. {layer.offers}, {why}. Train "
            "the heads on it as it is."
        )


def _inputs(layer, input_shape):
    specs = layer.specs()
    if specs is None or isinstance(specs, tf.TensorSpec):
        return _input(specs, input_shape, layer)
    if input_shape is not None:
        raise ValueError(
            f"{layer.handle!r} takes several inputs ({', '.join(map(str, specs))}) of its own shapes: leave "
            "`input_shape` out."
        )
    if not isinstance(specs, dict):
        raise ValueError(
            f"{layer.handle!r} takes {len(specs)} inputs by place; only one tensor or a dict is supported."
        )
    return {key: _input(spec, None, layer, key) for key, spec in specs.items()}


def _input(spec, input_shape, layer, name="inputs"):
    own = None if spec is None or spec.shape.rank is None else tuple(spec.shape)
    if own is None and input_shape is None:
        raise ValueError(f"{layer.handle!r} doesn't say what shape it takes: give `input_shape`, without the batch.")
    wanted = (own or (None,))[:1] + tuple(input_shape) if input_shape is not None else own
    if own is not None and not tf.TensorShape(own).is_compatible_with(wanted):
        raise ValueError(f"{layer.handle!r} takes an input of shape {own[1:]}. Received: input_shape={input_shape!r}")
    dtype = "float32" if spec is None else spec.dtype.name
    return keras.Input(batch_shape=wanted, dtype=dtype, name=name)
