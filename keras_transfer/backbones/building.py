"""`kt.backbone`: one name for every way to get features from raw input."""
import os
import pathlib

import keras

from .. import _check
from . import applications, efficientnet_lite, hub, model as own, origin, outputs, weights as files
from .applications import Application
from .catalogue import APPLICATIONS, CATALOGUE, LITE

_FORMS = ('a name of `kt.backbones.table()` such as "MobileNetV2", kt.backbones.Application(name, ...), '
          '"hub:<folder, archive, URL or Kaggle handle>", kt.backbones.Hub(...), the path of a .keras file, or a '
          "keras.Model")


def backbone(source, *, input_shape=None, weights="pretrained", pooling="avg", trainable=False, at=None):
    """Builds a network from raw input to features, with its pixel scaling inside.

    The start of every workflow: `kt.attach` puts heads on it, `kt.features` runs it as it is. A photo goes in as it
    was decoded, 0-255; nothing is to be scaled beforehand.

    Args:
        source: a name (`kt.backbones.table()` lists them), `kt.backbones.Application(name, alpha=0.5)`,
            "hub:<folder, .tar.gz, URL or Kaggle handle>" of a SavedModel, `kt.backbones.Hub(...)` for one with
            options, the path of a `.keras` file, or a Functional or Sequential `keras.Model`. A SavedModel and a given
            model keep their own input range; the latter shares its layers with the backbone.
        input_shape: (height, width, channels) in pixels; None takes the family's default size and 3 channels. Height
            and width may be None. One channel is repeated three times; of four the first three are kept, so that
            the alpha of RGBA is dropped.
        weights: "pretrained", None for fresh ones, or a `.weights.h5`, `.keras` or legacy `.h5` file with or without
            a classifier. For a given model "pretrained" means the weights it has.
        pooling: how maps (batch, height, width, channels) and sequences (batch, steps, channels) become (batch,
            units): "avg", "max", "both" (average, then maximum: twice the units) or None to leave them. Other outputs
            are left as they are.
        trainable: False freezes the whole backbone, which is where transfer learning starts.
        at: the name of an inner layer that gives the features instead of the last one; nothing above it is kept.
            A list of names gives a list of outputs.

    Returns:
        A flat Functional `keras.Model` named "backbone", its layers in the order of depth. The input is pixels 0-255
        as uint8 or float, (batch, height, width, channels), and the output (batch, units).

    Raises:
        ValueError: for an unknown name or layer, a size below the least one, a file of another network.
        TypeError: for a source of another kind.
        ConnectionError: if pretrained weights are not on this machine and can't be downloaded.
        ImportError: for "EfficientNetLite0" without its weights package.

    Example:
        >>> import keras_transfer as kt
        >>> kt.backbone("MobileNetV2", input_shape=(96, 96, 3), weights=None).output_shape
        (None, 1280)
    """
    outputs.check(pooling, at)
    files.check(weights)
    if not isinstance(trainable, bool):
        raise TypeError(f"`trainable` must be True or False. Received: {trainable!r}")
    build, what = _resolve(source)
    network = build(what, input_shape=input_shape, weights=weights, pooling=pooling, at=at)
    network.trainable = not trainable   # Keras skips an assignment of the same value, and with it the inner layers
    network.trainable = trainable
    if trainable:
        hub.check_trainable(network)
    return origin.marked(network, source, weights)


def _resolve(source):
    """Returns the function that builds `source`, and what to give it."""
    if isinstance(source, Application):
        return applications.build, source
    if isinstance(source, hub.Hub):
        return hub.build, source
    if isinstance(source, keras.Model):
        return own.build, source
    _check.no_hidden_weights(source)
    if isinstance(source, (str, os.PathLike)):
        return _resolve_text(os.fspath(source))
    raise TypeError(f"A backbone is {_FORMS}. Received: {type(source).__name__} {source!r}")


def _resolve_text(text):
    if text.startswith("hub:"):
        return hub.build, hub.Hub(text)
    if text.startswith("kerashub:"):
        raise ValueError(f"{text!r}: this version offers no kerashub: backbones. A backbone is {_FORMS}.")
    if text in APPLICATIONS:
        return applications.build, Application(text)
    if text == LITE:
        return efficientnet_lite.build, text
    if text.endswith(".keras"):
        return own.build, own.load(pathlib.Path(text))
    if pathlib.Path(text).exists():
        raise ValueError(f"The backbone {text!r} is a path, but not of a .keras file. Load the model yourself and give "
                         "it, or save it with model.save('name.keras').")
    return _check.one_of(text, CATALOGUE, "backbone")
