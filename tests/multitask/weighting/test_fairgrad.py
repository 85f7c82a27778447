"""FairGrad: alpha-fair improvements, between NashMTL and MGDA."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.weighting.fairgrad import FairGrad
from keras_transfer.multitask.weighting.mgda import MGDA
from keras_transfer.multitask.weighting.nashmtl import NashMTL
from multitask.weighting import laws


def weights(gradients, method=FairGrad, **options):
    gradients = np.asarray(gradients, "float32")
    method = laws.built(lambda: method(**options), len(gradients))
    return method.call(None, tf.constant(gradients @ gradients.T), tf.ones(len(gradients), tf.bool)).numpy()


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(FairGrad)


def test_scaling():
    assert laws.scaling(FairGrad)


def test_by_hand():
    # unit gradients with the cosine -3/4: a / 4 = a ** (-1 / 2)
    assert np.allclose(weights([[1, 0], [-0.75, np.sqrt(1 - 0.75**2)]]), 4 ** (2 / 3), rtol=1e-5)
    # squares 4 and 1, orthogonal, s^2 = 2.5: a_t ** (3 / 2) = 2.5 / |g_t|^2
    assert np.allclose(weights([[2, 0], [0, 1]]), np.array([2.5 / 4, 2.5]) ** (2 / 3), rtol=1e-5)


@pytest.mark.parametrize(
    "gradients, expected",
    [
        ([[1, 2], [1, 2]], [2 ** (-2 / 3)] * 2),
        ([[1, 2], [-1, -2]], [0, 0]),
        ([[1, 0], [0, 0], [0, 1]], [1, 0, 1]),
        ([[3, 4]], [1]),
    ],
)
def test_equal_opposite_and_zero_gradients(gradients, expected):
    assert np.allclose(weights(gradients), expected, atol=1e-5)


def test_orthogonal_gradients_of_equal_length_give_the_plain_sum():
    assert np.allclose(weights(3 * np.eye(5), alpha=5.0), 1, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("tasks", [2, 5, 16])
def test_it_is_the_fixed_point_and_no_task_gets_worse(tasks, alpha):
    random = np.random.default_rng(tasks)
    gradients = random.normal(size=(tasks, 2 * tasks)) * random.uniform(0.3, 3, (tasks, 1))
    gradients = gradients.astype("float32").astype("float64")
    a, gramian = weights(gradients, alpha=alpha).astype("float64"), gradients @ gradients.T
    gramian /= np.trace(gramian) / tasks
    assert np.all(a > 0) and np.allclose((gramian @ a) * a ** (1 / alpha), 1, atol=1e-4)
    assert np.max(np.abs((gramian @ (a * 1.01)) * a ** (1 / alpha) - 1)) > 1e-3, "the control"


def test_alpha_1_is_nash_and_a_large_alpha_has_the_direction_of_mgda():
    gradients = [[2.0, 0.0, 0.3], [-1.0, 1.0, 0.0], [0.1, 0.2, 1.0]]
    assert np.allclose(weights(gradients, alpha=1.0), weights(gradients, NashMTL), rtol=1e-5)
    a, w = weights(gradients, alpha=100.0), weights(gradients, MGDA)
    assert np.allclose(a / a.sum(), w, atol=0.02)
    assert not np.allclose(weights(gradients) / weights(gradients).sum(), w, atol=0.02), "the control"


def test_a_gramian_that_is_not_finite_gives_the_plain_sum():
    gramian = tf.constant([[1.0, np.nan], [np.nan, 1.0]])
    assert laws.built(FairGrad, 2).call(None, gramian, tf.ones(2, tf.bool)).numpy().tolist() == [1, 1]


def test_alpha_is_in_the_config():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(FairGrad(alpha=3)))
    assert again.alpha == 3.0


def test_errors():
    with pytest.raises(ValueError, match="`alpha` must be a number from 0.1 to 100; 1 is proportional fairness. .*: 0"):
        FairGrad(alpha=0)
    with pytest.raises(ValueError, match="FairGrad solves for the weights of at most 64 tasks. Received: 65"):
        FairGrad().build(65)
