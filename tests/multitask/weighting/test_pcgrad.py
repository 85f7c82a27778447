"""PCGrad: projections in a random order, from the Gramian alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.weighting.pcgrad import PCGrad
from multitask.weighting import laws


def make():
    return PCGrad(seed=3)


def weights(gradients, method=None, present=None):
    gradients = np.asarray(gradients, "float32")
    method = method or laws.built(make, len(gradients))
    present = np.ones(len(gradients), bool) if present is None else np.asarray(present)
    return method.call(None, tf.constant(gradients @ gradients.T), tf.constant(present)).numpy()


def projected(gradients, orders):
    """The algorithm of the paper on the gradients themselves."""
    changed = gradients.astype("float64").copy()
    for i, order in enumerate(orders):
        for j in order:
            if j != i and changed[i] @ gradients[j] < 0:
                changed[i] -= changed[i] @ gradients[j] / (gradients[j] @ gradients[j]) * gradients[j]
    return changed.sum(0)


@pytest.mark.parametrize("law", laws.RANDOM)
def test_laws(law):
    assert law(make)


@pytest.mark.parametrize("law", [laws.absent, laws.scaling])
def test_laws_that_hold_for_the_same_draws(law):
    assert law(make)


def test_by_hand():
    # (1, 0) - (-1 / 2) (-1, 1) and (-1, 1) - (-1 / 1) (1, 0)
    assert np.allclose(weights([[1, 0], [-1, 1]]), [1 + 1, 1 / 2 + 1], atol=1e-6)


def test_the_example_of_torchjd():
    gradients = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    assert np.allclose(weights(gradients) @ gradients, [0.5848, 3.8012, 3.8012], atol=1e-3)


@pytest.mark.parametrize("tasks", [2, 3, 5, 9])
def test_it_is_the_algorithm_of_the_paper_on_gradients(tasks):
    random, method, orders_of = np.random.default_rng(tasks), laws.built(make, tasks), keras.random.SeedGenerator(3)
    sums = []
    for _ in range(5):
        gradients = random.normal(size=(tasks, 4)).astype("float32")
        orders = np.argsort(keras.random.uniform((tasks, tasks), seed=orders_of))
        expected = projected(gradients, orders)
        assert np.allclose(weights(gradients, method) @ gradients, expected, rtol=1e-3, atol=1e-3)
        sums.append(np.allclose(expected, projected(gradients, orders[:, ::-1]), rtol=1e-3, atol=1e-3))
    assert tasks == 2 or not all(sums), "the control: orders matter"


def test_two_tasks_are_not_harmed():
    random = np.random.default_rng(0)
    for _ in range(20):
        gradients = random.normal(size=(2, 3))
        assert np.min(gradients @ (weights(gradients) @ gradients)) > -1e-5


@pytest.mark.parametrize(
    "gradients, expected",
    [
        ([[1, 2], [1, 2], [1, 2]], [3, 6]),
        ([[1, 2], [-1, -2]], [0, 0]),
        ([[1, 0], [0, 0], [0, 1]], [1, 1]),
        ([[0, 0], [0, 0]], [0, 0]),
        ([[3, 4]], [3, 4]),
    ],
)
def test_equal_opposite_and_zero_gradients(gradients, expected):
    assert np.allclose(weights(gradients) @ np.array(gradients), expected, atol=1e-5)


def test_gradients_that_do_not_oppose_each_other_give_the_plain_sum():
    assert np.allclose(weights([[1, 0, 0], [0, 2, 0], [1, 1, 3]]), 1)


def test_the_weights_of_tasks_in_another_order_are_the_same_on_average():
    gradients, order = np.random.default_rng(2).normal(size=(3, 3)), [2, 0, 1]
    method = laws.built(make)
    here = np.mean([weights(gradients, method) for _ in range(100)], axis=0)
    there = np.mean([weights(gradients[order], method) for _ in range(100)], axis=0)
    assert np.allclose(here[order], there, atol=0.2)


def test_an_absent_task_is_no_partner_even_if_its_products_are_not_zero():
    gradients = np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -2.0]])
    w = weights(gradients, present=[True, True, False])
    assert np.allclose(w, [2, 1.5, 0], atol=1e-6)


def test_draws_differ_from_step_to_step_and_seeds_repeat_them():
    gradients = np.random.default_rng(5).normal(size=(6, 3))
    method, again = laws.built(make, 6), laws.built(make, 6)
    drawn = [weights(gradients, method) for _ in range(3)]
    assert not np.array_equal(drawn[0], drawn[1])
    assert all(np.array_equal(w, weights(gradients, again)) for w in drawn)


def test_a_gramian_that_is_not_finite_gives_the_plain_sum():
    gramian = tf.constant([[1.0, np.nan], [np.nan, 1.0]])
    assert laws.built(make, 2).call(None, gramian, tf.ones(2, tf.bool)).numpy().tolist() == [1, 1]


def test_the_seed_is_in_the_config():
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(PCGrad(seed=5))).seed == 5
