import pathlib

import keras
import pytest

import keras_transfer as kt
from keras_transfer.backbones import building


@pytest.mark.parametrize(
    "source, said",
    [
        ("MobileNetv2", r"Unknown backbone 'MobileNetv2'\. Did you mean 'MobileNetV2'"),
        ("efficientnetlite0", r"Did you mean 'EfficientNetLite0'"),
        ("resnet", "Unknown backbone 'resnet'. Did you mean 'ResNet50'|'ResNet"),
        ("zzz", r"Unknown backbone 'zzz'\. There is: .*41 in all"),
        ("kerashub:resnet", "this version offers no kerashub: backbones. A backbone is a name"),
    ],
)
def test_unknown_names_are_refused_with_the_closest(source, said):
    with pytest.raises(ValueError, match=said):
        kt.backbone(source)


@pytest.mark.parametrize("source", [3, None, keras.applications.VGG16, keras.layers.Dense(3), ["MobileNet"]])
def test_other_kinds_of_source(source):
    with pytest.raises(TypeError, match=r"A backbone is a name of `kt.backbones.table.*or a keras.Model. Received: "):
        kt.backbone(source)


def test_a_path_that_is_no_keras_file(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "model.h5"):
        with pytest.raises(ValueError, match="is a path, but not of a .keras file"):
            kt.backbone(path)


def test_arguments_are_checked_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(building, "_resolve", lambda source: pytest.fail("was built"))
    with pytest.raises(ValueError, match="`pooling` must be"):
        kt.backbone("MobileNet", pooling="sum")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        kt.backbone("MobileNet", weights=pathlib.Path("none.keras"))
    with pytest.raises(TypeError, match="`trainable` must be True or False. Received: 1"):
        kt.backbone("MobileNet", trainable=1)
    with pytest.raises(TypeError, match="`at` must be"):
        kt.backbone("MobileNet", at=5)


def test_trainable():
    small = kt.backbones.Application("MobileNet", alpha=0.25)
    frozen = kt.backbone(small, weights=None, input_shape=(32, 32, 3))
    free = kt.backbone(small, weights=None, input_shape=(32, 32, 3), trainable=True)
    assert (len(frozen.trainable_weights), len(free.trainable_weights)) == (0, 81)
    assert len(frozen.weights) == len(free.weights) == 135


def test_trainable_reaches_every_layer_of_a_frozen_model():
    """Keras ignores `model.trainable = True` on a model that is not frozen itself but has frozen layers."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    kt.backbone(model)
    assert len(kt.backbone(model, trainable=True).trainable_weights) == 2


def test_several_inner_layers_of_an_application():
    small = kt.backbones.Application("MobileNet", alpha=0.25)
    model = kt.backbone(small, weights=None, input_shape=(64, 64, 3), at=["conv_pw_11_relu", "conv_pw_5_relu"])
    assert [tuple(o.shape) for o in model.outputs] == [(None, 128), (None, 64)]
    with pytest.raises(ValueError, match=r"Unknown layer 'conv_pw_14_relu'\. Did you mean 'conv_pw_4_relu'"):
        kt.backbone(small, weights=None, at="conv_pw_14_relu")


def test_public_names():
    assert kt.backbone is kt.backbones.backbone and kt.backbones.__all__ == ["Application", "Hub", "backbone", "table"]
