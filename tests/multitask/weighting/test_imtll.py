import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from keras_transfer.multitask.weighting.imtll import IMTLL
from keras_transfer.multitask.weighting.uncertainty import Uncertainty
from multitask.weighting import laws

BOTH = [True, True]


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(IMTLL)


def weighting_at(s, make=IMTLL):
    weighting = laws.built(make, len(s))
    weighting.s.assign(s)
    return weighting


def test_begins_as_the_plain_sum():
    assert laws.weights_of(laws.built(IMTLL), [1, 2, 3]).tolist() == [1, 1, 1]


def test_weights_and_gradients_by_hand():
    # d/dL = exp(s) = 2, 1/4; d/ds = exp(s) L - 1 = 2 * 3 - 1, 1/4 - 1
    weighting = weighting_at([np.log(2.0), -np.log(4.0)])
    weights, (own,) = weighting.weigh(tf.constant([3.0, 1.0]), None, tf.constant(BOTH))
    assert np.allclose(weights, [2.0, 0.25]) and np.allclose(own, [5.0, -0.75])


def test_settles_where_all_weighed_losses_are_one():
    losses = np.array([0.25, 4.0])
    found = optimize.minimize(lambda s: np.sum(np.exp(s) * losses - s), np.zeros(2)).x
    weights = laws.weights_of(weighting_at(found), losses)
    assert np.allclose(weights * losses, 1, rtol=1e-3)
    _, (own,) = weighting_at(found).weigh(tf.constant(losses, tf.float32), None, tf.constant(BOTH))
    assert np.allclose(own, 0, atol=1e-3)


def test_a_loss_in_another_unit_settles_at_the_same_weighed_loss():
    at = {}
    for unit in (1.0, 100.0):
        weighting = laws.built(IMTLL, 2)
        losses = tf.constant([0.5 * unit, 0.2])
        for _ in range(150):
            weights, (own,) = weighting.weigh(losses, None, tf.constant(BOTH))
            weighting.s.assign_sub(0.1 * own)
        at[unit] = weights * losses
    assert np.allclose(at[1.0], 1, atol=1e-2) and np.allclose(at[100.0], 1, atol=1e-2)


def test_a_loss_times_c_is_a_scale_divided_by_c():
    """exp(s - log c) c L - (s - log c) is the objective but for a constant: its gradient and weight x loss stay."""
    s, losses, c = np.array([0.3, -0.7, 0.0]), np.array([0.5, 2.0, 1.0]), np.array([0.25, 8.0, 1.0])
    found = {}
    for name, at, of in ("plain", s, losses), ("moved", s - np.log(c), c * losses), ("control", s, c * losses):
        weights, (own,) = weighting_at(at).weigh(tf.constant(of, tf.float32), None, tf.constant([True] * 3))
        found[name] = np.stack([weights * of, own])
    assert np.allclose(found["moved"], found["plain"], rtol=1e-5, atol=1e-6)
    assert np.allclose(found["control"][1], np.exp(s) * c * losses - 1, rtol=1e-5, atol=1e-6)
    assert np.all(np.isclose(found["control"], found["plain"], atol=0.1) == (c == 1))


def test_ends_at_twice_the_weights_of_uncertainty():
    losses = tf.constant([0.25, 4.0])
    for make, s in (IMTLL, -np.log(losses)), (Uncertainty, np.log(2 * losses)):
        assert np.allclose(weighting_at(s, make).weigh(losses, None, tf.constant(BOTH))[1], 0, atol=1e-6)
    ours = laws.weights_of(weighting_at(-np.log(losses)), losses)
    assert np.allclose(ours, 2 * laws.weights_of(weighting_at(np.log(2 * losses), Uncertainty), losses))


def test_an_absent_task_has_no_gradient():
    _, (own,) = laws.built(IMTLL).weigh(tf.constant([3.0, 0.0, 2.0]), None, tf.constant([True, False, True]))
    assert own.numpy().tolist() == [2.0, 0.0, 1.0]


def test_a_loss_below_zero_does_not_drive_its_weight_to_infinity():
    weights, (own,) = weighting_at([0.0, -np.log(1e-8)]).weigh(tf.constant([-3.0, -3.0]), None, tf.constant(BOTH))
    assert np.allclose(weights, [1, 1e8]) and np.allclose(own, [-1, 0], atol=1e-5)
