"""CAGrad: the task that improves least improves most, in a ball round the mean."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize

from keras_transfer.multitask.weighting.cagrad import CAGrad
from keras_transfer.multitask.weighting.moco import MoCo
from multitask.weighting import laws


def weights(gradients, **options):
    gradients = np.asarray(gradients, "float32")
    method = laws.built(lambda: CAGrad(**options), len(gradients))
    return method.call(None, tf.constant(gradients @ gradients.T), tf.ones(len(gradients), tf.bool)).numpy()


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(CAGrad)


def test_scaling():
    assert laws.scaling(CAGrad)


def test_by_hand():
    # on a line: g_0 = 1/2, and the ball [0.3, 0.7]; min(2 d, -d) is largest at 0.3
    assert np.allclose(weights([[2], [-1]]) @ [2, -1], 0.3 / 1.16, rtol=1e-4)
    # orthogonal, of equal length: by symmetry along g_0
    assert np.allclose(weights([[1, 0], [0, 1]]), 0.5 * 1.4 / 1.16, rtol=1e-4)


def test_the_example_of_torchjd():
    gradients = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    # which leaves out the factor 1 / (1 + c^2)
    assert np.allclose(1.25 * weights(gradients, c=0.5) @ gradients, [0.1835, 1.2041, 1.2041], atol=1e-4)


@pytest.mark.parametrize("tasks, size", [(2, 3), (3, 2), (5, 5), (8, 24)])
def test_agrees_with_scipy(tasks, size):
    random = np.random.default_rng(tasks)
    gradients = random.normal(size=(tasks, size))
    mean = gradients.mean(0)
    radius = 0.4 * np.linalg.norm(mean)
    sum_is_1 = {"type": "eq", "fun": lambda w: np.sum(w) - 1}
    found = min(
        minimize(
            lambda w: w @ gradients @ mean + radius * np.linalg.norm(w @ gradients),
            start,
            bounds=[(0, 1)] * tasks,
            constraints=sum_is_1,
            tol=1e-13,
        ).fun
        for start in random.dirichlet(np.ones(tasks), 5)
    )
    d = 1.16 * weights(gradients) @ gradients
    assert np.linalg.norm(d - mean) <= radius * (1 + 1e-5)
    # the least improvement is as large as the dual problem allows, and larger than that of the mean
    assert np.isclose(np.min(gradients @ d), found, atol=1e-4)
    assert np.min(gradients @ d) > np.min(gradients @ mean) + 1e-3


def test_c_0_is_the_mean():
    gradients = np.random.default_rng(0).normal(size=(3, 4))
    assert np.allclose(weights(gradients, c=0.0), 1 / 3, atol=1e-6)
    assert np.max(np.abs(weights(gradients, c=0.1) - 1 / 3)) > 1e-3, "the control"


@pytest.mark.parametrize(
    "gradients, direction",
    [
        ([[1, 2], [1, 2], [1, 2]], [1.4 / 1.16, 2.8 / 1.16]),
        ([[1, 2], [-1, -2]], [0, 0]),
        ([[0, 0], [0, 0]], [0, 0]),
        ([[3, 4]], [3 * 1.4 / 1.16, 4 * 1.4 / 1.16]),
    ],
)
def test_equal_opposite_and_zero_gradients(gradients, direction):
    assert np.allclose(weights(gradients) @ np.array(gradients), direction, atol=1e-4)


def test_weights_are_bounded_where_gradients_cancel_out():
    triangle = np.array([[1, 0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]]) + 0.1 * np.array([0, 1])
    w = weights(triangle)
    assert np.all(np.isfinite(w)) and np.max(w) < 100 and np.linalg.norm(w @ triangle) < 0.2


def test_its_step_is_not_that_of_moco():
    gradients = np.array([[2.0, 0.0], [-1.0, 1.0]], "float32")
    moco = MoCo()
    moco.build(2, [(2,)])
    step = moco.combine([tf.constant(gradients)], tf.ones(2), tf.ones(2, tf.bool))[0].numpy()
    own = weights(gradients) @ gradients
    assert step @ own < 0.99 * np.linalg.norm(step) * np.linalg.norm(own)


def test_a_gramian_that_is_not_finite_gives_the_plain_sum():
    gramian = tf.constant([[1.0, np.nan], [np.nan, 1.0]])
    assert laws.built(CAGrad, 2).call(None, gramian, tf.ones(2, tf.bool)).numpy().tolist() == [1, 1]


def test_c_is_in_the_config():
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(CAGrad(c=0.2))).c == 0.2


def test_errors():
    with pytest.raises(ValueError, match="`c` must be a share: at least 0 and less than 1. Received: 1"):
        CAGrad(c=1)
    with pytest.raises(ValueError, match="CAGrad solves for the weights of at most 64 tasks. Received: 65"):
        CAGrad().build(65)
