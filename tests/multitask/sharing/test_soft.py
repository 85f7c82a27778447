import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask.sharing.soft import L2Sharing, SoftSharing, TraceNormSharing
from multitask.sharing.laws import FEATURES, TASKS, check_layer, dense_backbone, heads, missing, numbers, trained

STACK = np.random.default_rng(2).normal(size=(3, 4, 5)).astype("float32")


def with_gradient(layer, weights):
    weights = tf.constant(weights, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        penalty = layer.penalty(weights)
    return float(penalty), tape.gradient(penalty, weights).numpy()


def test_l2_by_hand():
    layer = L2Sharing(1.0)
    assert float(layer.penalty(tf.constant([[[1.0, 2.0]], [[0.0, 4.0]]]))) == 1 + 4
    # three tasks: |0-1|^2 + |0-3|^2 + |1-3|^2
    assert float(layer.penalty(tf.constant([[[0.0]], [[1.0]], [[3.0]]]))) == 1 + 9 + 4


def test_l2_is_the_spread_about_the_mean_and_does_not_see_a_common_shift():
    value, gradient = with_gradient(L2Sharing(1.0), STACK)
    mean = STACK.mean(0)
    assert np.isclose(value, 3 * np.sum((STACK - mean) ** 2), rtol=1e-5)
    assert np.allclose(gradient, 6 * (STACK - mean), atol=1e-4)
    assert np.isclose(with_gradient(L2Sharing(1.0), STACK + 5)[0], value, rtol=1e-4)


def test_trace_norm_by_hand():
    layer = TraceNormSharing(1.0)
    # columns (3, 0) and (0, 4): singular values 3 and 4; equal ones (3, 4): a single one, 5 sqrt(2)
    assert np.isclose(layer.penalty(tf.constant([[[3.0, 0.0]], [[0.0, 4.0]]])), 7)
    assert np.isclose(layer.penalty(tf.constant([[[3.0, 4.0]], [[3.0, 4.0]]])), 5 * 2**0.5)


def test_trace_norm_and_its_gradient_by_singular_values():
    value, gradient = with_gradient(TraceNormSharing(1.0), STACK)
    u, s, v = np.linalg.svd(STACK.reshape(3, -1), full_matrices=False)
    assert np.isclose(value, s.sum(), rtol=1e-5) and np.allclose(gradient, (u @ v).reshape(STACK.shape), atol=1e-4)


@pytest.mark.parametrize("weights", [np.repeat(STACK[:1], 3, 0), STACK * [[[1.0]], [[0.0]], [[0.0]]], 0 * STACK])
def test_trace_norm_of_too_few_directions_has_a_finite_gradient(weights):
    value, gradient = with_gradient(TraceNormSharing(1.0), weights)
    assert np.isclose(value, np.linalg.svd(weights.reshape(3, -1), compute_uv=False).sum(), atol=1e-3)
    assert np.isfinite(gradient).all() and np.linalg.norm(gradient.reshape(3, -1), 2) <= 1 + 1e-4


def test_trace_norm_does_not_mind_size_and_sign_where_l2_does():
    """Multiples of one matrix are one direction: |W|_* is the length of the whole stack, the least there is."""
    multiples = STACK[:1] * np.array([1.0, -2.0, 0.5], "float32")[:, None, None]
    trace, squares = TraceNormSharing(1.0), L2Sharing(1.0)
    assert np.isclose(trace.penalty(multiples), np.linalg.norm(multiples), rtol=1e-4)
    assert float(trace.penalty(STACK)) > 1.3 * np.linalg.norm(STACK)
    assert float(squares.penalty(multiples)) > 0 and float(squares.penalty(np.repeat(STACK[:1], 3, 0))) == 0


def test_a_tower_is_a_network_of_its_own():
    layer = L2Sharing(0.0, [4, 3], tasks=TASKS)
    said = layer(FEATURES)
    for k, task in enumerate(TASKS):
        x = FEATURES
        for hidden in layer.towers:
            x = np.maximum(x @ hidden.kernel.numpy()[k] + hidden.bias.numpy()[k], 0)
        assert np.allclose(said[task], x, atol=1e-5)


@pytest.mark.parametrize("kind", [L2Sharing, TraceNormSharing])
def test_the_penalty_is_what_trains_without_labels(kind):
    x, labels = numbers()
    model = kt.attach(dense_backbone(), heads(), sharing=kind(0.5, [4, 3]))
    kt.freeze(model)
    layer = model.get_layer("sharing")
    before = sum(float(layer.penalty(hidden.kernel.value)) for hidden in layer.towers)
    assert trained(model, x, missing(labels), epochs=3) == {"sharing/hidden_0/kernel", "sharing/hidden_1/kernel"}
    after = sum(float(layer.penalty(hidden.kernel.value)) for hidden in layer.towers)
    assert after < 0.95 * before
    logs = model.evaluate(x, missing(labels), verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(0.5 * after, rel=1e-4)
    control = kt.attach(dense_backbone(), heads(), sharing=kind(0.0, [4, 3]))
    kt.freeze(control)
    assert trained(control, x, missing(labels)) == set()


def test_a_label_of_one_task_moves_the_tower_of_another_only_through_the_penalty():
    x, labels = numbers()
    labels = {**missing(labels), "colour": labels["colour"]}
    for strength, moves in [(0.1, True), (0.0, False)]:
        model = kt.attach(dense_backbone(), heads(), sharing=L2Sharing(strength, 4))
        kt.freeze(model)
        kernel = model.get_layer("sharing").towers[0].kernel
        kernel.assign(np.repeat(kernel.numpy()[:1], 2, 0))
        before = kernel.numpy()
        trained(model, x, labels, epochs=2)  # in the first step the towers are still equal
        assert (not np.array_equal(kernel.numpy()[1], before[1])) == moves
        assert not np.array_equal(kernel.numpy()[0], before[0])


@pytest.mark.parametrize("kind", [L2Sharing, TraceNormSharing])
def test_gradients_config_and_xla(kind):
    check_layer(kind(0.1, [4, 3], tasks=TASKS))


def test_the_penalty_is_exact_under_half_precision():
    layer = TraceNormSharing(1.0, 4, tasks=TASKS, dtype="mixed_bfloat16")
    layer(keras.ops.cast(FEATURES, "bfloat16"))
    exact = np.linalg.svd(layer.towers[0].kernel.numpy().reshape(2, -1), compute_uv=False).sum()
    assert np.isclose(layer.losses[0], exact, rtol=1e-5)


def test_bad_numbers_and_a_penalty_of_ones_own():
    with pytest.raises(ValueError, match="`strength` must be a number at least 0. Received: -1"):
        L2Sharing(-1)
    with pytest.raises(ValueError, match="`hidden` must name the width of at least one layer"):
        TraceNormSharing(1.0, [])
    with pytest.raises(NotImplementedError, match="SoftSharing defines no `penalty`"):
        SoftSharing(1.0, 4, tasks=TASKS)(FEATURES)
