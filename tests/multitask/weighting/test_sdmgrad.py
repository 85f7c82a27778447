"""SDMGrad: weights that follow projected gradient steps, near the mean."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize

from keras_transfer.multitask.weighting.mgda import MGDA
from keras_transfer.multitask.weighting.sdmgrad import SDMGrad
from multitask.weighting import laws

GRADIENTS = np.array([[2.0, 0.0, 0.5], [-1.0, 1.0, 0.0], [0.3, -0.4, 1.0]], "float32")


def weights(gradients, calls=1, **options):
    gradients = np.asarray(gradients, "float32")
    method = laws.built(lambda: SDMGrad(**options), len(gradients))
    for _ in range(calls):
        w = method.call(None, tf.constant(gradients @ gradients.T), tf.ones(len(gradients), tf.bool))
    return w.numpy()


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(SDMGrad)


def test_scaling():
    assert laws.scaling(SDMGrad)


def test_it_asks_for_two_halves_of_the_batch():
    assert SDMGrad.parts == 2


def test_by_hand():
    # G = diag(4, 1) / 4, w = (1/2, 1/2): w - G w = (0, 3/8), and onto the simplex: (5/16, 11/16)
    assert np.allclose(weights([[2, 0], [0, 1]], regularization=0, steps=1), [5 / 16, 11 / 16], atol=1e-6)
    # regularization 1: w - G (w + m) = (-1/2, 1/4), onto the simplex: (1/8, 7/8), and the mean of that and m
    assert np.allclose(weights([[2, 0], [0, 1]], regularization=1, steps=1), [5 / 16, 11 / 16], atol=1e-6)


@pytest.mark.parametrize("regularization", [0.0, 0.3, 2.0])
def test_with_the_same_batch_again_and_again_it_solves_the_papers_problem(regularization):
    mean = np.ones(3) / 3

    def objective(w):
        return np.sum(((w + regularization * mean) @ GRADIENTS) ** 2)

    sum_is_1 = {"type": "eq", "fun": lambda w: np.sum(w) - 1}
    w = minimize(objective, mean, bounds=[(0, 1)] * 3, constraints=sum_is_1, tol=1e-14).x
    expected = (w + regularization * mean) / (1 + regularization)
    assert np.allclose(weights(GRADIENTS, 30, regularization=regularization), expected, atol=1e-3)
    first = weights(GRADIENTS, steps=1, regularization=regularization)
    assert not np.allclose(first, expected, atol=1e-3), "the control"


def test_without_regularization_it_tends_to_mgda_with_much_to_the_mean():
    mgda = laws.built(MGDA).call(None, tf.constant(GRADIENTS @ GRADIENTS.T), tf.ones(3, tf.bool))
    assert np.allclose(weights(GRADIENTS, 30, regularization=0), mgda, atol=1e-3)
    assert np.allclose(weights(GRADIENTS, 30, regularization=1e4), 1 / 3, atol=1e-3)


def test_a_gramian_of_two_halves_need_not_be_positive():
    method = laws.built(SDMGrad)
    gramian = np.array([[-0.5, 0.2, 0.1], [0.2, 0.8, -1.5], [0.1, -1.5, 0.3]], "float32")
    for _ in range(50):
        w = method.call(None, tf.constant(gramian), tf.ones(3, tf.bool)).numpy()
        assert np.all(w > 0) and np.isclose(w.sum(), 1, atol=1e-5)


@pytest.mark.parametrize(
    "gradients, expected",
    [
        ([[1, 2], [1, 2], [1, 2]], [1 / 3] * 3),
        ([[1, 2], [-1, -2]], [0.5, 0.5]),
        ([[0, 0], [0, 0]], [0.5, 0.5]),
        ([[3, 4]], [1]),
    ],
)
def test_equal_opposite_and_zero_gradients(gradients, expected):
    assert np.allclose(weights(gradients, 3), expected, atol=1e-5)


def test_orthogonal_gradients_of_equal_length_give_the_direction_of_the_plain_sum():
    assert np.allclose(weights(3 * np.eye(4)), 0.25, atol=1e-6)


def test_a_gramian_that_is_not_finite_changes_nothing():
    method = laws.built(SDMGrad, 2)
    method.call(None, tf.constant([[4.0, 0.0], [0.0, 1.0]]), tf.ones(2, tf.bool))
    before = method.w.numpy()
    gramian = tf.constant([[1.0, np.nan], [np.nan, 1.0]])
    assert method.call(None, gramian, tf.ones(2, tf.bool)).numpy().tolist() == [1, 1]
    assert np.array_equal(method.w, before) and not np.allclose(before, 0.5)


def test_arguments_are_in_the_config():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(SDMGrad(0.5, 7)))
    assert (again.regularization, again.steps) == (0.5, 7)


def test_errors():
    with pytest.raises(ValueError, match="`regularization` must be a number of at least 0; 0 is MGDA. Received: -1"):
        SDMGrad(-1)
    with pytest.raises(ValueError, match="`steps` must be a whole number of at least 1. Received: 0"):
        SDMGrad(steps=0)
