"""MGDA: the shortest convex combination, to high accuracy; no task gets worse."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize

from keras_transfer.multitask.weighting.mgda import MGDA
from multitask.weighting import laws


def weights(gradients, present=None):
    gradients = np.asarray(gradients, "float32")
    method = laws.built(MGDA, len(gradients))
    present = tf.ones(len(gradients), tf.bool) if present is None else tf.constant(present)
    return method.call(None, tf.constant(gradients @ gradients.T), present).numpy()


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(MGDA)


def test_scaling():
    assert laws.scaling(MGDA)


def test_by_hand():
    # the shortest point between (2, 0) and (0, 1) is the foot of the perpendicular from 0: w = (1, 4) / 5
    assert np.allclose(weights([[2, 0], [0, 1]]), [0.2, 0.8], atol=1e-5)
    # the nearest point of the segment from (1, 0) to (3, 1) is its end
    assert np.allclose(weights([[1, 0], [3, 1]]), [1, 0], atol=1e-5)


@pytest.mark.parametrize(
    "gradients, expected",
    [
        ([[1, 2], [1, 2], [1, 2]], [1 / 3, 1 / 3, 1 / 3]),
        ([[1, 2], [-1, -2]], [0.5, 0.5]),
        ([[3, 0], [-1, 0]], [0.25, 0.75]),
        ([[1, 2], [0, 0], [1, -1]], [0, 1, 0]),
        ([[1, 2], [0, 0], [0, 0]], [0, 0.5, 0.5]),
        ([[1, 2]], [1]),
    ],
)
def test_equal_opposite_and_zero_gradients(gradients, expected):
    assert np.allclose(weights(gradients), expected, atol=1e-5)


@pytest.mark.parametrize("tasks, size", [(2, 3), (3, 2), (5, 20), (8, 5), (32, 100)])
def test_no_task_gets_worse_and_nothing_is_shorter(tasks, size):
    random = np.random.default_rng(tasks)
    gradients = random.normal(size=(tasks, size)) + 0.3
    w = weights(gradients)
    d = w @ gradients
    assert np.all(w >= 0) and np.isclose(w.sum(), 1, atol=1e-5)
    assert np.all(gradients @ d >= d @ d - 1e-5 * size)
    assert np.all(np.linalg.norm(random.dirichlet(np.ones(tasks), 200) @ gradients, axis=1) >= np.linalg.norm(d) - 1e-6)
    plain = gradients.sum(0)
    assert tasks != 8 or np.min(gradients @ plain) < 0, "the control: there are conflicts"


@pytest.mark.parametrize("tasks", [2, 4, 7])
def test_agrees_with_scipy(tasks):
    gradients = np.random.default_rng(tasks).normal(size=(tasks, tasks))
    gramian = gradients @ gradients.T
    sum_is_1 = {"type": "eq", "fun": lambda w: np.sum(w) - 1}
    start, bounds = np.ones(tasks) / tasks, [(0, 1)] * tasks
    found = minimize(lambda w: w @ gramian @ w, start, bounds=bounds, constraints=sum_is_1, tol=1e-14).x
    assert np.allclose(weights(gradients) @ gradients, found @ gradients, atol=1e-3)


def test_small_gradients_are_as_exact_as_large_ones():
    small = np.array([[1e-3, 0.0], [-0.8e-3, 0.6e-3]])
    gradients = np.concatenate([small, [[300.0, 400.0]]])
    assert np.allclose(weights(gradients), [*weights(small), 0], atol=1e-5)


def test_orthogonal_gradients_of_equal_length_give_the_direction_of_the_plain_sum():
    assert np.allclose(weights(2 * np.eye(4)), 0.25, atol=1e-5)


def test_a_gramian_that_is_not_finite_gives_the_plain_sum():
    method = laws.built(MGDA, 3)
    gramian, present = tf.constant(np.full((3, 3), np.nan, "float32")), tf.constant([True, True, False])
    assert method.call(None, gramian, present).numpy().tolist() == [1, 1, 0]


def test_too_many_tasks():
    with pytest.raises(ValueError, match="MGDA solves for the weights of at most 64 tasks. Received: 65"):
        MGDA().build(65)
