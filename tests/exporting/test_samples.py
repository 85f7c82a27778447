import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.exporting import samples as module
from keras_transfer.exporting.samples import generated, samples
from keras_transfer.exporting.subject import subject


def test_made_up_photos_are_varied_and_decoded_like_any_other(network):
    what = subject(network, config={"fit": "pad"})
    found = samples(what)
    assert found.count == 4 and len(found.bytes) == 4
    for bytes, photo in zip(found.bytes, found.inputs["pixels"]):
        assert np.array_equal(photo, kt.data.decode(bytes, 16, "pad"))
    shapes = [tf.io.decode_image(bytes).shape[:2] for bytes in found.bytes]
    assert shapes == [(22, 27), (16, 19), (11, 13), (32, 38)]
    assert found.inputs["pixels"].std((1, 2)).min() > 5 and generated((16, 16)) == found.bytes


def test_files_are_taken_evenly_from_all(network, photo_folder, monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)
    found = samples(subject(network), photo_folder)
    files = sorted(str(p) for p in photo_folder.rglob("*.png"))
    assert found.bytes == [open(files[i], "rb").read() for i in (0, 20, 41)]  # the first, the middle and the last class
    assert samples(subject(network), files[:2]).count == 2


def test_broken_and_missing_files_are_named(network, photo_folder, tmp_path):
    (tmp_path / "bad.jpg").write_text("x")
    with pytest.raises(ValueError, match="1 of 1 photos can't be read"):
        samples(subject(network), tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no photo or folder"):
        samples(subject(network), str(tmp_path / "none"))


def test_arrays_and_datasets_give_their_first_rows(network, numbers):
    photos = np.random.default_rng(0).uniform(0, 255, (130, 16, 16, 3))
    found = samples(subject(network), photos)
    assert found.count == 128 and found.inputs["pixels"].dtype == "float32" and found.bytes == generated((16, 16))
    dataset = tf.data.Dataset.from_tensor_slices((photos[:5], np.zeros(5))).batch(2)
    assert np.allclose(samples(subject(network), dataset).inputs["pixels"], photos[:5])
    inputs = {"a": np.zeros((6, 3)), "b": np.ones((6, 2))}
    found = samples(subject(numbers), tf.data.Dataset.from_tensor_slices(inputs).batch(4))
    assert found.bytes is None and found.inputs["a"].shape == (6, 3) and found.inputs["b"].dtype == "int32"


def test_data_of_another_kind_are_refused(network, numbers):
    with pytest.raises(
        ValueError,
        match=r"for the input 'pixels' must be rows of shape \(16, 16, 3\).* Received an array of shape \(2, 8, 8, 3\)",
    ):
        samples(subject(network), np.zeros((2, 8, 8, 3)))
    with pytest.raises(ValueError, match="must be rows of shape"):
        samples(subject(network), np.zeros((0, 16, 16, 3)))
    with pytest.raises(
        ValueError, match="must have the inputs a, b of the model, as a dict of arrays. Received: ndarray"
    ):
        samples(subject(numbers), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"Received: dict \['a'\]"):
        samples(subject(numbers), {"a": np.zeros((2, 3))})


def test_made_up_inputs_of_other_kinds(numbers):
    found = samples(subject(numbers)).inputs
    assert found["a"].shape == (4, 3) and found["b"].dtype == "int32" and set(found["b"].ravel()) <= {0, 1}
    sound = keras.Input((None,), name="sound")
    waves = samples(subject(keras.Model(sound, keras.layers.Rescaling(2.0)(sound)))).inputs["sound"]
    assert waves.shape == (4, 16_000) and 0.9 < waves.std() < 1.1
    words = keras.Input((), dtype="string", name="words")
    assert samples(subject(keras.Model(words, keras.layers.Hashing(4)(words)))).inputs["text"].shape == (4,)
