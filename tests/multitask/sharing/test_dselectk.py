import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask.sharing.dselectk import DSelectGate, DSelectK, smooth_step
from multitask.sharing.laws import FEATURES, TASKS, check_layer, dense_backbone, heads, missing, numbers, trained


def static_gate(z, a, entropy=1.0, experts=4):
    gate = DSelectGate(experts, k=len(a), gamma=1.0, entropy=entropy, static=True)
    gate.build((None, 5))
    gate.z_bias.assign(np.ravel(z))
    gate.a_bias.assign(a)
    return gate


def test_smooth_step_by_hand():
    # gamma = 1: -2/64 + 3/2 * 1/4 + 1/2; gamma = 2: -2/8 * 1/8 + 3/4 * 1/2 + 1/2
    assert np.allclose(smooth_step(np.array([-0.5, -9.0, 0.0, 0.25, 0.5, 9.0]), 1.0), [0, 0, 0.5, 0.84375, 1, 1])
    assert np.isclose(smooth_step(np.array(0.5), 2.0), 0.84375)
    assert np.array_equal(smooth_step(np.array([-0.15, 0.15], "float32"), 0.3), [0, 1])  # not nearly


def test_smooth_step_is_odd_about_a_half_and_smooth_at_its_ends():
    t = np.linspace(-0.7, 0.7, 41)
    assert np.allclose(smooth_step(t, 1.0) + smooth_step(-t, 1.0), 1)
    near = np.array([0.5 - 1e-4, -0.5 + 1e-4])
    assert np.allclose((smooth_step(near + 1e-5, 1.0) - smooth_step(near, 1.0)) / 1e-5, 0, atol=1e-3)


def test_a_static_gate_by_hand():
    """Selector 1 has the code 01, so expert 1; selector 2 has bits (1/2, 1), so half of experts 2 and 3."""
    gate = static_gate([[1.0, -1.0], [0.0, 1.0]], [0.0, np.log(3)])
    assert np.allclose(gate(FEATURES), [[0, 0.25, 0.375, 0.375]])
    assert np.isclose(gate.losses[0], np.log(2), atol=1e-4)  # 0 and log 2


def test_selectors_are_products_of_bits():
    gate = DSelectGate(4, k=1, gamma=1.0, entropy=0.0, static=True)
    r = gate.selectors(np.array([[[0.5, 0.25]]], "float32"))
    assert np.allclose(r, [[[0.5 * 0.75, 0.5 * 0.75, 0.5 * 0.25, 0.5 * 0.25]]])
    for j in range(4):  # a code of zeros and ones is the number of one expert
        r = gate.selectors(np.array([[[j & 1, j >> 1]]], "float32"))
        assert np.array_equal(r[0, 0], np.eye(4)[j])


@pytest.mark.parametrize("static", [True, False])
def test_gates_sum_to_one_and_choose_at_most_k(static):
    gate = DSelectGate(8, k=2, gamma=1.0, entropy=0.1, static=static)
    soft = gate(FEATURES)
    assert soft.shape == ((1 if static else 6), 8)
    assert np.allclose(np.sum(soft, -1), 1, atol=1e-6) and np.min(soft) > 0.05
    for weight in gate.trainable_weights:
        weight.assign(weight * (1e7 if "z_" in weight.path else 1))
    chosen = np.sum(np.asarray(gate(FEATURES)) > 0, -1)
    assert np.all(chosen <= 2) and np.max(chosen) == 2


def test_each_example_chooses_for_itself():
    gate = DSelectGate(4, k=1, gamma=1.0, entropy=0.0, static=False)
    gate.build((None, 2))
    gate.z_bias.assign([-1.0, -1.0])
    gate.z_kernel.assign([[2.0, 0.0], [0.0, 2.0]])
    assert np.array_equal(gate(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])), np.eye(4)[[1, 2, 3]])


@pytest.mark.parametrize("static", [True, False])
def test_the_entropy_term_moves_the_gates_of_all_tasks_in_fit(static):
    """Without a single label nothing but the term trains, and it must reach every task, not the last one alone."""
    x, labels = numbers()
    model = kt.attach(dense_backbone(), heads(), sharing=DSelectK(units=3, entropy=0.5, static=static))
    kt.freeze(model)
    moved = trained(model, x, missing(labels))
    assert {"sharing/gate_colour/z_bias", "sharing/gate_light/z_bias"} <= moved
    assert not any("experts" in path for path in moved)
    control = kt.attach(dense_backbone(), heads(), sharing=DSelectK(units=3, entropy=0.0, static=static))
    kt.freeze(control)
    assert trained(control, x, missing(labels)) == set()


def test_the_entropy_term_is_in_the_loss_that_is_logged():
    x, labels = numbers()
    model = kt.attach(dense_backbone(), heads(), sharing=DSelectK(units=3, k=2, entropy=0.5))
    model.compile(optimizer="sgd", **kt.objectives(model))
    # near the start all bits are near a half: 2 tasks x 2 selectors x log 4
    logged = model.evaluate(x, missing(labels), verbose=0, return_dict=True)["loss"]
    assert logged == pytest.approx(0.5 * 4 * np.log(4), rel=0.01)


def test_entropy_alone_drives_every_selector_to_one_expert():
    gate = static_gate([[0.1, -0.1], [-0.1, -0.2]], [0.0, 0.0])
    for _ in range(100):
        with tf.GradientTape() as tape:
            gate(FEATURES)
            loss = gate.losses[0]
        gate.z_bias.assign_sub(0.05 * tape.gradient(loss, gate.z_bias.value))
    assert loss < 1e-3 and np.allclose(gate(FEATURES), [[0.5, 0.5, 0, 0]], atol=1e-3)


def test_a_code_without_an_expert_is_left():
    """Of 3 experts the code 11 has none: the second term drives a selector away from it, and is 0 elsewhere."""
    gate = static_gate([[0.3, 0.3]], [0.0], entropy=0.0, experts=3)
    start = float(np.sum(gate(FEATURES)))
    bit = -2 * 0.3**3 + 1.5 * 0.3 + 0.5
    assert np.isclose(start, 1 - bit**2, atol=1e-5) and np.isclose(gate.losses[0], 1 / (1 - bit**2) - 1, rtol=1e-3)
    for _ in range(60):
        with tf.GradientTape() as tape:
            said = gate(FEATURES)
            loss = gate.losses[0]
        gate.z_bias.assign_sub(0.02 * tape.gradient(loss, gate.z_bias.value))
    assert np.sum(said) > 0.9
    reachable = static_gate([[-1.0, 1.0]], [0.0], entropy=0.0, experts=3)
    assert np.array_equal(reachable(FEATURES), [[0, 0, 1]]) and float(reachable.losses[0]) == 0


@pytest.mark.parametrize("options", [{}, {"static": True}, {"experts": 3}])
def test_gradients_config_and_xla(options):
    check_layer(DSelectK(**{"experts": 4, "units": 4, "tasks": TASKS, **options}))


def test_with_all_gates_at_one_expert_it_is_hard_sharing():
    layer = DSelectK(experts=2, units=4, k=1, static=True, tasks=TASKS)
    layer(FEATURES)
    for gate in layer.gates:
        gate.z_bias.assign([1.0])
    said = layer(FEATURES)
    assert np.allclose(said["colour"], layer.f(FEATURES[None])[1]) and np.array_equal(said["colour"], said["light"])


@pytest.mark.parametrize(
    "options, error",
    [
        ({"experts": 1}, "`experts` must be a whole number of at least 2. Received: 1"),
        ({"k": 5}, "`k` must be at most the number of experts, 4. Received: 5"),
        ({"gamma": 0}, "`gamma` must be a number over 0. Received: 0"),
        ({"entropy": -1}, "`entropy` must be a number at least 0. Received: -1"),
    ],
)
def test_bad_numbers(options, error):
    with pytest.raises(ValueError, match=error):
        DSelectK(**options)
