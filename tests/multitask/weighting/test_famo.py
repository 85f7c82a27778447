import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.weighting.famo import FAMO
from multitask.weighting import laws

BOTH = tf.constant([True, True])


@pytest.mark.parametrize("law", [*laws.ALL, laws.scaling, laws.task_scaling])
def test_laws(law):
    assert law(FAMO)


def one_step(weighting, losses, after, present=None):
    laws.weights_of(weighting, losses, present=present)
    seen = tf.ones(len(losses), tf.bool) if present is None else tf.constant(present)
    weighting.after_update(tf.constant(after, tf.float32), seen)


def test_first_weights_by_hand():
    # z = 1/2 each: (1/2) / L = 1/2, 1/8, of the sum 5/8
    assert np.allclose(laws.weights_of(laws.built(FAMO, 2), [1.0, 4.0]), [0.8, 0.2])


def test_at_first_every_task_has_the_same_share_of_the_sum():
    losses = np.array([1.0, 4.0, 0.5])
    weights = laws.weights_of(laws.built(FAMO), losses)
    assert np.isclose(weights.sum(), 1)
    assert np.allclose(weights * losses, (weights * losses)[0])


def test_the_task_that_falls_faster_gets_less():
    weighting = laws.built(FAMO, 2)
    one_step(weighting, [1.0, 1.0], [0.5, 0.9])
    first, second = laws.weights_of(weighting, [1.0, 1.0])
    assert first < 0.5 < second
    assert np.allclose(weighting.xi, [-0.025, 0.025], rtol=1e-4)  # the first step of Adam is as long as its rate


def test_equal_rates_change_nothing():
    weighting = laws.built(FAMO, 2)
    one_step(weighting, [1.0, 4.0], [0.5, 2.0])
    assert np.allclose(weighting.first, 0, atol=1e-7)


def test_the_logits_move_as_keras_moves_them_along_the_jacobian():
    random = np.random.default_rng(0)
    weighting, gamma = laws.built(lambda: FAMO(lr=0.1, gamma=0.3)), 0.3
    xi = tf.Variable(tf.zeros(3))
    adam = keras.optimizers.Adam(0.1, epsilon=1e-8)
    for _ in range(6):
        losses = random.uniform(0.5, 3, 3)
        after = losses * random.uniform(0.5, 1.2, 3)
        one_step(weighting, losses, after)
        with tf.GradientTape() as tape:  # d xi = J' delta is the gradient of delta' softmax(xi)
            fall = tf.reduce_sum(tf.constant(np.log(losses / after), tf.float32) * tf.nn.softmax(xi))
        adam.apply([tape.gradient(fall, xi) + gamma * xi], [xi])
    assert np.allclose(weighting.xi, xi, rtol=1e-3, atol=1e-5) and np.max(np.abs(xi)) > 0.05


def test_without_the_second_look_weights_stay_proportional_to_inverse_losses():
    weighting = laws.built(FAMO, 2)
    for losses in ([1.0, 4.0], [2.0, 2.0], [3.0, 1.0]):
        weights = laws.weights_of(weighting, losses)
        assert np.isclose(weights[0] * losses[0], weights[1] * losses[1])


def test_gamma_draws_the_logits_back():
    drawn, free = laws.built(lambda: FAMO(gamma=1.0), 2), laws.built(lambda: FAMO(gamma=0.0), 2)
    for weighting in (drawn, free):
        for _ in range(40):
            one_step(weighting, [1.0, 1.0], [0.9, 1.0])
    assert np.abs(drawn.xi).max() < 0.5 * np.abs(free.xi).max()


def test_losses_at_or_below_zero_count_as_zero():
    weights = laws.weights_of(laws.built(FAMO, 2), [-3.0, 1.0])
    assert np.array_equal(weights, laws.weights_of(laws.built(FAMO, 2), [0.0, 1.0]))
    assert np.isclose(weights[0], 1) and np.isclose(weights[1], 1e-8, rtol=1e-3)


def test_errors():
    for name in ("lr", "gamma"):
        with pytest.raises(ValueError, match=f"`{name}` must be a number of at least 0. Received: -1"):
            FAMO(**{name: -1})
