import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.sharing.cgc import CGC
from keras_transfer.multitask.sharing.ple import PLE
from multitask.sharing.laws import FEATURES, TASKS, check_layer


def test_two_levels_by_hand():
    layer = PLE(levels=2, task_experts=1, shared_experts=1, units=1, tasks=["a", "b"])
    layer(np.zeros((1, 1)))
    experts = [[(1.0, 0.0), (4.0, 0.0), (3.0, -1.0)], [(2.0, 0.0), (1.0, 1.0), (3.0, -5.0)]]
    for level, rows in zip(layer.stack, experts):
        for expert, (w, b) in zip([*level.own, level.shared], rows):
            expert.kernel.assign([[[w]]])
            expert.bias.assign([[[b]]])
        for gate in level.gates:
            gate.kernel.assign([[0.0, 0.0]])
    layer.stack[0].gates[0].kernel.assign([[0.0, np.log(3) / 2]])
    layer.stack[0].shared_gate.kernel.assign([[0.0, 0.0, 0.0]])
    said = layer(np.array([[2.0]]))
    # level 1: experts 2, 8, 5; a = 2/4 + 3*5/4 = 4.25, b = 6.5, shared = (2 + 8 + 5) / 3 = 5
    # level 2: experts 2 * 4.25 = 8.5, 6.5 + 1 = 7.5, 3 * 5 - 5 = 10; a = 9.25, b = 8.75
    assert np.allclose(said["a"], 9.25) and np.allclose(said["b"], 8.75)


def test_one_level_is_cgc():
    ple, cgc = PLE(levels=1, units=4, tasks=TASKS), CGC(units=4, tasks=TASKS)
    ple(FEATURES), cgc(FEATURES)
    cgc.set_weights(ple.get_weights())
    assert all(np.array_equal(ple(FEATURES)[k], cgc(FEATURES)[k]) for k in TASKS)


def test_every_level_but_the_last_has_a_shared_gate_over_all_experts():
    layer = PLE(levels=3, task_experts=2, shared_experts=3, units=4, tasks=TASKS)
    layer(FEATURES)
    gates = [level.shared_gate for level in layer.stack]
    assert gates[2] is None and [g.kernel.shape for g in gates[:2]] == [(5, 7), (4, 7)]
    assert np.allclose(np.sum(gates[0](FEATURES), -1), 1)


def test_the_shared_gate_matters_and_carries_one_task_to_the_other():
    layer = PLE(levels=2, units=4, tasks=TASKS)
    before = layer(FEATURES)["light"]
    gate = layer.stack[0].shared_gate
    gate.kernel.assign(gate.kernel.numpy() + np.linspace(-2, 2, gate.kernel.shape[1]))
    assert not np.allclose(layer(FEATURES)["light"], before)
    with tf.GradientTape() as tape:
        said = tf.reduce_sum(layer(FEATURES)["light"] ** 2)
    first, last = tape.gradient(said, [layer.stack[j].own[0].kernel.value for j in (0, 1)])
    assert np.abs(first).max() > 0 and last is None  # through the shared gate of the first level, in the last not


def test_gradients_config_and_xla():
    check_layer(PLE(levels=2, task_experts=1, shared_experts=2, units=4, tasks=TASKS))


def test_bad_numbers():
    for name in ("levels", "task_experts", "shared_experts", "units"):
        with pytest.raises(ValueError, match=f"`{name}` must be a whole number of at least 1. Received: 0"):
            PLE(**{name: 0})
