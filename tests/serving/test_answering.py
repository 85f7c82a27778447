"""TF Serving's REST language, worked out by hand on small SavedModels."""

import base64

import numpy as np
import pytest
import saved_models
import tensorflow as tf

from keras_transfer.serving.answering import Served


@pytest.fixture(scope="module")
def dicts(tmp_path_factory):
    return Served(saved_models.dicts(tmp_path_factory.mktemp("served") / "7"))


@pytest.fixture(scope="module")
def lengths(tmp_path_factory):
    """Bytes in; their length, the bytes themselves and a text out."""

    class Lengths(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def __call__(self, image_bytes):
            return {
                "length": tf.strings.length(image_bytes),
                "copy_bytes": image_bytes,
                "head/label": tf.fill(tf.shape(image_bytes), "größe"),
            }

    path = tmp_path_factory.mktemp("served") / "model"
    tf.saved_model.save(Lengths(), str(path))
    return Served(path)


def test_rows(dicts):
    said = dicts.answer({"instances": [{"a": [1, 2], "b": [3, 4]}, {"a": [0, 0], "b": [1, 1]}]})
    assert said == {
        "predictions": [
            {"sum": [8.0, 12.0], "difference": [-2.0, -2.0]},
            {"sum": [2.0, 2.0], "difference": [-1.0, -1.0]},
        ]
    }
    assert dicts.version == "7" and list(dicts.signatures) == ["serving_default"]


def test_columns(dicts):
    said = dicts.answer({"inputs": {"a": [[1, 2]], "b": [[3, 4]]}, "signature_name": "serving_default"})
    assert said == {"outputs": {"sum": [[8.0, 12.0]], "difference": [[-2.0, -2.0]]}}


def test_bytes(lengths):
    coded = {"b64": base64.b64encode(b"\xff\xd8\x00").decode()}
    row = {"length": 3, "copy_bytes": coded, "head/label": "größe"}
    for instances in ([{"image_bytes": coded}] * 2, [coded] * 2):
        assert lengths.answer({"instances": instances}) == {"predictions": [row, row]}
    assert lengths.answer({"inputs": [coded]})["outputs"]["length"] == [3]
    assert lengths.answer({"inputs": {"image_bytes": [coded, "text"]}})["outputs"]["length"] == [3, 4]
    assert lengths.version == "1"


def test_one_output_has_no_key(tmp_path):
    served = Served(saved_models.plain(tmp_path / "model"))
    x = np.ones((2, 6)).tolist()
    rows, columns = served.answer({"instances": x}), served.answer({"inputs": x})
    assert np.shape(rows["predictions"]) == (2, 3) and columns["outputs"] == rows["predictions"]


@pytest.mark.parametrize(
    "request_, said",
    [
        ([], 'A request is a JSON object with either "instances" or "inputs"'),
        ({"instances": [], "inputs": []}, "either"),
        ({"instances": []}, "a list with at least one row"),
        ({"instances": 3}, "a list with at least one row"),
        ({"instances": [[1, 2]]}, "Each of the instances must be an object with a, b"),
        ({"instances": [{"a": [1, 2]}]}, "Instance 0 has a; wanted: a, b"),
        ({"instances": [{"a": [1, 2], "b": [1, "x"]}]}, "Input 'b' can't be read as int32"),
        ({"instances": [{"a": [1, 2], "b": [1]}]}, "Input 'b' must have the shape .any, 2.. Received: .1, 1."),
        ({"instances": [{"a": [1, 2], "b": {"b64": "!"}}]}, "Input 'b' can't be read as int32"),
        ({"inputs": {"a": [[1, 2]]}}, '"inputs" must be an object with a, b'),
        ({"inputs": {"a": [[1, 2]] * 2, "b": [[1, 2]] * 3}}, "The model refuses the request"),
        (
            {"instances": [1], "signature_name": "serving"},
            "Unknown signature 'serving'. Did you mean 'serving_default'",
        ),
    ],
)
def test_requests_that_do_not_fit(dicts, request_, said):
    with pytest.raises(ValueError, match=said):
        dicts.answer(request_)


def test_bad_base64(lengths):
    for bad in ({"b64": "###"}, {"b64": 3}, {"b65": "aaaa"}):
        with pytest.raises(ValueError, match="Input 'image_bytes' can't be read as string|Instance 0 has b65"):
            lengths.answer({"instances": [bad]})


def test_a_model_that_reaches_outside_is_not_served(tmp_path):
    with pytest.raises(ValueError, match="isn't served, since it reaches outside: WriteFile"):
        Served(saved_models.writer(tmp_path / "model", tmp_path / "x"))
