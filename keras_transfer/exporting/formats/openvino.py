"""OpenVINO, for Intel processors."""
import pathlib

from ... import _check

EXTRA, NEEDS = "openvino", ("openvino", "scipy")  # it needs scipy and doesn't say so


def write(model, source, folder, calibration=None):
    """Writes `model.xml` and, beside it, `model.bin`, with float32 weights."""
    openvino, path = _check.extra("openvino", EXTRA), pathlib.Path(folder, "model.xml")
    # not convert_model, which reports its use over the network and waits for an answer
    openvino.save_model(openvino.Core().read_model(str(source)), str(path), compress_to_fp16=False)
    return path


def runner(path):
    """Returns a function from `{input: array}` to `{output: array}`, with float32 arithmetic."""
    core = _check.extra("openvino", EXTRA).Core()
    compiled = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(named):
        found = compiled(named)
        return {name: found[output] for output in compiled.outputs for name in output.names}

    return run
