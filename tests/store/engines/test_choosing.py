"""Which engine runs a network."""

import importlib.util
import re
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.store.engines.choosing import ENGINES, candidates
from keras_transfer.store.engines.openvino import OpenVINOEngine
from keras_transfer.store.engines.tensorflow import TensorFlowEngine
from keras_transfer.store.engines.unsuitable import Unsuitable
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


@pytest.mark.parametrize("content, said", [
    ("raise ImportError('libopenvino.so is not there')",
     r'openvino is needed here and can\'t be imported \(libopenvino.so is not there\).*install "keras-transfer\[openvino\]"'),
    ("raise AttributeError('half of it is there')", r"OpenVINO is installed, but doesn't start \(half of it is there\)"),
    ("", "OpenVINO is installed, but doesn't start .*Core"),
    ("def Core(): raise RuntimeError('no plugins.xml')", r"OpenVINO is installed, but doesn't start \(no plugins.xml\)"),
    ("class Core:\n def get_property(self, *_): raise RuntimeError('no CPU')", r"OpenVINO is installed, .*\(no CPU\)"),
])
def test_a_broken_installation_is_passed_over_by_auto(monkeypatch, tmp_path, small_backbone, capsys, content, said):
    (tmp_path / "openvino.py").write_text(content)
    monkeypatch.setitem(sys.modules, "openvino", None)
    del sys.modules["openvino"]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    x, y = pixels(4), np.zeros(4, "int32")
    model = kt.attach(small_backbone(), kt.heads.Classifier(2))
    kt.freeze(model)
    features, _ = kt.cache_features(model, (x, y), verbose=1)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "OpenVINO" in line or "openvino" in line]
    assert re.match(f"{said}.* TensorFlow runs it.$", line) and len(list(features)) == 1
    assert kt.features(model, (x, y))[0].shape == (4, 12)
    with pytest.raises(ImportError if "ImportError" in content else Unsuitable, match=said):
        kt.features(model, (x, y), store=kt.Store(engine="openvino"))
