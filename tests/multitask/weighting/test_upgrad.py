"""UPGrad: projections onto the directions that harm no task."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import nnls

from keras_transfer.multitask.weighting.upgrad import UPGrad
from multitask.weighting import laws


def weights(gradients):
    gradients = np.asarray(gradients, "float32")
    method = laws.built(UPGrad, len(gradients))
    return method.call(None, tf.constant(gradients @ gradients.T), tf.ones(len(gradients), tf.bool)).numpy()


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(UPGrad)


def test_scaling():
    assert laws.scaling(UPGrad)


def test_by_hand():
    # (1, 0) and (-1, 1) oppose each other by -1: p_1 = (1, 0) + 1/2 (-1, 1), p_2 = (-1, 1) + 1 (1, 0)
    assert np.allclose(weights([[1, 0], [-1, 1]]), [(1 + 1) / 2, (0.5 + 1) / 2], atol=1e-5)


def test_the_example_of_torchjd():
    gradients = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    assert np.allclose(weights(gradients) @ gradients, [0.2929, 1.9004, 1.9004], atol=2e-3)


@pytest.mark.parametrize(
    "gradients, expected",
    [
        ([[1, 2], [1, 2], [1, 2]], [1 / 3, 1 / 3, 1 / 3]),
        ([[1, 2], [-1, -2]], [1, 1]),
        ([[1, 0], [0, 0], [-1, 1]], [2 / 3, 0, 1.5 / 3]),
        ([[1, 0], [0, 3], [1, 1]], [1 / 3, 1 / 3, 1 / 3]),
        ([[1, 2]], [1]),
    ],
)
def test_equal_opposite_zero_and_agreeing_gradients(gradients, expected):
    assert np.allclose(weights(gradients), expected, atol=1e-4)


@pytest.mark.parametrize("tasks", [1, 2, 4, 7])
def test_orthogonal_gradients_give_their_mean(tasks):
    random = np.random.default_rng(tasks)
    turned = np.linalg.qr(random.normal(size=(tasks + 2, tasks)))[0].T
    lengths = np.logspace(-1, 1, tasks)[:, None]
    for gradients in (lengths * np.eye(tasks), lengths * turned):
        assert np.allclose(weights(gradients), 1 / tasks, atol=1e-5)
        assert np.allclose(weights(gradients) @ gradients, gradients.mean(0), atol=1e-4)
    opposed = turned - 0.2 * np.roll(turned, 1, axis=0)
    assert tasks == 1 or not np.allclose(weights(opposed), 1 / tasks, atol=1e-2), "the control"


@pytest.mark.parametrize("tasks", [2, 3, 5, 9, 16])
def test_it_is_the_mean_of_the_projections(tasks):
    gradients = np.random.default_rng(tasks).normal(size=(tasks, tasks + 2))
    # g + the nearest point to -g of the cone of all gradients is the projection onto the dual cone
    projections = [g + gradients.T @ nnls(gradients.T, -g)[0] for g in gradients]
    d = weights(gradients) @ gradients
    assert np.allclose(d, np.mean(projections, axis=0), atol=1e-4)
    assert np.min(gradients @ d) > -1e-4
    assert np.min(gradients @ gradients.sum(0)) < 0 or tasks != 9, "the control: the plain sum does harm"


def test_ill_conditioned_gradients_are_not_harmed_either():
    for seed in range(5):
        u, _, v = np.linalg.svd(np.random.default_rng(seed).normal(size=(8, 8)))
        gradients = ((u * np.logspace(0, -3, 8)) @ v).astype("float32")
        d = weights(gradients) @ gradients
        assert np.min(gradients @ d / np.linalg.norm(gradients, axis=1)) > -1e-5


def test_a_gramian_that_is_not_finite_gives_the_plain_sum():
    gramian = tf.constant([[1.0, np.inf], [np.inf, 1.0]])
    assert laws.built(UPGrad, 2).call(None, gramian, tf.ones(2, tf.bool)).numpy().tolist() == [1, 1]


def test_too_many_tasks():
    with pytest.raises(ValueError, match="UPGrad solves for the weights of at most 64 tasks. Received: 65"):
        UPGrad().build(65)
