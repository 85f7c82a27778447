"""Programs that aren't ours read the export: TensorFlow's C library, saved_model_cli, and a client of TF Serving."""

import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt

C_LOADER = pathlib.Path(__file__).parents[1] / "tensorflow_c.py"


def through_c(*arguments):
    return subprocess.run([sys.executable, str(C_LOADER), *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def files(photos, tmp_path):
    for number, bytes in enumerate(photos):
        (tmp_path / f"{number}").write_bytes(bytes)
    return [tmp_path / f"{number}" for number in range(len(photos))]


def test_the_c_library_gives_the_same_without_pythons_tensorflow(exported, served, photos, files):
    """The child process asserts that it has neither TensorFlow nor Keras imported."""
    done = through_c(exported.path, "serving_default", "image_bytes", *files)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for key, value in served["serving_default"](image_bytes=tf.constant(photos)).items():
        value = value.numpy()
        if value.dtype == object:
            assert np.array_equal(np.array(said[key]), np.vectorize(bytes.decode, otypes=[str])(value)), key
        else:
            assert np.allclose(said[key], value, atol=1e-6), key
    assert said["colour/label"][2] == "" and said["image/readable"] == [True, True, False, True]


@pytest.mark.slow
def test_the_c_library_fails_a_strict_request_and_answers_the_next(network, files, tmp_path):
    found = kt.export(network, tmp_path / "strict", on_error="request")
    done = through_c(found.path, "serving_default", "image_bytes", *files)
    assert done.returncode == 1 and "not a photo: the content is none of JPEG" in done.stderr
    assert len(json.loads(through_c(found.path, "features", "image_bytes", files[0], files[3]).stdout)["features"]) == 2


@pytest.mark.slow
def test_saved_model_cli_runs_it(exported, served, tmp_path):
    pixels = np.full((1, 16, 16, 3), 90, "float32")
    np.save(tmp_path / "p.npy", pixels)
    tool = pathlib.Path(sys.executable).with_name("saved_model_cli")

    done = subprocess.run(
        [
            tool,
            "run",
            "--dir",
            exported.path,
            "--tag_set",
            "serve",
            "--signature_def",
            "pixels",
            "--inputs",
            f"pixels={tmp_path / 'p.npy'}",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = served["pixels"](pixels=tf.constant(pixels))
    shown = dict(re.findall(r"Result for output key (\S+):\n(.*)", done.stdout))
    assert float(shown["light"].strip("[]")) == pytest.approx(said["light"].numpy()[0, 0], abs=1e-3)
    assert shown["colour/label"] == str(said["colour/label"].numpy())


@pytest.fixture
def stub(served):
    """A client of a PredictionService of TF Serving's own messages on this machine, answered by the export."""
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
            response = predict_pb2.PredictResponse()
            for key, value in served[request.model_spec.signature_name](**inputs).items():
                response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
            return response

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)
    server.stop(None)


def test_a_predict_request_of_tf_serving_with_jpeg_bytes(stub, network, photos):
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "colours", "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([photos[0], photos[2]]))
    said = {key: tf.make_ndarray(value) for key, value in stub.Predict(request, timeout=30).outputs.items()}
    expected = network.predict(kt.data.decode(photos[0], 16, "crop")[None], verbose=0)
    assert np.allclose(said["light"][0], expected["light"][0], rtol=1e-5) and said["light"][1] == 0
    assert said["colour/label"].tolist() == [["red", "grün", "blue"][expected["colour"].argmax()].encode(), b""]
