"""The 40 networks of `keras.applications`, each with its own pixel scaling inside."""
import inspect
import warnings

import keras
import numpy as np

from .. import _check
from . import outputs, pretrained, weights as files
from .catalogue import APPLICATIONS, LITE
from .scaling import DEVIATION, scaled, three_channels

# What `kt.backbone` decides itself.
_OURS = ("include_top", "weights", "input_tensor", "input_shape", "pooling", "classes", "classifier_activation",
         "include_preprocessing", "name")


class Application:
    """A network of `keras.applications` with arguments for its builder.

    Use it where a name can't say enough: `kt.backbone(kt.backbones.Application("MobileNet", alpha=0.25))`.

    Args:
        name: the class's name in `keras.applications`.
        **builder: arguments of that builder, such as `alpha` or `minimalistic`; those that `kt.backbone` sets itself
            (input, weights, pooling, top, scaling) are refused.

    Raises:
        ValueError: for an unknown name or argument.

    Example:
        >>> Application("MobileNetV2", alpha=0.35)
        Application('MobileNetV2', alpha=0.35)
    """

    def __init__(self, name, **builder):
        if name == LITE:
            raise ValueError(f'"{LITE}" takes no builder arguments: write kt.backbone("{LITE}").')
        self.name, self.builder = _check.one_of(name, APPLICATIONS, "network of keras.applications"), dict(builder)
        known = [p for p in inspect.signature(getattr(keras.applications, name)).parameters if p not in _OURS]
        for argument in builder:
            if argument in _OURS:
                raise ValueError(f"{name}: `{argument}` is set by `kt.backbone` itself; give it there if it is one of "
                                 "its arguments.")
            if not known:
                raise ValueError(f"{name} takes no builder arguments. Received: {argument!r}")
            _check.one_of(argument, known, f"argument of {name}")

    def __repr__(self):
        return f"Application({', '.join([repr(self.name), *(f'{k}={v!r}' for k, v in self.builder.items())])})"

    def __eq__(self, other):
        return isinstance(other, Application) and (self.name, self.builder) == (other.name, other.builder)

    def __hash__(self):
        return hash(repr(self))


def build(source, input_shape=None, weights="pretrained", pooling="avg", at=None):
    """Builds an `Application` as one flat network on pixels 0-255. The arguments are those of `kt.backbone`."""
    entry = APPLICATIONS[source.name]
    pixels = image_input(source.name, input_shape, entry)
    tensor = scaled(three_channels(pixels), entry.scaling)

    def whole(given=None):
        with warnings.catch_warnings():     # sizes without weights of their own take those of 224 pixels: as wanted
            warnings.filterwarnings("ignore", message="`input_shape` is undefined")
            shape = None if None in tensor.shape[1:] else tensor.shape[1:]
            return _builder(source, include_top=False, weights=given, input_tensor=tensor, input_shape=shape)

    if weights == "pretrained":
        model = pretrained.fetched(lambda: whole("imagenet"), source.name, entry.cached)
    else:
        model = whole()
    # ConvNeXt ends with a norm that the weights expect above the pooling.
    after = model.layers[-1] if isinstance(model.layers[-1], keras.layers.LayerNormalization) else None
    network = outputs.network(model, pooling, at, after)
    if weights not in ("pretrained", None):
        files.load(weights, [network, model], source.name, top=lambda: _builder(source, weights=None))
        _mend_normalization(model)
    return network


def image_input(name, input_shape, entry):
    """Returns the input of a network of photos, or says what is wrong with `input_shape`."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError("Photos are (height, width, channels) here, but Keras is set to channels_first. Call "
                         'keras.config.set_image_data_format("channels_last").')
    shape = (entry.size, entry.size, 3) if input_shape is None else input_shape
    sides = shape[:2] if isinstance(shape, (tuple, list)) and len(shape) == 3 else ["?"]
    if not all(side is None or isinstance(side, int) and side > 0 for side in sides) or shape[2] not in (1, 3, 4):
        raise ValueError("`input_shape` must be (height, width, channels): pixels, or None for any number, and 1, 3 or "
                         f"4 channels, such as ({entry.size}, {entry.size}, 3). Received: {input_shape!r}")
    if any(side is not None and side < entry.least for side in sides):
        raise ValueError(f"{name} takes photos of at least {entry.least} x {entry.least} pixels. "
                         f"Received: input_shape={input_shape!r}. Take a larger size or another backbone.")
    if None in sides and not entry.any_size:
        raise ValueError(f"{name} is built for one size of photos: `input_shape` can't hold None. Received: "
                         f"{input_shape!r}. Its default is ({entry.size}, {entry.size}, 3).")
    return keras.Input(tuple(shape), name="pixels_0_255", dtype="float32")


def _builder(source, **arguments):
    return getattr(keras.applications, source.name)(**source.builder, **arguments)


def _mend_normalization(model):
    """Gives EfficientNets B0-B7 from a published file the scaling they were trained with.

    The files hold the deviations where the layer wants variances; Keras's builder makes up for it only when it
    downloads the file itself (TensorFlow issue 49930), so that a file given by its path would see other pixels.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            mean, variance, count = layer.get_weights()
            if np.allclose(variance, DEVIATION, atol=1e-3):
                layer.set_weights([mean, variance * np.float32(DEVIATION), count])
                layer.finalize_state()
