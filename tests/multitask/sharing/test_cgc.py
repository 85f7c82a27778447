import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.sharing.cgc import CGC, Extraction
from multitask.sharing.laws import FEATURES, TASKS, check_layer


def set_experts(level, *, own, shared):
    """Experts x w + b of one unit."""
    for layer, (w, b) in zip([*level.own, level.shared], [*own, shared]):
        layer.kernel.assign([[[w]]])
        layer.bias.assign([[[b]]])


def test_by_hand():
    layer = CGC(task_experts=1, shared_experts=1, units=1, tasks=["a", "b"])
    layer(np.zeros((1, 1)))
    set_experts(layer.level, own=[(1.0, 0.0), (4.0, 0.0)], shared=(3.0, -1.0))
    layer.level.gates[0].kernel.assign([[0.0, np.log(3) / 2]])
    layer.level.gates[1].kernel.assign([[0.0, 0.0]])
    said = layer(np.array([[2.0]]))
    # experts: 2 of a, 8 of b, 5 of both; gates: (1/4, 3/4) and (1/2, 1/2)
    assert np.allclose(said["a"], 0.25 * 2 + 0.75 * 5) and np.allclose(said["b"], 6.5)


def test_a_task_never_moves_the_experts_of_another():
    layer = CGC(tasks=TASKS, units=4)
    layer(FEATURES)
    with tf.GradientTape() as tape:
        said = tf.reduce_sum(layer(FEATURES)["colour"] ** 2)
    level = layer.level
    watched = [level.own[0], level.shared, level.gates[0], level.own[1], level.gates[1]]
    *mine, other, other_gate = tape.gradient(said, [layer.kernel.value for layer in watched])
    assert all(np.abs(g).max() > 0 for g in mine) and other is None and other_gate is None


def test_without_shared_experts_tasks_are_independent():
    layer = CGC(task_experts=2, shared_experts=0, units=3, tasks=TASKS)
    layer(FEATURES)
    assert not any("shared" in w.path for w in layer.weights) and len(layer.weights) == 6
    check_layer(layer)


def test_a_gate_reads_its_own_experts_and_the_shared_ones():
    layer = CGC(task_experts=3, shared_experts=2, units=4, tasks=["a", "b", "c"])
    layer(FEATURES)
    assert [g.kernel.shape for g in layer.level.gates] == [(5, 5)] * 3 and layer.level.shared_gate is None
    assert all(np.allclose(np.sum(g(FEATURES), -1), 1) for g in layer.level.gates)


def test_gradients_config_and_xla():
    check_layer(CGC(task_experts=2, shared_experts=1, units=4, tasks=TASKS))


def test_a_level_that_is_not_the_last_has_a_shared_output():
    level = Extraction(2, task_experts=1, shared_experts=1, units=1, last=False)
    x = np.array([[2.0]])
    assert len(level([x, x, x])) == 3
    set_experts(level, own=[(1.0, 0.0), (4.0, 0.0)], shared=(3.0, -1.0))
    level.shared_gate.kernel.assign([[0.0, 0.0, 0.0]])
    assert np.allclose(level([x, x, x])[2], (2 + 8 + 5) / 3)
    level.shared_gate.kernel.assign([[0.0, 50.0, 0.0]])  # the expert of task b
    assert np.allclose(level([x, x, x])[2], 8)


def test_bad_numbers():
    for name, least in [("task_experts", 1), ("shared_experts", 0), ("units", 1)]:
        with pytest.raises(ValueError, match=f"`{name}` must be a whole number of at least {least}. Received: -1"):
            CGC(**{name: -1})
