"""Which engine runs a network."""

import importlib.util
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.store.engines.choosing import ENGINES, candidates
from keras_transfer.store.engines.openvino import OpenVINOEngine
from keras_transfer.store.engines.tensorflow import TensorFlowEngine
from support import pixels


def test_names_stand_for_engines():
    assert ENGINES == {"tensorflow": TensorFlowEngine, "openvino": OpenVINOEngine}
    assert candidates("tensorflow") == [TensorFlowEngine] and candidates("openvino") == [OpenVINOEngine]


@pytest.mark.parametrize("installed, gpus, expected", [
    (True, [], [OpenVINOEngine, TensorFlowEngine]),
    (True, ["GPU:0"], [TensorFlowEngine]),
    (False, [], [TensorFlowEngine]),
])
def test_auto_is_openvino_on_processors_where_it_is_installed(monkeypatch, installed, gpus, expected):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: types.SimpleNamespace(origin="a file") if installed else None)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus if kind == "GPU" else ["CPU:0"])
    assert candidates("auto") == expected


def test_a_folder_named_openvino_is_not_the_package(monkeypatch, tmp_path):
    (tmp_path / "openvino").mkdir()
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert importlib.util.find_spec("openvino").origin is None
    assert candidates("auto") == [TensorFlowEngine]


def test_openvino_that_is_not_installed_is_named_with_its_extra(monkeypatch, small_backbone):
    monkeypatch.setitem(sys.modules, "openvino", None)
    model = kt.attach(small_backbone(), kt.heads.Classifier(2))
    kt.freeze(model)
    with pytest.raises(ImportError, match=r'pip install "keras-transfer\[openvino\]"'):
        kt.cache_features(model, (pixels(4), np.zeros(4, "int32")), store=kt.Store(engine="openvino"))
