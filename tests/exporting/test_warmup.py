import builtins

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.exporting import warmup
from keras_transfer.exporting.samples import samples
from keras_transfer.exporting.signatures import build


def read(folder):
    from tensorflow_serving.apis import prediction_log_pb2

    records = [bytes.numpy() for bytes in tf.data.TFRecordDataset(str(folder / warmup.FILE))]
    return [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]


def test_each_request_runs_against_its_signature(exported, served):
    requests = read(exported.path)
    assert [r.model_spec.signature_name for r in requests] == ["serving_default", "pixels", "pixels_uint8", "features"]
    assert {r.model_spec.name for r in requests} == {"colours"}
    for request in requests:
        said = served[request.model_spec.signature_name](
            **{k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        )
        assert all(len(value) == 1 for value in said.values())
        if request.model_spec.signature_name == "serving_default":
            assert said["image/readable"].numpy().tolist() == [True]


def test_pixels_are_grey_and_small_on_disk(exported):
    request = read(exported.path)[1]
    assert (tf.make_ndarray(request.inputs["pixels"]) == 127).all() and request.ByteSize() < 200
    assert tf.make_ndarray(request.inputs["pixels"]).shape == (1, 16, 16, 3)


def test_a_request_of_other_tensors_is_the_first_row(dense, tmp_path):
    rows = samples(dense)
    assert warmup.write(tmp_path, "m", warmup.requests(dense, rows, build(dense)))
    assert np.array_equal(tf.make_ndarray(read(tmp_path)[0].inputs["values"]), rows.inputs["values"][:1])


def test_without_the_package_it_is_left_out_and_said(dense, tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments):
        if name.startswith("tensorflow_serving"):
            raise ImportError("No module named 'tensorflow_serving'")
        return real(name, *arguments)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.warns(
        UserWarning, match=r"the first request to the server will be slow.*pip install \"keras-transfer\[serving\]\""
    ):
        assert not warmup.write(tmp_path, "m", warmup.requests(dense, samples(dense), build(dense)))
    assert list(tmp_path.iterdir()) == []
