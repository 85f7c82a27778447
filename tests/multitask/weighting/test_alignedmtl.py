"""Aligned-MTL: the sum of the nearest orthogonal gradients, as long as the weakest component."""

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.weighting.alignedmtl import AlignedMTL
from multitask.weighting import laws


def weights(gradients):
    gradients = np.asarray(gradients, "float32")
    method = laws.built(AlignedMTL, len(gradients))
    return method.call(None, tf.constant(gradients @ gradients.T), tf.ones(len(gradients), tf.bool)).numpy()


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(AlignedMTL)


def test_scaling():
    assert laws.scaling(AlignedMTL)


def test_by_hand():
    # orthogonal gradients of lengths 2 and 1 become both of length 1
    assert np.allclose(weights([[2, 0], [0, 1]]), [0.5, 1], rtol=1e-5)
    # G = [[5, 3], [3, 5]]: eigenvalues 8 along (1, 1), 2 along (1, -1); B (1, 1)' = sqrt(2 / 8) (1, 1)'
    assert np.allclose(weights(np.linalg.cholesky([[5.0, 3.0], [3.0, 5.0]])), [0.5, 0.5], rtol=1e-5)


def test_the_example_of_torchjd():
    gradients = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    # which takes the mean of the new gradients
    assert np.allclose(weights(gradients) @ gradients / 2, [0.2133, 0.9673, 0.9673], atol=1e-4)


@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_it_is_the_sum_of_the_nearest_orthogonal_gradients(tasks):
    gradients = np.random.default_rng(tasks).normal(size=(tasks, 2 * tasks))
    # the orthogonal factor of the polar decomposition is the nearest matrix with orthonormal rows
    u, lengths, v = np.linalg.svd(gradients, full_matrices=False)
    aligned = lengths.min() * u @ v
    assert np.allclose(aligned @ aligned.T, lengths.min() ** 2 * np.eye(tasks))
    assert np.allclose(weights(gradients) @ gradients, aligned.sum(0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "gradients, expected",
    [
        ([[1, 2], [1, 2], [1, 2]], [1, 1, 1]),
        ([[1, 2], [-1, -2]], [0, 0]),
        ([[1, 0], [0, 0], [0, 1]], [1, 0, 1]),
        ([[0, 0], [0, 0]], [0, 0]),
        ([[3, 4]], [1]),
    ],
)
def test_equal_opposite_and_zero_gradients(gradients, expected):
    assert np.allclose(weights(gradients), expected, atol=1e-5)


def test_orthogonal_gradients_of_equal_length_give_the_plain_sum():
    assert np.allclose(weights(3 * np.eye(5)), 1, rtol=1e-5)


def test_a_gramian_that_is_not_finite_gives_the_plain_sum():
    gramian = tf.constant([[1.0, np.nan], [np.nan, 1.0]])
    assert laws.built(AlignedMTL, 2).call(None, gramian, tf.ones(2, tf.bool)).numpy().tolist() == [1, 1]
