import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import approx_fprime
from scipy.stats import gmean

from keras_transfer.multitask.weighting.gls import GLS
from multitask.weighting import laws


@pytest.mark.parametrize("law", [*laws.ALL, laws.scaling, laws.task_scaling])
def test_laws(law):
    assert law(GLS)


def test_weights_by_hand():
    # sqrt(2 * 8) = 4; w = 4 / (2 * 2), 4 / (2 * 8)
    assert np.allclose(laws.weights_of(laws.built(GLS, 2), [2.0, 8.0]), [1.0, 0.25])


def test_weights_are_the_derivative_of_the_geometric_mean():
    losses = np.array([0.3, 2.0, 11.0])
    assert np.allclose(laws.weights_of(laws.built(GLS), losses), approx_fprime(losses, gmean, 1e-7), rtol=1e-4)
    losses = tf.constant(losses)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        mean = tf.reduce_prod(losses) ** (1 / 3)
    assert np.allclose(laws.weights_of(laws.built(GLS), losses.numpy()), tape.gradient(mean, losses), rtol=1e-5)


def test_every_task_has_the_same_share_of_the_sum():
    losses = np.array([0.3, 2.0, 11.0])
    weighed = laws.weights_of(laws.built(GLS), losses) * losses
    assert np.allclose(weighed, gmean(losses) / 3)


def test_a_loss_in_another_unit_makes_steps_longer_only():
    one, other = (laws.weights_of(laws.built(GLS, 2), losses) for losses in ([2.0, 8.0], [2.0, 8.0 * 100]))
    assert np.allclose(other * [1, 100], 10 * one)  # 100 ** (1 / T)


def test_many_small_losses_do_not_underflow():
    weighting = laws.built(GLS, 40)
    assert np.allclose(laws.weights_of(weighting, np.full(40, 1e-3)), 1 / 40)  # their product is 1e-120


def test_what_is_below_the_floor_counts_as_the_floor():
    floor = laws.weights_of(laws.built(GLS, 2), [1e-8, 1.0])
    for loss in (0.0, -4.0, 1e-12):
        assert np.array_equal(laws.weights_of(laws.built(GLS, 2), [loss, 1.0]), floor)
    assert np.allclose(floor, [5e3, 5e-5])


def test_has_no_state():
    assert laws.built(GLS).variables == []
