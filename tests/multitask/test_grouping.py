import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask.grouping import Affinities, affinity, group, score
from multitask import small
from multitask.test_conflicting import linear, rows


def partitions(items):
    """All partitions of a list, by where the first item goes."""
    if not items:
        yield []
        return
    first, *others = items
    for part in partitions(others):
        yield [[first], *part]
        for k in range(len(part)):
            yield [*part[:k], [first, *part[k]], *part[k + 1:]]


def by_brute_force(matrix, groups):
    """The highest total, its definition written out."""
    def total(part):
        larger = [members for members in part if len(members) > 1]
        return sum(np.mean([matrix[i, j] for i in members if i != j]) for members in larger for j in members)

    return max(total(part) for part in partitions(list(range(len(matrix)))) if len(part) <= groups)


def table(matrix):
    return Affinities([f"t{k}" for k in range(len(matrix))], np.asarray(matrix, float))


@pytest.mark.parametrize("tasks, groups", itertools.product([2, 3, 5, 6], [1, 2, 3, 6]))
def test_groups_are_as_good_as_the_best_of_all_partitions(tasks, groups):
    for seed in range(5):
        matrix = np.random.default_rng(seed).normal(size=(tasks, tasks))
        found = group(table(matrix), groups)
        assert len(found) <= groups and sorted(sum(found, [])) == [f"t{k}" for k in range(tasks)]
        total = sum(score(matrix, [int(name[1:]) for name in members]) for members in found)
        assert total == pytest.approx(by_brute_force(matrix, groups))


def test_a_planted_partition_of_twelve_tasks_is_found():
    team = np.arange(12) % 3
    matrix = np.where(team[:, None] == team, 0.2, -0.1) + 0.05 * np.random.default_rng(0).normal(size=(12, 12))
    assert group(table(matrix), 3) == [[f"t{k}" for k in range(first, 12, 3)] for first in range(3)]
    assert len(group(table(matrix), 2)) == 2


def test_scores_by_hand():
    matrix = np.array([[9.0, 1.0, 2.0], [3.0, 9.0, 4.0], [5.0, 6.0, 9.0]])
    assert score(matrix, [1]) == 0 and score(matrix, [0, 2]) == 7  # Z_02 + Z_20
    assert score(matrix, [0, 1, 2]) == (3 + 5) / 2 + (1 + 6) / 2 + (2 + 4) / 2


def test_tasks_that_harm_each_other_are_left_alone_if_there_are_groups_enough():
    harm = -np.ones((3, 3))
    assert group(table(harm), 3) == [["t0"], ["t1"], ["t2"]]
    assert group(table(harm), 1) == [["t0", "t1", "t2"]]
    assert group(table(-harm), 3) == [["t0", "t1", "t2"]]


def test_what_cannot_be_grouped():
    with pytest.raises(ValueError, match="The search is exact and takes 12 tasks at most. Received 13: leave"):
        group(table(np.zeros((13, 13))), 2)
    with pytest.raises(ValueError, match="`groups` must be a whole number of at least 1. Received: 0"):
        group(table(np.zeros((2, 2))), 0)
    matrix = np.full((2, 2), np.nan)
    with pytest.raises(ValueError, match="The affinity of 't0' to 't1' isn't known: they never had labels"):
        group(table(matrix), 2)
    matrix[0, 1] = matrix[1, 0] = 1.0
    assert group(table(matrix), 2) == [["t0", "t1"]]  # a task's own isn't needed


def opposed():
    model = linear({"up": [1, 0], "down": [1, 0], "again": [1, 0]})
    model.get_layer("backbone").layers[-1].set_weights([np.zeros((2, 2), "float32")])
    return model, rows({"up": 1, "down": -1, "again": 1})


def test_a_step_helps_its_own_task_and_its_like_and_harms_the_opposite():
    model, data = opposed()
    found = affinity(model, data, steps=1)
    sign = np.array([[1, -1, 1], [-1, 1, -1], [1, -1, 1]])
    assert found.tasks == ["up", "down", "again"] and np.array_equal(np.sign(found.matrix), sign)
    assert np.allclose(found.matrix[0], found.matrix[2], atol=1e-6)
    assert group(found, 2) == [["up", "again"], ["down"]]


def test_one_step_by_hand():
    """One row x = (1, 0), W = 0, head (1, 0), labels 1 and -1: L = 1, the gradient on W_11 is -2 and 2.

    After a step of rate 0.1 for "up" W_11 = 0.2, so L_up = 0.8^2 and L_down = 1.2^2.
    """
    model = linear({"up": [1, 0], "down": [1, 0]})
    model.get_layer("backbone").layers[-1].set_weights([np.zeros((2, 2), "float32")])
    data = np.array([[1.0, 0.0]], "float32"), {"up": np.ones(1, "float32"), "down": -np.ones(1, "float32")}
    found = affinity(model, data, steps=1, rate=0.1).matrix
    assert np.allclose(found, [[0.36, -0.44], [-0.44, 0.36]], atol=1e-5)


def test_the_second_look_is_after_a_step_on_the_sum():
    """Labels 1, weights w = 0: a step on the sum moves w and the head's bias, and the next look starts from there."""
    model = linear({"first": [1, 0], "second": [0, 1]})
    model.get_layer("backbone").layers[-1].set_weights([np.zeros((2, 2), "float32")])
    x, y = np.array([[1.0, 0.0]] * 2, "float32"), {"first": np.ones(2, "float32"), "second": np.ones(2, "float32")}
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(1)
    found = affinity(model, data, steps=2, rate=0.1).matrix
    # at w = 0: 1 - 0.8^2. The sum moves w to 0.2 and the bias to 0.2, and the head's weight by 0, so that the residual
    # is 0.6; a step adds 2 * 0.1 * 0.6 = 0.12 to w: 1 - (0.48 / 0.6)^2. Both looks give 0.36
    assert np.allclose(found, [[0.36, 0], [0, 0.36]], atol=1e-5)
    agreed = linear({"first": [1, 0], "second": [1, 0]})
    agreed.get_layer("backbone").layers[-1].set_weights([np.zeros((2, 2), "float32")])
    # both pull w: the sum moves it to 0.4 and b to 0.2, so the residual is 0.4; 1 - (0.32 / 0.4)^2 = 0.36 again
    assert np.allclose(affinity(agreed, data, steps=2, rate=0.1).matrix, 0.36, atol=1e-5)


def test_weights_are_put_back_to_the_bit_and_nothing_is_drawn():
    model, data = small.network(norms=True, dropout=0.3), small.data()
    before = [v.numpy() for v in model.variables]
    first = affinity(model, data)
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, model.variables))
    assert np.array_equal(first.matrix, affinity(model, data).matrix)
    assert (np.diag(first.matrix) > 0).all()
    learner = kt.MultiTask(model, kt.multitask.Equal())
    learner.compile(optimizer=keras.optimizers.SGD(0.1), **kt.objectives(model))
    assert np.allclose(first.matrix, affinity(learner, data).matrix, atol=1e-6)


def test_batches_without_labels_of_a_task_say_nothing_of_it():
    model, (x, y) = opposed()
    y["again"][:6] = np.nan
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(6)
    first, both = affinity(model, data, steps=1).matrix, affinity(model, data, steps=2).matrix
    assert np.isnan(first[2]).all() and np.isnan(first[:, 2]).all() and first[0, 0] > 0 > first[0, 1]
    assert not np.isnan(both).any()


def test_it_prints_as_a_table():
    found = Affinities(["a", "b"], np.array([[0.5, -0.25], [0.125, 1.0]]))
    assert str(found).splitlines() == ["step of   on a   on b", "a          0.5  -0.25", "b        0.125      1"]
    assert repr(found) == str(found)


def test_wrong_arguments():
    model, data = opposed()
    with pytest.raises(ValueError, match="`steps` must be a whole number of at least 1. Received: 0"):
        affinity(model, data, steps=0)
    with pytest.raises(ValueError, match="`rate` must be a number over 0. Received: 0"):
        affinity(model, data, rate=0)
    with pytest.raises(TypeError, match="`affinities` must be what kt.multitask.affinity returned. Received: "):
        group(np.eye(2), 2)
    kt.freeze(model)
    with pytest.raises(ValueError, match="No variable that trains is shared by two tasks, so no step of one reaches"):
        affinity(model, data)
