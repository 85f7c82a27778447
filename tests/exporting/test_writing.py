"""`kt.export` as a whole. What a server does with the result is in test_real_loaders."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer import running
from keras_transfer.exporting import verifying
from support import run_python


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def test_the_largest_difference_of_each_signature_is_returned(exported):
    assert set(exported) == {"serving_default", "pixels", "pixels_uint8", "features"}
    assert all(0 <= value <= 1e-5 for value in exported.values())
    assert exported.path.name == "1" and os.listdir(exported.path.parent) == ["1"]


def test_what_lies_beside_the_graph(exported):
    files = {str(p.relative_to(exported.path)) for p in exported.path.rglob("*") if p.is_file()}
    assert files == {
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "assets/labels.json",
        "assets/config.json",
        "variables/variables.data-00000-of-00001",
        "assets.extra/tf_serving_warmup_requests",
    }
    assert json.loads((exported.path / "assets" / "labels.json").read_text()) == {
        "colour": ["red", "grün", "blue"],
        "rank": ["0", "1", "2", "3"],
        "tags": ["warm", "cold"],
    }
    config = json.loads((exported.path / "assets" / "config.json").read_text())
    assert (config["fit"], config["seed"], config["image_size"]) == ("crop", 5, [16, 16])
    assert config["exported_with"]["keras"] == keras.__version__
    assert oct(exported.path.stat().st_mode & 0o777) == "0o755"


def test_bytes_say_what_the_model_says_of_decoded_photos(served, network, photos):
    good = [photos[0], photos[1], photos[3]]
    said = served["serving_default"](image_bytes=tf.constant(good))
    outputs = network.predict(np.stack([kt.data.decode(p, 16, "crop") for p in good]), verbose=0)
    likely = softmax(outputs["colour"])
    assert np.allclose(said["colour/probabilities"], likely, atol=1e-6)
    names = np.array(["red", "grün", "blue"])
    assert [label.decode() for label in said["colour/label"].numpy()] == names[likely.argmax(-1)].tolist()
    best = np.argsort(-likely)[:, :2]
    assert [[one.decode() for one in row] for row in said["colour/top_labels"].numpy()] == names[best].tolist()
    assert np.allclose(said["colour/top_probabilities"], np.take_along_axis(likely, best, 1), atol=1e-6)
    assert np.allclose(said["light"], outputs["light"], rtol=1e-5)
    assert len({tuple(row) for row in np.round(likely, 3)}) == 3  # the control: three photos, three answers


def test_a_broken_photo_leaves_the_bits_of_the_others(served, photos):
    with_one = {k: v.numpy() for k, v in served["serving_default"](image_bytes=tf.constant(photos)).items()}
    without = served["serving_default"](image_bytes=tf.constant([photos[0], photos[1], photos[0], photos[3]]))
    assert with_one["image/readable"].tolist() == [True, True, False, True]
    for key, value in with_one.items():
        assert np.array_equal(value[[0, 1, 3]], without[key].numpy()[[0, 1, 3]]), key
        assert not np.any(value[2] != (b"" if value.dtype == object else 0)), key
    features = served["features"](image_bytes=tf.constant(photos))
    assert not features["features"][2].numpy().any() and features["features"][1].numpy().any()


def test_pixels_as_float_and_as_uint8_say_the_same(served, network):
    whole = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype("uint8")
    one = served["pixels"](pixels=tf.constant(whole.astype("float32")))
    other = served["pixels_uint8"](pixels=tf.constant(whole))
    assert all(np.array_equal(one[key], other[key]) for key in one) and "image/readable" not in one
    assert np.allclose(one["light"], network.predict(whole, verbose=0)["light"], rtol=1e-5)


def test_features_are_those_of_the_joint(served, network, photos):
    joint = keras.Model(network.inputs, network.get_layer("features").output)
    said = served["features"](image_bytes=tf.constant(photos[:2]))
    expected = joint.predict(np.stack([kt.data.decode(p, 16, "crop") for p in photos[:2]]), verbose=0)
    assert said["features"].shape == (2, 12) and np.allclose(said["features"], expected, rtol=1e-5)


def test_named_inputs_and_numbers(numbers, tmp_path):
    found = kt.export(numbers, tmp_path / "n")
    served = tf.saved_model.load(str(tmp_path / "n" / "1")).signatures["serving_default"]
    a, b = np.ones((2, 3), "float32"), np.array([[0, 1], [2, 3]], "int32")
    said = served(a=tf.constant(a), b=tf.constant(b))
    assert found == {"serving_default": 0.0} and found.path == tmp_path / "n" / "1"
    written = tf.train.load_checkpoint(str(found.path / "variables" / "variables")).get_variable_to_shape_map()
    assert len(written) == 1 + len(numbers.weights)  # each once, and the graph of objects
    assert np.allclose(said["sum"], numbers({"a": a, "b": b})["sum"], atol=1e-6)
    assert kt.export(numbers, tmp_path / "n").path.name == "2"


def test_texts_with_a_table_of_words_from_a_saved_file(tmp_path):
    words = keras.layers.TextVectorization(vocabulary=["good", "bad", "film"], output_sequence_length=3)
    inputs = keras.Input((1,), dtype="string", name="review")
    hot = keras.layers.CategoryEncoding(5, output_mode="multi_hot")(words(inputs))
    model = kt.attach(keras.Model(inputs, hot), kt.heads.Classifier(["no", "yes"]))
    model.save(tmp_path / "m.keras")
    found = kt.export(kt.load(tmp_path / "m.keras"), tmp_path / "served")
    served = tf.saved_model.load(str(found.path)).signatures
    said = served["serving_default"](text=tf.constant(["good film", "bad"]))
    expected = softmax(model.predict(tf.constant([["good film"], ["bad"]]), verbose=0))
    assert set(found) == {"serving_default", "features"} and np.allclose(
        said["classifier/probabilities"], expected, atol=1e-6
    )
    assert served["features"](text=tf.constant(["good"]))["features"].numpy().tolist() == [[1, 0, 1, 0, 0]]


def test_a_run_folder_brings_labels_and_decoding(dense, tmp_path):
    history = keras.callbacks.History()
    history.epoch, history.history = [0], {"loss": [1.0]}
    running.write_run(
        tmp_path / "run",
        dense.model,
        labels={"kind": ["x", "y", "z"]},
        history=history,
        config={"seed": 7, "image_size": [8, 8], "fit": "pad", "targets": {}, "images": "file", "split": None},
    )
    found = kt.export(tmp_path / "run", tmp_path / "served")
    assert found.subject.classes["kind"] == ["x", "y", "z"]
    config = json.loads((found.path / "assets" / "config.json").read_text())
    assert config["seed"] == 7 and set(config["versions"]) == set(config["exported_with"])


def test_arguments_are_refused_before_anything_is_written(numbers, tmp_path):
    for options, error in [
        ({"formats": ["savedmodel"]}, "Unknown format 'savedmodel'. Did you mean 'saved_model'"),
        ({"formats": []}, "`formats` is empty"),
        ({"on_error": "skip"}, "Unknown `on_error` 'skip'"),
        ({"top_k": 0}, "`top_k` must be a whole number of at least 1"),
        ({"formats": "tflite_int8"}, "needs `calibration`: a hundred or so photos"),
    ]:
        with pytest.raises(ValueError, match=error):
            kt.export(numbers, tmp_path / "deep" / "n", **options)
    assert os.listdir(tmp_path) == []


def test_an_existing_version_is_left_as_it_is(numbers, tmp_path):
    (tmp_path / "n" / "1").mkdir(parents=True)
    (tmp_path / "n" / "1" / "saved_model.pb").write_text("old")
    with pytest.raises(FileExistsError, match="exists already"):
        kt.export(numbers, tmp_path / "n" / "1")
    assert [p.name for p in tmp_path.rglob("*")] == ["n", "1", "saved_model.pb"]


def test_a_difference_leaves_nothing(numbers, tmp_path, monkeypatch):
    monkeypatch.setattr(verifying, "LIMIT", -1.0)
    with pytest.raises(
        ValueError, match="The signature 'serving_default' of the written SavedModel differs from the model by"
    ):
        kt.export(numbers, tmp_path / "deep" / "n" / "1")
    assert os.listdir(tmp_path) == []


def test_a_model_that_draws_at_random_is_refused(tmp_path):
    inputs = keras.Input((3,), name="x")

    class Noisy(keras.layers.Layer):
        def call(self, x):
            # without Python's seed, which the tests fix
            return x + tf.raw_ops.RandomStandardNormal(shape=tf.shape(x), dtype=tf.float32)

    with pytest.raises(ValueError, match="Does a layer of the model draw at random"):
        kt.export(keras.Model(inputs, Noisy()(inputs)), tmp_path / "n")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing_and_says_so(numbers, tmp_path):
    """A limit on the size of files stands for a full disk: the graph can't be written."""
    numbers.save(tmp_path / "m.keras")
    code = (
        "import resource, signal, sys, keras_transfer as kt; model = kt.load(sys.argv[1]); "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000)); "
        "kt.export(model, sys.argv[2])"
    )
    done = run_python(code, tmp_path / "m.keras", tmp_path / "served" / "1", check=False)
    assert (
        "OSError: The export to" in done.stderr
        and "can't be written" in done.stderr
        and "File too large" in done.stderr
    )
    assert os.listdir(tmp_path) == ["m.keras"]


def test_where_nothing_may_be_written_it_says_so_and_leaves_nothing(tmp_path):
    tmp_path.chmod(0o755)
    code = (
        "import os, sys; from keras_transfer import _files\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "with _files.folder(sys.argv[1]): pass"
    )
    tmp_path.chmod(0o555)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "served" / "1")], capture_output=True, text=True)
    tmp_path.chmod(0o755)
    assert "PermissionError" in done.stderr and os.listdir(tmp_path) == []
