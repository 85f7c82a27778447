"""ONNX, for onnxruntime and most other runtimes."""
import pathlib

from ... import _check

EXTRA, NEEDS = "onnx", ("onnx", "tf2onnx", "onnxruntime")


def write(model, source, folder, calibration=None):
    """Writes `model.onnx`."""
    path = pathlib.Path(folder, "model.onnx")
    model.export(str(path), format="onnx", verbose=False)
    return path


def runner(path):
    """Returns a function from `{input: array}` to `{output: array}`."""
    session = _check.extra("onnxruntime", EXTRA).InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return lambda named: dict(zip(names, session.run(names, named)))
