import numpy as np
import pytest
from scipy.special import softmax

from keras_transfer.multitask.weighting.rlw import RLW
from multitask.weighting import laws


@pytest.mark.parametrize("law", laws.RANDOM)
def test_laws(law):
    assert law(lambda: RLW(seed=0))


def drawn(weighting, count, tasks=3, present=None):
    return np.stack([laws.weights_of(weighting, np.ones(tasks), present=present) for _ in range(count)])


def test_weights_are_on_the_simplex_and_change_at_every_step():
    weights = drawn(laws.built(lambda: RLW(seed=0)), 20)
    assert np.allclose(weights.sum(1), 1) and np.all(weights > 0) and len(np.unique(weights[:, 0])) == 20


def test_are_the_softmax_of_standard_normal_draws():
    weights = drawn(laws.built(lambda: RLW(seed=1)), 1500)
    # log w_0 - log w_1 = z_0 - z_1 has mean 0 and variance 2
    difference = np.log(weights[:, 0] / weights[:, 1])
    assert abs(difference.mean()) < 0.12 and abs(difference.var() - 2) < 0.25
    expected = softmax(np.random.default_rng(0).normal(size=(100000, 3)), axis=1)
    assert np.allclose(weights.mean(0), 1 / 3, atol=0.025)
    assert np.allclose(weights.std(0), expected.std(0), atol=0.015)


def test_losses_do_not_matter():
    one, other = laws.built(lambda: RLW(seed=3)), laws.built(lambda: RLW(seed=3))
    assert np.array_equal(laws.weights_of(one, [1, 2, 3]), laws.weights_of(other, [100, 0, -1]))


def test_scaling():
    assert laws.scaling(lambda: RLW(seed=0), degree=1) and laws.task_scaling_of_weights(lambda: RLW(seed=0))


def lopsided(weights):
    """By how many standard errors the statistics of the tasks lie apart: means, squares, shares of largest weights."""
    tasks = weights.shape[1]
    largest = np.eye(tasks)[weights.argmax(1)]
    pairs = np.stack([weights[:, i] * weights[:, j] for i in range(tasks) for j in range(i)], 1)
    errors = []
    for statistic in (weights, weights**2, np.log(weights), largest, pairs):
        apart = statistic[:, :, None] - statistic[:, None, :]
        error = apart.std(0) / np.sqrt(len(weights)) + np.eye(statistic.shape[1])
        errors.append(np.max(np.abs(apart.mean(0)) / error))
    return max(errors)


def test_tasks_in_another_order_have_the_same_distribution():
    weights = drawn(laws.built(lambda: RLW(seed=5), 4), 1500, tasks=4)
    assert lopsided(weights) < 4
    favoured = weights * [1.3, 1.0, 1.0, 1.0]
    assert lopsided(favoured / favoured.sum(1, keepdims=True)) > 6, "the control"


def test_an_absent_task_leaves_the_proportions_of_the_others():
    full = laws.weights_of(laws.built(lambda: RLW(seed=3)), [1, 1, 1])
    gap = laws.weights_of(laws.built(lambda: RLW(seed=3)), [1, 0, 1], present=[True, False, True])
    assert gap[1] == 0 and np.isclose(gap.sum(), 1) and np.isclose(gap[0] / gap[2], full[0] / full[2])


def test_seeds_repeat_and_differ():
    one, same, other = (drawn(laws.built(lambda s=s: RLW(seed=s)), 3) for s in (3, 3, 4))
    assert np.array_equal(one, same) and not np.allclose(one, other)
    assert not np.allclose(drawn(laws.built(RLW), 1), drawn(laws.built(RLW), 1))
