"""Exports of models whose backbone is a SavedModel itself, tables of words in its assets included."""

import json
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
import saved_models

C_LOADER = pathlib.Path(__file__).parents[1] / "tensorflow_c.py"


def trained(source, x, classes=("no", "yes")):
    model = kt.attach(kt.backbone(f"hub:{source}"), kt.heads.Classifier(list(classes)))
    model.compile(optimizer=keras.optimizers.Adam(0.1), **kt.objectives(model))
    model.fit(x, np.arange(len(x)) % 2, epochs=2, verbose=0)
    return model


def test_a_table_of_words_from_its_assets_is_carried_along(tmp_path):
    model = trained(saved_models.words(tmp_path / "words", tmp_path), tf.constant(["cat", "dog", "bird", "cow"]))
    model.save(tmp_path / "m.keras")
    expected = model.predict(tf.constant(["dog", "cow"]), verbose=0)
    for number in (1, 2):
        if number == 2:  # from its file the model needs neither the source nor the words
            shutil.rmtree(tmp_path / "words")
            with pytest.raises(
                ValueError, match="can't be loaded again, and nothing was kept: .*words.txt; No such file"
            ):
                kt.export(model, tmp_path / "served")
            model = kt.load(tmp_path / "m.keras", safe_mode=False)
        found = kt.export(model, tmp_path / "served")
        said = tf.saved_model.load(str(found.path)).signatures["serving_default"](text=tf.constant(["dog", "cow"]))
        assert found.path.name == str(number) and (found.path / "assets" / "words.txt").read_text().startswith(
            "unknown\ncat"
        )
        assert np.allclose(said["classifier/probabilities"], keras.ops.softmax(expected), atol=1e-6)
    for name in ("dog", "cow"):
        (tmp_path / name).write_text(name)
    moved = (tmp_path / "served").rename(tmp_path / "elsewhere") / "1"
    done = subprocess.run(
        [
            sys.executable,
            str(C_LOADER),
            str(moved),
            "serving_default",
            "text",
            str(tmp_path / "dog"),
            str(tmp_path / "cow"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert np.allclose(json.loads(done.stdout)["classifier/probabilities"], said["classifier/probabilities"], atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        saved_models.reusable,
        pytest.param(saved_models.keras_export, marks=pytest.mark.slow),
        pytest.param(saved_models.signature_only, marks=pytest.mark.slow),
    ],
)
def test_numbers_through_a_saved_model(make, tmp_path):
    x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    model = trained(make(tmp_path / "source"), x)
    found = kt.export(model, tmp_path / "served", formats=["saved_model", "tflite"])
    served = tf.saved_model.load(str(found.path)).signatures["serving_default"]
    (name,) = served.structured_input_signature[1]
    said = served(**{name: tf.constant(x)})
    assert np.allclose(said["classifier/probabilities"], keras.ops.softmax(model.predict(x, verbose=0)), atol=1e-5)
    assert found["tflite"] < 1e-5
