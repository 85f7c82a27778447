import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from keras_transfer.multitask.weighting.uncertainty import Uncertainty
from multitask.weighting import laws


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(Uncertainty)


def weighting_at(s):
    weighting = laws.built(Uncertainty, len(s))
    weighting.s.assign(s)
    return weighting


def test_begins_as_the_plain_sum():
    assert laws.weights_of(laws.built(Uncertainty), [1, 2, 3]).tolist() == [1, 1, 1]


def test_weights_and_gradients_by_hand():
    # d/dL = exp(-s) = 1/2, 4; d/ds = 1/2 - exp(-s) L = 1/2 - 3/2, 1/2 - 4
    weighting = weighting_at([np.log(2.0), -np.log(4.0)])
    weights, (own,) = weighting.weigh(tf.constant([3.0, 1.0]), None, tf.constant([True, True]))
    assert np.allclose(weights, [0.5, 4.0]) and np.allclose(own, [-1.0, -3.5])


def test_is_the_paper_s_likelihood_of_classes_and_up_to_a_constant_that_of_numbers():
    # sum of L / sigma^2 + log sigma for s = log sigma^2, sum of L / (2 sigma^2) + log sigma for s = log sigma^2 - log 2
    losses, sigma = np.array([0.3, 2.0]), np.array([0.7, 1.9])

    def here(s):
        return weighting_at(s).objective(tf.constant(losses, tf.float32), tf.constant([True, True]))

    assert np.isclose(here(np.log(sigma**2)), np.sum(losses / sigma**2 + np.log(sigma)))
    numbers = np.sum(losses / (2 * sigma**2) + np.log(sigma))
    assert np.isclose(here(np.log(sigma**2) + np.log(2)), numbers + 2 * np.log(2) / 2)


def test_settles_where_scipy_finds_the_minimum():
    losses = np.array([0.25, 4.0])
    found = optimize.minimize(lambda s: np.sum(np.exp(-s) * losses + s / 2), np.zeros(2)).x
    weighting = weighting_at(found)
    _, (own,) = weighting.weigh(tf.constant(losses, tf.float32), None, tf.constant([True, True]))
    assert np.allclose(own, 0, atol=1e-3)
    assert np.allclose(laws.weights_of(weighting, losses), 1 / (2 * losses), rtol=1e-3)


def gradient_at(s, losses):
    (own,) = weighting_at(s).weigh(tf.constant(losses, tf.float32), None, tf.constant([True] * len(s)))[1]
    return own.numpy()


def test_a_loss_times_c_is_a_variance_times_c():
    """exp(-s - log c) c L + (s + log c) / 2 is the objective but for a constant: gradient and weight x loss stay."""
    s, losses, c = np.array([0.3, -0.7, 0.0]), np.array([0.5, 2.0, 1.0]), np.array([0.25, 8.0, 1.0])
    assert np.allclose(gradient_at(s + np.log(c), c * losses), gradient_at(s, losses), atol=1e-5)
    moved, plain = laws.weights_of(weighting_at(s + np.log(c)), c * losses), laws.weights_of(weighting_at(s), losses)
    assert np.allclose(moved * c, plain, rtol=1e-5)
    # where s stays, d/ds = 1/2 - exp(-s) c L, which is no longer what it was where c isn't 1: the control
    there = gradient_at(s, c * losses)
    assert np.allclose(there, 0.5 - np.exp(-s) * c * losses, rtol=1e-5)
    assert np.all(np.isclose(there, gradient_at(s, losses), atol=0.1) == (c == 1))


def test_a_loss_in_another_unit_settles_at_the_same_weighed_loss():
    at = {}
    for unit in (1.0, 20.0):
        weighting, losses = laws.built(Uncertainty, 2), tf.constant([0.5 * unit, 0.2])
        for _ in range(250):
            weights, (own,) = weighting.weigh(losses, None, tf.constant([True, True]))
            weighting.s.assign_sub(0.1 * own)
            at.setdefault(unit, weights * losses)
        assert np.allclose(weights * losses, 0.5, atol=1e-2)
    assert at[20.0][0] > 15 * at[1.0][0], "the control: they begin apart"


def test_an_absent_task_has_no_gradient():
    _, (own,) = laws.built(Uncertainty).weigh(tf.constant([1.0, 0.0, 2.0]), None, tf.constant([True, False, True]))
    assert own.numpy().tolist() == [-0.5, 0.0, -1.5]


def test_a_loss_below_zero_does_not_drive_its_weight_to_infinity():
    weighting, at_rest = weighting_at([0.0, 0.0]), weighting_at([np.log(2e-8)] * 2)
    weights, (own,) = weighting.weigh(tf.constant([-3.0, 0.0]), None, tf.constant([True, True]))
    assert weights.numpy().tolist() == [1, 1] and np.allclose(own, 0.5)
    assert np.allclose(at_rest.weigh(tf.constant([-3.0, 0.0]), None, tf.constant([True, True]))[1], 0, atol=1e-5)


def test_its_variables_are_trained_and_of_one_number_a_task():
    weighting = laws.built(Uncertainty)
    assert [v.shape for v in weighting.trainable_variables] == [(3,)] and not weighting.needs_gramian
