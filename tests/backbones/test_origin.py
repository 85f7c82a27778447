import pathlib

import keras
import pytest

import keras_transfer as kt
from keras_transfer.backbones.origin import origin


def small():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))


def test_a_backbone_knows_its_source_and_weights_while_it_lives(tmp_path):
    assert origin(kt.backbone("MobileNet", input_shape=(32, 32, 3), weights=None)) == ("MobileNet", None)
    assert origin(kt.backbone(small())) == ("a model of the user's own", "pretrained")
    small().save(tmp_path / "mine.keras")
    assert origin(kt.backbone(tmp_path / "mine.keras")) == ("mine.keras", "pretrained")  # without its folder
    assert origin(small()) == (None, "unknown")


@pytest.mark.parametrize("weights", ["w.weights.h5", pathlib.Path("w.weights.h5")])
def test_it_is_no_weight_and_is_kept_by_attach(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = small()
    network.save_weights("w.weights.h5")
    backbone = kt.backbone(network, weights=weights)
    model = kt.attach(backbone, kt.heads.Classifier(2))
    assert origin(model.get_layer("backbone")) == ("a model of the user's own", "w.weights.h5")
    assert len(backbone.weights) == 2
