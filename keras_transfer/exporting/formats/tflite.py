"""LiteRT, formerly TensorFlow Lite: phones and small boards; float32, or int8 from the ranges of calibration data."""
import pathlib

import tensorflow as tf

from ... import _check

EXTRA, NEEDS = "tflite", ("ai_edge_litert.interpreter",)
SIGNATURE = "serving_default"


def write(model, source, folder, calibration=None):
    """Writes `model.tflite`, or with calibration `model_int8.tflite`, whose inputs and outputs stay float32."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=[SIGNATURE])
    if calibration is not None:
        count = len(next(iter(calibration.values())))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({name: array[k:k + 1] for name, array in calibration.items()}
                                                    for k in range(count))
    path = pathlib.Path(folder, "model.tflite" if calibration is None else "model_int8.tflite")
    path.write_bytes(converter.convert())
    return path


def runner(path):
    """Returns a function from `{input: array}` to `{output: array}`."""
    interpreter = _check.extra("ai_edge_litert.interpreter", EXTRA).Interpreter(str(path))
    run = interpreter.get_signature_runner(SIGNATURE)
    return lambda named: run(**named)
