"""The package as a whole: what importing it loads, what it offers, and that classes are registered in time."""

import json

import pytest

import keras_transfer as kt
from support import run_python


def test_importing_it_loads_neither_keras_nor_tensorflow_nor_numpy():
    code = "import sys, keras_transfer; dir(keras_transfer); print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


def test_every_public_name_is_there_and_is_no_module_of_its_own():
    import pkgutil
    import types

    modules = {m.name for m in pkgutil.iter_modules(kt.__path__)}
    for name in kt.__all__:
        value = getattr(kt, name)
        assert getattr(kt, name) is value and name in dir(kt)
        assert isinstance(value, types.ModuleType) == (name in modules), name
    with pytest.raises(AttributeError, match="has no attribute 'fine_tuning'; it has"):
        kt.fine_tuning


def test_with_keras_loaded_importing_registers_every_class_a_model_may_hold():
    code = """if 1:
        import json, keras, keras_transfer
        print(json.dumps([n for n in keras.saving.get_custom_objects() if n.startswith("keras_transfer>")]))"""
    registered = json.loads(run_python(code).stdout.splitlines()[-1])
    for name in (
        "Network",
        "Masked",
        "MaskedMetric",
        "Classifier",
        "MultiLabel",
        "Regressor",
        "Ordinal",
        "Standardized",
        "CumulativeCrossentropy",
        "LayerwiseAdam",
        "LayerwiseSGD",
        "LayerwiseAdamW",
    ):
        assert f"keras_transfer>{name}" in registered
