"""GradDrop: one sign at each element, drawn by how much the tasks agree."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.weighting.graddrop import GradDrop
from multitask.weighting import laws


def make():
    return GradDrop(seed=3)


def combined(gradients, method=None, present=None):
    gradients = np.asarray(gradients, "float32")
    method = laws.built(lambda given=method: given or make(), len(gradients))
    present = tf.ones(len(gradients), tf.bool) if present is None else tf.constant(present)
    return method.combine([tf.constant(gradients)], tf.ones(len(gradients)), present)[0].numpy()


@pytest.mark.parametrize("law", laws.RANDOM)
def test_laws(law):
    assert law(make)


@pytest.mark.parametrize("law", [laws.permutation, laws.absent, laws.scaling])
def test_laws_that_hold_for_the_same_draws(law):
    assert law(make)


def test_by_hand():
    # P = 1 and 0 where all agree; 3/4 where it is the sum 3 - 1 of the sizes 3 + 1
    gradients = np.array([[1.0, -1.0, 3.0], [2.0, -3.0, -1.0]])
    outcomes = {tuple(combined(gradients, GradDrop(seed=seed))) for seed in range(20)}
    assert outcomes == {(3, -4, 3), (3, -4, -1)}


def test_each_sign_comes_as_often_as_its_purity_says():
    gradients = np.tile([[3.0], [-1.0]], (1, 20000))
    drawn = combined(gradients)
    assert set(drawn) == {3.0, -1.0}
    assert abs(np.mean(drawn == 3.0) - 0.75) < 0.015  # five standard deviations of the mean of 20000 draws


def test_its_mean_over_the_draws_is_the_plain_sum():
    gradients = np.repeat([[3.0, 1.0], [-1.0, 2.0], [0.5, -4.0]], 20000, axis=1)
    drawn = combined(gradients).reshape(2, 20000)
    assert np.allclose(drawn.mean(1), [2.5, -1.0], atol=0.1) and np.all(drawn.std(1) > 1)


def test_orthogonal_gradients_that_share_no_element_give_the_plain_sum():
    gradients = np.diag([1.0, -2.0, 3.0])
    for seed in range(10):
        assert combined(gradients, GradDrop(seed=seed)).tolist() == [1, -2, 3]


def test_orthogonal_gradients_that_share_elements_are_cut_where_their_signs_differ():
    # (2, 1) and (1, -2): the sum at the first; at the second P = (1 - 1/3) / 2 = 1/3 lets 1 through, else -2 is left
    gradients = np.array([[2.0, 1.0], [1.0, -2.0]])
    assert gradients[0] @ gradients[1] == 0
    assert {tuple(combined(gradients, GradDrop(seed=seed))) for seed in range(20)} == {(3, 1), (3, -2)}
    drawn = combined(np.repeat(gradients, 20000, axis=1)).reshape(2, 20000)
    assert np.all(drawn[0] == 3) and abs(np.mean(drawn[1] == 1) - 1 / 3) < 0.017  # five standard deviations


def test_all_tasks_see_the_same_draw():
    random = np.random.default_rng(0)
    gradients = random.normal(size=(4, 1000))
    drawn = combined(gradients)
    positive, negative = np.maximum(gradients, 0).sum(0), np.minimum(gradients, 0).sum(0)
    kept = np.isclose(drawn, positive, atol=1e-5) | np.isclose(drawn, negative, atol=1e-5)
    assert np.all(kept) and 300 < np.sum(np.isclose(drawn, positive, atol=1e-5)) < 700


@pytest.mark.parametrize(
    "gradients, expected",
    [([[1, -2], [1, -2]], [2, -4]), ([[0, 0], [0, 0]], [0, 0]), ([[3, -4]], [3, -4])],
)
def test_equal_and_zero_gradients_and_a_single_task(gradients, expected):
    assert combined(gradients).tolist() == expected


def test_opposite_gradients_leave_one_of_them_at_each_element():
    assert np.array_equal(np.abs(combined([[1.0, -2.0], [-1.0, 2.0]])), [1, 2])


def test_it_works_at_features():
    features = np.random.default_rng(0).normal(size=(3, 5, 4, 2))
    assert combined(features).shape == (5, 4, 2)


def test_draws_differ_from_step_to_step_and_seeds_repeat_them():
    gradients = np.random.default_rng(0).normal(size=(2, 50))
    method, again = laws.built(make, 2), laws.built(make, 2)
    first, second = combined(gradients, method), combined(gradients, method)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, combined(gradients, again)) and np.array_equal(second, combined(gradients, again))


def test_what_is_not_finite_is_handed_on_where_it_is():
    result = combined([[np.nan, 1.0, np.inf], [1.0, 1.0, 1.0]])
    assert np.isnan(result[0]) and result[1] == 2 and np.isinf(result[2])
    assert combined([[np.nan, 1.0], [1.0, 1.0]], present=[False, True]).tolist() == [1, 1]


def test_the_seed_is_in_the_config():
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(GradDrop(seed=5))).seed == 5
