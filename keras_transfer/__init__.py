"""Transfer learning and multi-task learning for Keras 3 and TensorFlow.

The public names are imported when first used, so `import keras_transfer` alone loads neither Keras nor TensorFlow.
If Keras is already loaded, every class that a saved model may hold is registered at once.
"""
import importlib as _importlib
import sys as _sys

__version__ = "0.1.0"

_HOME = {
    "backbone": "backbones", "attach": "assembling", "objectives": "assembling", "Masked": "masking",
    "freeze": "freezing", "unfreeze": "freezing", "GradualUnfreezing": "freezing", "summary": "summarizing",
    "layerwise": "rates", "find_learning_rate": "rate_finding", "fine_tune": "recipe",
    "load": "loading", "predict": "loading", "export": "exporting", "inspect": "inspecting",
    "report": "reporting", "cache_features": "store", "features": "store", "Store": "store",
    "strategy": "distributing", "MultiTask": "multitask",
}
_MODULES = ("backbones", "heads", "data", "multitask")
_REGISTERING = ("network", "masking", "heads", "rates", "backbones.saved_model_layer", "multitask")

__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name):
    if name in _HOME:
        value = getattr(_importlib.import_module(f"keras_transfer.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = _importlib.import_module(f"keras_transfer.{name}")
    else:
        raise AttributeError(f"module 'keras_transfer' has no attribute {name!r}; it has {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *__all__])


if "keras" in _sys.modules:
    for _name in _REGISTERING:
        _importlib.import_module(f"keras_transfer.{_name}")
