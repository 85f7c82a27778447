import numpy as np
import pytest

from keras_transfer.exporting import converting
from keras_transfer.exporting.formats import tflite


@pytest.fixture
def parts(dense, tmp_path):
    model = converting.numbers(dense)
    return model, converting._saved(model, tmp_path / "scratch"), tmp_path


def test_any_number_of_rows(parts):
    model, source, folder = parts
    run = tflite.runner(tflite.write(model, source, folder))
    for count in (1, 5, 2):
        x = np.random.default_rng(count).normal(size=(count, 4)).astype("float32")
        said, expected = run({"values": x}), model(x)
        assert set(said) == set(expected) and all(np.allclose(said[k], expected[k], atol=1e-6) for k in said)


def test_int8_is_near_and_not_the_same(parts):
    """Also that the probabilities of `Ordinal` can be quantized, which a concatenation there could not."""
    model, source, folder = parts
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    path = tflite.write(model, source, folder, {"values": x})
    said, expected = tflite.runner(path)({"values": x}), model(x)
    worst = max(np.abs(said[k] - expected[k]).max() for k in said)
    assert path.name == "model_int8.tflite" and 1e-5 < worst < 0.05
