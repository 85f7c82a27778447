"""A graph travels as text: everything but the values of variables comes back."""

import base64
import io
import zipfile

import numpy as np
import pytest
import saved_models
import tensorflow as tf

from keras_transfer.saved_model import embedding, reading


def test_back_and_forth(tmp_path):
    path = saved_models.words(tmp_path / "model", tmp_path)
    text = embedding.packed(path)
    again, keep = embedding.unpacked(text)
    assert (again / "saved_model.pb").read_bytes() == (path / "saved_model.pb").read_bytes()
    assert (again / "assets" / "words.txt").read_text() == "unknown\ncat\ndog\nbird\n"
    assert reading.variables(again) == reading.variables(path)
    loaded = tf.saved_model.load(str(again))
    assert not np.any(loaded.embedding.numpy()) and np.any(tf.saved_model.load(str(path)).embedding.numpy())
    del keep
    assert not again.exists()


def test_the_same_model_gives_the_same_text(tmp_path):
    path = saved_models.plain(tmp_path / "model")
    text = embedding.packed(path)
    assert text == embedding.packed(path)
    again, keep = embedding.unpacked(text)
    assert embedding.packed(again) == text  # unpacked and packed once more


def test_values_are_not_in_it(tmp_path):
    large = tf.Module()
    large.weight = tf.Variable(np.random.default_rng(0).normal(size=300_000).astype("float32"))
    tf.saved_model.save(large, str(tmp_path / "model"))
    assert len(embedding.packed(tmp_path / "model")) < 20_000


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: "!" + text, lambda text: ""])
def test_damaged_text(damage, tmp_path):
    text = embedding.packed(saved_models.plain(tmp_path / "model"))
    with pytest.raises(ValueError, match="embedded in this file is damaged"):
        embedding.unpacked(damage(text))


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/keras_transfer_outside.txt"])
def test_nothing_leaves_the_folder(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(ValueError, match="outside of its folder"):
        embedding.unpacked(base64.b64encode(buffer.getvalue()).decode())
