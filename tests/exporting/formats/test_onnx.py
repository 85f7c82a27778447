import numpy as np

from keras_transfer.exporting import converting
from keras_transfer.exporting.formats import onnx


def test_names_and_numbers_are_kept(dense, tmp_path):
    model = converting.numbers(dense)
    run = onnx.runner(onnx.write(model, None, tmp_path))
    for count in (1, 5):
        x = np.random.default_rng(count).normal(size=(count, 4)).astype("float32")
        said, expected = run({"values": x}), model(x)
        assert set(said) == set(expected) and all(np.allclose(said[k], expected[k], atol=1e-6) for k in said)


def test_several_inputs(numbers, tmp_path):
    from keras_transfer.exporting.subject import subject

    model = converting.numbers(subject(numbers))
    x = {"a": np.ones((2, 3), "float32"), "b": np.array([[0, 1], [2, 3]], "int32")}
    said = onnx.runner(onnx.write(model, None, tmp_path))(x)
    assert np.allclose(said["sum"], numbers(x)["sum"], atol=1e-6)
