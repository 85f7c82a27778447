"""IMTL-G: the direction has the same projection on every gradient."""

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.weighting.imtlg import IMTLG
from multitask.weighting import laws


def weights(gradients):
    gradients = np.asarray(gradients, "float32")
    method = laws.built(IMTLG, len(gradients))
    return method.call(None, tf.constant(gradients @ gradients.T), tf.ones(len(gradients), tf.bool)).numpy()


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(IMTLG)


def test_scaling_of_all_tasks_scales_the_step_and_of_one_task_not_its_direction():
    assert laws.scaling(IMTLG)
    assert laws.task_scaling(IMTLG)


def test_by_hand():
    # a_1 (2, 0) + a_2 (0, 1) has equal projections on both if 2 a_1 = a_2
    assert np.allclose(weights([[2, 0], [0, 1]]), [1 / 3, 2 / 3], rtol=1e-5)


def test_the_example_of_torchjd():
    gradients = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    assert np.allclose(weights(gradients) @ gradients, [0.0767, 1.0, 1.0], atol=1e-4)


@pytest.mark.parametrize("tasks", [2, 3, 5, 8])
def test_it_is_the_closed_form_of_the_paper(tasks):
    gradients = np.random.default_rng(tasks).normal(size=(tasks, 3 * tasks)) + 0.3
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    # with D = g_1 - g_t and U = u_1 - u_t: a_2.. = g_1 U' (D U')^-1, a_1 = 1 - sum
    differences, units = gradients[:1] - gradients[1:], unit[:1] - unit[1:]
    others = gradients[0] @ units.T @ np.linalg.inv(differences @ units.T)
    a = weights(gradients)
    assert np.allclose(a, [1 - others.sum(), *others], rtol=1e-3, atol=1e-4)
    projections = unit @ (a @ gradients)
    assert np.ptp(projections) < 1e-4 and projections[0] > 0
    assert np.ptp(unit @ gradients.sum(0)) > 0.1, "the control"


@pytest.mark.parametrize(
    "gradients, expected",
    [
        ([[1, 2], [1, 2], [1, 2]], [1 / 3] * 3),
        ([[1, 2], [-1, -2]], [0, 0]),
        ([[1, 0], [0, 0], [0, 1]], [0.5, 0, 0.5]),
        ([[0, 0], [0, 0]], [0, 0]),
        ([[3, 4]], [1]),
    ],
)
def test_equal_opposite_and_zero_gradients(gradients, expected):
    assert np.allclose(weights(gradients), expected, atol=1e-5)


def test_orthogonal_gradients_of_equal_length_give_the_direction_of_the_plain_sum():
    assert np.allclose(weights(3 * np.eye(5)), 0.2, rtol=1e-5)


def test_it_goes_downhill_where_the_paper_goes_uphill():
    # the short gradient gets a negative weight, which outweighs all others in the sum
    unit = np.array([[1.0, 0.9, 0.9], [0.9, 1.0, 0.65], [0.9, 0.65, 1.0]])
    gradients = np.diag([0.01, 1.0, 1.0]) @ np.linalg.cholesky(unit)
    papers = np.linalg.solve(gradients @ gradients.T, np.linalg.norm(gradients, axis=1))
    papers /= papers.sum()
    assert np.all(gradients @ (papers @ gradients) < 0), "the control"
    a = weights(gradients)
    assert np.all(gradients @ (a @ gradients) > 0) and np.isclose(a.sum(), -1, atol=1e-3)


def test_a_gramian_that_is_not_finite_gives_the_plain_sum():
    gramian = tf.constant([[1.0, np.nan], [np.nan, 1.0]])
    assert laws.built(IMTLG, 2).call(None, gramian, tf.ones(2, tf.bool)).numpy().tolist() == [1, 1]
