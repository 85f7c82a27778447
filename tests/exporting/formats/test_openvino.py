import numpy as np
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.exporting import converting
from keras_transfer.exporting.formats import openvino


def test_names_and_numbers_are_kept(dense, tmp_path):
    model = converting.numbers(dense)
    path = openvino.write(model, converting._saved(model, tmp_path / "scratch"), tmp_path)
    run = openvino.runner(path)
    assert path.with_suffix(".bin").exists()
    for count in (1, 5):
        x = np.random.default_rng(count).normal(size=(count, 4)).astype("float32")
        said, expected = run({"values": x}), model(x)
        assert all(np.allclose(said[k], expected[k], atol=1e-6) for k in expected)


def test_it_reads_the_saved_model_itself_labels_included(dense, tmp_path):
    """Of tensors: the decoders of photos have no counterpart there."""
    found = kt.export(dense.model, tmp_path / "n", top_k=2)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    said = openvino.runner(found.path)({"values": x})
    expected = tf.saved_model.load(str(found.path)).signatures["serving_default"](values=tf.constant(x))
    assert np.allclose(said["kind/probabilities"], expected["kind/probabilities"], atol=1e-6)
    assert [str(label) for label in said["kind/label"]] == [label.decode() for label in expected["kind/label"].numpy()]
