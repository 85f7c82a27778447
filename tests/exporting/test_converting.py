import json

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.exporting import converting
from keras_transfer.exporting.samples import samples
from support import colour_task


def test_formats_are_checked_before_any_work(monkeypatch):
    assert converting.checked("onnx", None) == ["onnx"]
    assert converting.checked(("saved_model", "tflite_int8"), "photos/") == ["saved_model", "tflite_int8"]
    monkeypatch.setattr(converting.onnx, "NEEDS", ("no_such_module",))
    with pytest.raises(ImportError, match=r'no_such_module is needed here.*pip install "keras-transfer\[onnx\]"'):
        converting.checked(["onnx"], None)


def test_the_model_of_numbers_has_named_ends_and_no_text(dense):
    model = converting.numbers(dense)
    said = model({"values": np.zeros((2, 4), "float32")} if len(model.inputs) > 1 else np.zeros((2, 4), "float32"))
    assert [t.name for t in model.inputs] == ["values"] and set(said) == {"kind/probabilities", "rank/probabilities"}
    assert all(np.allclose(np.sum(value, -1), 1, atol=1e-6) for value in said.values())


def test_without_a_saved_model_only_the_file_is_written(dense, tmp_path):
    found = kt.export(dense.model, tmp_path / "n" / "3", formats="onnx")
    assert set(found) == {"onnx"} and 0 <= found["onnx"] < 1e-5
    files = sorted(str(p.relative_to(found.path)) for p in found.path.rglob("*") if p.is_file())
    assert files == ["assets/config.json", "assets/labels.json", "model.onnx"]
    assert json.loads((found.path / "assets" / "labels.json").read_text())["kind"] == ["a", "b", "c"]


class Doubled:
    """A format whose runtime says twice what it should, or that can't write."""

    EXTRA, NEEDS, path = "onnx", (), None

    @staticmethod
    def write(model, source, folder, calibration=None):
        Doubled.model = model

    @staticmethod
    def runner(path):
        return lambda named: {key: 2 * value.numpy() for key, value in Doubled.model(named["values"]).items()}


def test_a_file_that_says_something_else_is_refused(dense, tmp_path, monkeypatch):
    monkeypatch.setitem(converting.WRITERS, "onnx", Doubled)
    with pytest.raises(
        ValueError, match="The model as onnx differs from the model by 1 of the largest output; 0.001 is allowed"
    ):
        kt.export(dense.model, tmp_path / "n", formats=["onnx"])
    assert list(tmp_path.iterdir()) == []


def test_what_a_format_cannot_hold_is_said_in_a_sentence(dense, tmp_path, monkeypatch):
    def write(model, source, folder, calibration=None):
        raise RuntimeError("\nno such operation: Strange.\nmore")

    monkeypatch.setattr(Doubled, "write", write)
    monkeypatch.setitem(converting.WRITERS, "onnx", Doubled)
    with pytest.raises(
        ValueError, match="The model can't be written as onnx: no such operation: Strange. Leave 'onnx' out of"
    ):
        kt.export(dense.model, tmp_path / "n", formats=["onnx"])


def test_the_samples_go_in_batches(dense, monkeypatch):
    monkeypatch.setattr(converting, "BATCH", 3)
    parts = converting._batches(samples(dense, np.arange(28.0).reshape(7, 4)))
    assert [len(part["values"]) for part in parts] == [3, 3, 1]


def test_thinned_rows_are_evenly_spaced(dense, monkeypatch):
    monkeypatch.setattr(converting, "COMPARED", 3)
    thinned = converting._thinned(samples(dense, np.arange(28.0).reshape(7, 4)))
    assert thinned.inputs["values"][:, 0].tolist() == [0.0, 12.0, 24.0]
    assert converting._thinned(thinned).count == 3


def test_agreement_by_hand():
    assert converting._agreement(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.6, 0.4], [0.7, 0.3]])) == 0.5


@pytest.mark.slow
def test_all_formats_of_a_network_on_photos(network, tmp_path):
    photos, _ = colour_task(40, seed=4)
    found = kt.export(network, tmp_path / "all", formats=converting.FORMATS, calibration=photos, on_error="request")
    files = {p.name for p in found.path.iterdir()}
    assert {"model.tflite", "model_int8.tflite", "model.onnx", "model.xml", "model.bin", "saved_model.pb"} <= files
    assert all(found[name] < 1e-5 for name in ("serving_default", "pixels", "features", "tflite", "onnx", "openvino"))
    assert (
        1e-4 < found["tflite_int8"] < 0.1 and min(found[f"tflite_int8/{h}"] for h in ("colour", "rank", "tags")) >= 0.9
    )
    assert (found.path / "model_int8.tflite").stat().st_size < (found.path / "model.tflite").stat().st_size
