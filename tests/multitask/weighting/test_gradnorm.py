import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.weighting.gradnorm import GradNorm
from multitask.weighting import laws


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(GradNorm)


def test_weights_by_hand():
    weighting = laws.built(lambda: GradNorm(alpha=1.0, lr=0.1), 2)
    gramian = [[4.0, 0.0], [0.0, 16.0]]  # norms 2 and 4
    assert laws.weights_of(weighting, [1.0, 5.0], gramian).tolist() == [1, 1]
    # L / L(0) = 1: both are to have the norm 3, so w goes to 1 + 0.1 * 2 and 1 - 0.1 * 4, scaled by 2 / 1.8
    assert np.allclose(laws.weights_of(weighting, [0.5, 5.0], gramian), [4 / 3, 2 / 3])
    # L / L(0) = 1/2, 1, so r = 2/3, 4/3; both G = 8/3 are to be 16/9 and 32/9:
    # w = 4/3 - 0.2, 2/3 + 0.4, scaled by 2 / 2.2
    assert np.allclose(weighting.w, np.array([4 / 3 - 0.2, 2 / 3 + 0.4]) / 1.1)


def test_moves_along_the_gradient_of_the_paper_s_loss():
    random = np.random.default_rng(0)
    weighting, alpha, lr = laws.built(lambda: GradNorm(alpha=0.7, lr=0.01)), 0.7, 0.01
    w, start = tf.Variable(tf.ones(3)), None
    for _ in range(5):
        losses = random.uniform(0.5, 2, 3).astype("float32")
        gradients = random.normal(size=(3, 6)).astype("float32")
        start = losses if start is None else start
        assert np.allclose(laws.weights_of(weighting, losses, gradients @ gradients.T), w, rtol=1e-4)
        with tf.GradientTape() as tape:
            sizes = tf.norm(w[:, None] * gradients, axis=1)
            rates = losses / start / np.mean(losses / start)
            away = tf.reduce_sum(tf.abs(sizes - tf.stop_gradient(tf.reduce_mean(sizes) * rates**alpha)))
        moved = w - lr * tape.gradient(away, w)
        w.assign(3 * moved / tf.reduce_sum(moved))
    assert np.ptp(w) > 0.01


def test_weights_act_before_the_first_epoch_is_over():
    weighting = laws.built(GradNorm, 2)
    gramian = [[1.0, 0.0], [0.0, 9.0]]
    laws.weights_of(weighting, [1.0, 1.0], gramian)
    assert not np.allclose(laws.weights_of(weighting, [1.0, 1.0], gramian), 1)


def with_losses(batch, factors):
    """The batch with losses times `factors`, and its gradients as they were."""
    return laws.Batch(batch.losses * np.asarray(factors, "float32"), batch.gradients, batch.after)


def test_losses_in_other_units_give_the_same_weights():
    """They come in as L / L(0) only."""
    _, plain = laws.run(laws.built(lambda: GradNorm(lr=0.01)), laws.batches(15))
    other = [with_losses(batch, [0.01, 1.0, 100.0]) for batch in laws.batches(15)]
    _, scaled = laws.run(laws.built(lambda: GradNorm(lr=0.01)), other)
    assert np.allclose(plain, scaled, rtol=1e-4) and np.ptp(plain[-1]) > 0.05
    later = [with_losses(b, [1, 1, 1 + i]) for i, b in enumerate(laws.batches(15))]  # the control: a unit that changes
    assert not np.allclose(plain, laws.run(laws.built(lambda: GradNorm(lr=0.01)), later)[1], rtol=1e-2)


@pytest.mark.parametrize("c", [0.25, 8.0])
def test_gradients_times_c_are_a_rate_times_c(c):
    """d|G - target| / dw = +-|g|: all of it grows with c, so that the weights are those of lr / c."""
    rows, plain = laws.run(laws.built(lambda: GradNorm(lr=0.01)), laws.batches(5))
    larger = [batch.scaled(c) for batch in laws.batches(5)]
    scaled, same = laws.run(laws.built(lambda: GradNorm(lr=0.01 / c)), larger)
    assert np.allclose(same, plain, rtol=1e-4) and np.allclose(scaled, c * rows, rtol=1e-3, atol=1e-4)
    _, other = laws.run(laws.built(lambda: GradNorm(lr=0.01)), larger)
    assert not np.allclose(other, plain, rtol=1e-2), "the control: at one rate they aren't"


def test_the_first_loss_of_each_task_is_kept():
    weighting = laws.built(GradNorm, 2)
    for losses, seen in ([3.0, 0.0], [True, False]), ([2.0, 7.0], [True, True]), ([1.0, 1.0], [True, True]):
        laws.weights_of(weighting, losses, np.eye(2), seen)
    assert weighting.first.numpy().tolist() == [3.0, 7.0]


def test_brings_gradients_to_one_size():
    weighting = laws.built(lambda: GradNorm(alpha=0.0, lr=0.005))
    norms = np.array([0.5, 1.0, 2.0])
    for _ in range(500):
        weights = laws.weights_of(weighting, [1, 1, 1], np.diag(norms**2))
    sizes = weights * norms
    assert np.ptp(sizes) < 0.06 * sizes.mean() and np.ptp(norms) > norms.mean()
    assert np.isclose(weights.sum(), 3)


def test_a_task_that_lags_behind_gets_more():
    weights = {}
    for alpha in (0.0, 1.5):
        weighting = laws.built(lambda: GradNorm(alpha=alpha, lr=0.01), 2)
        for step in range(100):
            weights[alpha] = laws.weights_of(weighting, [0.98**step, 1.0], np.eye(2))
    assert weights[1.5][1] > 1.1 > weights[1.5][0] and np.allclose(weights[0.0], 1, atol=0.05)


def test_weights_keep_their_sum_with_absent_tasks_and_stay_above_zero():
    weighting = laws.built(lambda: GradNorm(lr=1.0))
    for batch, seen in zip(laws.batches(6), [[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 0]]):
        laws.step(weighting, batch.without(np.flatnonzero(np.array(seen) == 0)))
        assert np.isclose(np.sum(weighting.w), 3, rtol=1e-4) and np.min(weighting.w) > 0
