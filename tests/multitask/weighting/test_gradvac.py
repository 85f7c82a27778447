"""GradVac: gradients turned towards each other, to the cosines that they usually have."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.weighting.gradvac import GradVac
from keras_transfer.multitask.weighting.pcgrad import PCGrad
from multitask.weighting import laws


def make(**options):
    return GradVac(seed=3, **options)


def weights(gradients, method=None):
    gradients = np.asarray(gradients, "float32")
    method = method or laws.built(make, len(gradients))
    return method.call(None, tf.constant(gradients @ gradients.T), tf.ones(len(gradients), tf.bool)).numpy()


def vaccinated(gradients, targets, orders, beta):
    """The algorithm of the paper on the gradients themselves. Changes `targets`."""
    changed = gradients.astype("float64").copy()
    for i, order in enumerate(orders):
        for j in order:
            if j == i:
                continue
            own, other, target = changed[i], gradients[j], targets[i, j]
            cosine = own @ other / np.linalg.norm(own) / np.linalg.norm(other)
            if cosine < target:
                factor = np.linalg.norm(own) * (target * np.sqrt(1 - cosine**2) - cosine * np.sqrt(1 - target**2))
                changed[i] = own + factor / np.linalg.norm(other) / np.sqrt(1 - target**2) * other
                turned = changed[i] @ other / np.linalg.norm(changed[i]) / np.linalg.norm(other)
                assert np.isclose(turned, target), "which is what the factor is for"
            targets[i, j] = (1 - beta) * target + beta * cosine
    return changed.sum(0)


@pytest.mark.parametrize("law", laws.RANDOM)
def test_laws(law):
    assert law(make)


@pytest.mark.parametrize("law", [laws.absent, laws.absent_state, laws.scaling])
def test_laws_that_hold_for_the_same_draws(law):
    assert law(make)


def test_two_tasks_in_another_order_give_the_same_step():
    """Each has one partner, so that no order is left to draw."""
    rows, targets = {}, {}
    for order in ([0, 1], [1, 0]):
        method = laws.built(lambda: make(beta=0.3), 2)
        made = [batch.take([0, 2]).take(order) for batch in laws.batches(5, seed=1)]
        rows[order[0]], weights = laws.run(method, made)
        targets[order[0]] = method.targets.numpy()[np.ix_(order, order)], weights[:, order]
    assert np.allclose(rows[0], rows[1], rtol=1e-4, atol=1e-5)
    for one, other in zip(targets[0], targets[1]):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5)
    assert np.max(np.ptp(targets[0][1], axis=1)) > 0.5, "the control: the tasks aren't alike"


def outcomes(gradients, draws=150):
    """The different weights over draws of the order, and their mean."""
    method = laws.built(lambda: make(beta=0.0), len(gradients))
    gramian, present = tf.constant(gradients @ gradients.T, tf.float32), tf.ones(len(gradients), tf.bool)
    call = tf.function(method.call)
    drawn = np.stack([call(tf.ones(len(gradients)), gramian, present) for _ in range(draws)])
    return np.unique(np.round(drawn, 3), axis=0), drawn.mean(0), drawn.std(0) / np.sqrt(draws)


def alike(one, other):
    """Whether two sets of rows are one."""
    apart = np.abs(one[:, None] - other[None]).max(-1)
    return apart.min(0).max() < 3e-3 and apart.min(1).max() < 3e-3


def test_three_tasks_in_another_order_have_the_same_outcomes_over_all_draws():
    gradients, order = np.array([[1.0, 0.2, 0.0], [-1.2, 0.6, 0.3], [-0.2, -0.9, 0.2]]), [2, 0, 1]
    assert np.sum(gradients @ gradients.T < 0) == 6, "all oppose each other"
    (plain, mean, error), (moved, other_mean, _) = outcomes(gradients), outcomes(gradients[order])
    assert len(plain) > 4 and alike(plain[:, order], moved) and not alike(plain, moved)
    assert np.all(np.abs(mean[order] - other_mean) < 5 * error[order] + 1e-4)


def test_by_hand():
    # targets of 0: the gradients (1, 0) and (-1, 1), cosine -1 / sqrt 2, lose what opposes the other
    method = laws.built(lambda: make(beta=0.5), 2)
    assert np.allclose(weights([[1, 0], [-1, 1]], method), [1 + 1, 0.5 + 1], atol=1e-5)
    assert np.allclose(method.targets, [[0, -(0.5**1.5)], [-(0.5**1.5), 0]], atol=1e-6)
    # a target of 0.6: (0, 1) + (3/4) (1, 0) has the cosine 0.6 with (1, 0)
    method.targets.assign([[0, 0.6], [0.6, 0]])
    assert np.allclose(weights([[1, 0], [0, 1]], method), [1.75, 1.75], atol=1e-5)


@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_it_is_the_algorithm_of_the_paper_on_gradients(tasks):
    random, method = np.random.default_rng(tasks), laws.built(lambda: make(beta=0.3), tasks)
    orders_of, targets = keras.random.SeedGenerator(3), np.zeros((tasks, tasks))
    for _ in range(5):
        gradients = random.normal(size=(tasks, 4)).astype("float32") + [0.5, 0, 0, 0]
        orders = np.argsort(keras.random.uniform((tasks, tasks), seed=orders_of))
        expected = vaccinated(gradients, targets, orders, 0.3)
        assert np.allclose(weights(gradients, method) @ gradients, expected, rtol=1e-3, atol=1e-3)
        assert np.allclose(method.targets, targets, atol=1e-4)
    assert np.max(np.abs(targets)) > 0.1, "the control: targets have moved"


def test_beta_0_is_pcgrad():
    gradients = np.random.default_rng(0).normal(size=(5, 3))
    method, pcgrad = laws.built(lambda: make(beta=0.0), 5), laws.built(lambda: PCGrad(seed=3), 5)
    for _ in range(3):
        assert np.allclose(weights(gradients, method), weights(gradients, pcgrad), rtol=1e-3, atol=1e-3)


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
    assert np.allclose(weights(gradients) @ np.array(gradients), expected, atol=1e-4)


def test_orthogonal_gradients_give_the_plain_sum_and_keep_their_targets():
    method = laws.built(make, 4)
    assert np.allclose(weights(np.diag([1.0, 2.0, 3.0, 4.0]), method), 1)
    assert np.all(method.targets.numpy() == 0)


def test_pairs_without_gradient_keep_their_targets():
    method = laws.built(make)
    weights([[1, 0], [0, 0], [-1, 1]], method)
    targets = method.targets.numpy()
    assert np.all(targets[1] == 0) and np.all(targets[:, 1] == 0) and targets[0, 2] < 0


def test_targets_stay_below_one():
    method = laws.built(lambda: make(beta=0.9), 2)
    for _ in range(20):
        weights([[1, 2], [1, 2]], method)
    assert np.allclose(method.targets, [[0, 0.999], [0.999, 0]])
    assert np.all(np.isfinite(weights([[1, 2], [-2, 1]], method)))


def test_a_gramian_that_is_not_finite_changes_no_target():
    method = laws.built(make, 2)
    weights([[1, 0], [-1, 1]], method)
    before = method.targets.numpy()
    gramian = tf.constant([[1.0, np.nan], [np.nan, 1.0]])
    assert method.call(None, gramian, tf.ones(2, tf.bool)).numpy().tolist() == [1, 1]
    assert np.array_equal(before, method.targets) and before[0, 1] < 0


def test_arguments_are_in_the_config():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(GradVac(0.5, seed=7)))
    assert (again.beta, again.seed) == (0.5, 7)


def test_errors():
    with pytest.raises(ValueError, match="`beta` must be a share: at least 0 and less than 1. Received: 1"):
        GradVac(beta=1)
