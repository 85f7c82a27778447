"""`TF_CONFIG`: right ones are read, wrong ones refused at once, as TensorFlow would wait without end."""

import json

import pytest

import keras_transfer as kt
from keras_transfer import clusters

TWO = {"worker": ["a:2222", "b:2222"]}


def config(monkeypatch, cluster=None, task=None, text=None):
    given = {"cluster": cluster, "task": {"type": "worker", "index": 0} if task is None else task}
    monkeypatch.setenv("TF_CONFIG", json.dumps(given) if text is None else text)


@pytest.mark.parametrize(
    "given, error",
    [
        ({"text": "{worker"}, "`TF_CONFIG` is no JSON .*Received: '{worker'"),
        ({"text": '["a:1"]'}, '`TF_CONFIG` must have a "cluster"'),
        ({"text": '{"task": {"type": "worker", "index": 0}}'}, '`TF_CONFIG` must have a "cluster"'),
        ({"cluster": {}}, '`TF_CONFIG` must have a "cluster"'),
        ({"cluster": {"worker": "a:2222"}}, "must be a list of addresses"),
        ({"cluster": {"worker": []}}, "must be a list of addresses"),
        ({"cluster": {**TWO, "ps": ["c:1"]}}, "type 'ps', but all workers train alike"),
        ({"cluster": {**TWO, "evaluator": ["c:1"]}}, "type 'evaluator', but all workers"),
        ({"cluster": TWO, "task": {"type": "evaluator", "index": 0}}, "The task of .*'evaluator'"),
        ({"cluster": {"chief": ["c:1", "d:1"]}, "task": {"type": "chief", "index": 0}}, 'one "chief" at most'),
        ({"cluster": {"worker": ["a:2222", "a:2222"]}}, "has the address 'a:2222' twice"),
        ({"cluster": {"worker": ["a:2222"], "chief": ["a:2222"]}}, "has the address 'a:2222' twice"),
        ({"cluster": {"worker": ["a:2222", "b"]}}, "has the address 'b'. Write each as \"host:port\""),
        ({"cluster": {"worker": ["a:2222", "b:70000"]}}, "has the address 'b:70000'"),
        ({"cluster": {"worker": ["a:2222", "http://b:80"]}}, "has the address 'http://b:80'"),
        ({"cluster": {"worker": ["a:2222", 7]}}, "has the address 7"),
        ({"cluster": TWO, "task": {}}, "doesn't say which worker this is"),
        ({"cluster": TWO, "task": []}, "doesn't say which worker this is"),
        ({"cluster": TWO, "task": {"type": "chief", "index": 0}}, "is a 'chief', of which its cluster has none"),
        ({"cluster": TWO, "task": {"type": "worker", "index": 2}}, "index 2, but the cluster has 2 .* from 0 to 1"),
        ({"cluster": TWO, "task": {"type": "worker", "index": -1}}, "the index -1"),
        ({"cluster": TWO, "task": {"type": "worker", "index": "1"}}, "the index '1'"),
        ({"cluster": TWO, "task": {"type": "worker"}}, "the index None"),
    ],
)
def test_a_wrong_tf_config_is_refused_at_once(monkeypatch, given, error):
    config(monkeypatch, **given)
    for kind in ("auto", "multi_worker"):
        with pytest.raises(ValueError, match=error) as raised:
            kt.strategy(kind)
        assert "\n" not in str(raised.value)


def test_right_ones_are_read(monkeypatch):
    config(monkeypatch, TWO, {"type": "worker", "index": 1})
    assert clusters.cluster() == TWO
    chief = {"chief": ["10.0.0.1:2222"], "worker": ["[::1]:2222"]}
    config(monkeypatch, chief, {"type": "chief", "index": 0})
    assert clusters.cluster() == chief
