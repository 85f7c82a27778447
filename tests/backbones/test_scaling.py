import keras
import numpy as np
import pytest

from keras_transfer.backbones.scaling import scaled, three_channels

PIXEL = np.array([[[[255.0, 127.5, 0.0]]]], "float32")


@pytest.mark.parametrize(
    "kind, wanted",
    [
        ("none", [255.0, 127.5, 0.0]),
        ("tf", [1.0, 0.0, -1.0]),
        ("torch", [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, -0.406 / 0.225]),
        ("caffe", [0 - 103.939, 127.5 - 116.779, 255 - 123.68]),
    ],
)
def test_one_pixel_by_hand(kind, wanted):
    inputs = keras.Input((1, 1, 3))
    model = keras.Model(inputs, keras.layers.Identity()(scaled(inputs, kind)))
    np.testing.assert_allclose(np.ravel(model(PIXEL)), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["tf", "torch", "caffe"])
def test_equals_keras_bit_for_bit(kind, photos):
    pixels = photos(32)
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, scaled(inputs, kind))
    wanted = keras.applications.imagenet_utils.preprocess_input(pixels.astype("float32").copy(), mode=kind)
    np.testing.assert_array_equal(model(pixels), wanted)


def test_channels_by_hand():
    for channels, wanted in ((1, [7, 7, 7]), (3, [7, 8, 9]), (4, [7, 8, 9])):
        inputs = keras.Input((1, 1, channels))
        model = keras.Model(inputs, keras.layers.Identity()(three_channels(inputs)))
        assert np.ravel(model(np.arange(7.0, 7 + channels).reshape(1, 1, 1, channels))).tolist() == wanted


def test_scaled_model_survives_safe_saving(tmp_path):
    inputs = keras.Input((1, 1, 4))
    model = keras.Model(
        inputs, [keras.layers.Identity()(scaled(three_channels(inputs), kind)) for kind in ("tf", "torch", "caffe")]
    )
    model.save(tmp_path / "m.keras")
    pixel = np.concatenate([PIXEL, PIXEL[..., :1]], -1)
    for a, b in zip(model(pixel), keras.models.load_model(tmp_path / "m.keras", safe_mode=True)(pixel)):
        np.testing.assert_array_equal(a, b)
