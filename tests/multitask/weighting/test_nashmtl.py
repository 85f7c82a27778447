"""Nash-MTL: the bargaining solution G a = 1 / a, in units of the mean squared length."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize

from keras_transfer.multitask.weighting.nashmtl import NashMTL
from multitask.weighting import laws


def weights(gradients):
    gradients = np.asarray(gradients, "float32")
    method = laws.built(NashMTL, len(gradients))
    return method.call(None, tf.constant(gradients @ gradients.T), tf.ones(len(gradients), tf.bool)).numpy()


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(NashMTL)


def test_scaling_of_all_tasks_scales_the_step_and_of_one_task_not_its_direction():
    assert laws.scaling(NashMTL)
    assert laws.task_scaling(NashMTL)


def test_by_hand():
    # squares 4 and 1, orthogonal, s^2 = 2.5: a_t^2 = 2.5 / |g_t|^2
    assert np.allclose(weights([[2, 0], [0, 1]]), np.sqrt([2.5 / 4, 2.5]), rtol=1e-5)
    # unit gradients with the cosine -3/4: a (1 - 3/4) = 1 / a
    assert np.allclose(weights([[1, 0], [-0.75, np.sqrt(1 - 0.75**2)]]), [2, 2], rtol=1e-5)


@pytest.mark.parametrize(
    "gradients, expected",
    [
        ([[1, 2], [1, 2], [1, 2]], [3**-0.5] * 3),
        ([[1, 2], [-1, -2]], [0, 0]),
        ([[1, 0], [0, 0], [0, 1]], [1, 0, 1]),
        ([[0, 0], [0, 0]], [0, 0]),
        ([[3, 4]], [1]),
    ],
)
def test_equal_opposite_and_zero_gradients(gradients, expected):
    assert np.allclose(weights(gradients), expected, atol=1e-5)


def test_orthogonal_gradients_of_equal_length_give_the_plain_sum():
    assert np.allclose(weights(3 * np.eye(5)), 1, rtol=1e-6)


@pytest.mark.parametrize("tasks", [2, 3, 5, 8, 12, 16])
@pytest.mark.parametrize("kind", ["wide", "conflict", "ill", "parallel"])
def test_it_is_the_fixed_point_and_no_task_gets_worse(tasks, kind):
    random = np.random.default_rng(tasks)
    gradients = random.normal(size=(tasks, 3 * tasks)) * random.uniform(0.1, 10, (tasks, 1))
    if kind == "conflict":
        gradients -= 0.5 * gradients.mean(0)
    if kind == "ill":
        u, _, v = np.linalg.svd(gradients, full_matrices=False)
        gradients = (u * np.logspace(0, -1.5, tasks)) @ v
    if kind == "parallel":
        gradients = gradients[0] + 1e-3 * gradients
    gradients = gradients.astype("float32").astype("float64")
    a, gramian = weights(gradients).astype("float64"), gradients @ gradients.T
    gramian /= np.trace(gramian) / tasks
    # float32 weights can't be nearer than their rounding
    rounding = 1e-6 * np.max(np.abs(gramian) @ a * a)
    assert np.max(np.abs(a * (gramian @ a) - 1)) <= 1e-5 + rounding and np.all(gramian @ a > 0)
    # its length is that of the sum of orthogonal gradients
    step = a @ gradients
    assert np.isclose(step @ step, np.sum(gradients**2), rtol=1e-3)


def test_no_direction_has_a_larger_product_of_improvements():
    gradients = np.random.default_rng(0).normal(size=(3, 6))
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)

    def loss(d):
        return -np.sum(np.log(np.maximum(unit @ d / np.linalg.norm(d), 1e-9)))

    d = weights(gradients) @ gradients
    found = minimize(loss, unit.sum(0), tol=1e-12)
    assert loss(d) <= found.fun + 1e-6 < loss(gradients.sum(0)) - 1e-3


def test_a_gramian_that_is_not_finite_gives_the_plain_sum():
    gramian = tf.constant([[1.0, np.nan], [np.nan, 1.0]])
    assert laws.built(NashMTL, 2).call(None, gramian, tf.ones(2, tf.bool)).numpy().tolist() == [1, 1]


def test_too_many_tasks():
    with pytest.raises(ValueError, match="NashMTL solves for the weights of at most 64 tasks. Received: 65"):
        NashMTL().build(65)
