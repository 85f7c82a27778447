"""Which engine runs a frozen network."""
import importlib.util

import tensorflow as tf

from .openvino import OpenVINOEngine
from .tensorflow import TensorFlowEngine

ENGINES = {engine.name: engine for engine in (TensorFlowEngine, OpenVINOEngine)}


def candidates(engine):
    """Returns the classes of the engines to try, in order, for "tensorflow", "openvino" or "auto".

    "auto" is OpenVINO on processors where it is installed, and TensorFlow if that doesn't work or can't run the network.
    """
    if engine != "auto":
        return [ENGINES[engine]]
    package = importlib.util.find_spec("openvino")
    installed = package is not None and package.origin is not None  # a folder of that name beside a script has none
    here = installed and not tf.config.list_logical_devices("GPU")
    return [OpenVINOEngine, TensorFlowEngine] if here else [TensorFlowEngine]
