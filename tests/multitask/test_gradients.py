"""What the tasks share among their gradients, and how one step is made of it: by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask import GradientCombination, Weighting
from keras_transfer.multitask.gradients import TaskGradients, step_of

A, B = tf.Variable([1.0, 2.0]), tf.Variable([[3.0]])
C, D = tf.Variable(4.0), tf.Variable([5.0])
FOUND = [  # for each of two tasks: A of both, B of the second, C of the first, D of none
    [tf.constant([2.0, 4.0]), None, tf.constant(6.0), None],
    [tf.constant([-8.0, 2.0]), tf.constant([[10.0]]), None, None],
]


def made(**options):
    return TaskGradients([A, B, C, D], FOUND, tf.constant(2.0), **options)


def numbers(tensors):
    return [None if t is None else t.numpy().tolist() for t in tensors]


def test_what_several_reach_is_stacked_without_the_scale_and_what_one_reaches_is_left_as_it_is():
    gradients = made()
    assert (gradients.shared, gradients.single) == ([0], [1, 2])
    assert numbers(gradients.stacks) == [[[1.0, 2.0], [-4.0, 1.0]]]
    step = gradients.with_step([tf.constant([7.0, 9.0])])  # scaled again, since the optimizer takes the scale out
    assert numbers(step) == [[14.0, 18.0], [[10.0]], 6.0, None]


def test_each_of_two_replicas_hands_on_half_of_what_all_share_and_all_of_its_own():
    step = made().with_step([tf.constant([7.0, 9.0])], replicas=2)
    assert numbers(step) == [[7.0, 9.0], [[10.0]], 6.0, None]


def test_places_that_are_always_kept_are_stacked_with_zeros_for_who_does_not_reach_them():
    gradients = made(always=(1, 3))
    assert (gradients.shared, gradients.single) == ([0, 1, 3], [1, 2])
    assert numbers(gradients.stacks)[1:] == [[[[0.0]], [[5.0]]], [[0.0], [0.0]]]
    step = gradients.with_step([tf.ones(2), tf.fill([1, 1], 99.0), tf.fill([1], 99.0)])
    assert numbers(step) == [[2.0, 2.0], [[10.0]], 6.0, None]  # the one task's own, and none is made up


def test_the_gramian_by_hand():
    assert made().gramian().numpy().tolist() == [[5.0, -2.0], [-2.0, 17.0]]


def halves():
    """Those of two halves of a batch: A of both tasks, B of the second, C of the first, D of none."""
    one = [[tf.constant([1.0, 0.0]), None, tf.constant(6.0), None], [tf.constant([0.0, 2.0]), tf.constant([[1.0]]), None, None]]
    other = [[tf.constant([3.0, 5.0]), None, tf.constant(1.0), None], [tf.constant([7.0, 1.0]), tf.constant([[2.0]]), None, None]]
    return (TaskGradients([A, B, C, D], found, 1.0) for found in (one, other))


def test_the_gramian_of_two_halves_by_hand():
    one, other = halves()
    half, third, all_of_it = tf.constant([0.5, 0.5]), tf.constant([0.5, 0.25]), tf.constant([1.0, 0.0])
    # one x other' = [[3, 7], [10, 2]]; other x one' is its transpose; each gradient through its share of the labels
    assert one.gramian_of_halves(other, half, half).numpy().tolist() == [[12.0, 34.0], [34.0, 8.0]]
    assert one.gramian_of_halves(other, half, third).numpy().tolist() == [[12.0, 48.0], [48.0, 16.0]]
    assert one.gramian_of_halves(other, half, all_of_it).numpy().tolist() == [[6.0, 10.0], [10.0, 0.0]], "not infinite"


def test_tasks_that_share_nothing_have_a_gramian_of_zeros_and_steps_of_their_own():
    gradients = TaskGradients([B, C], [[None, tf.constant(6.0)], [tf.constant([[10.0]]), None]], 1.0)
    assert gradients.gramian().numpy().tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert gradients.reduced(tf.distribute.get_strategy()).stacks == []
    weighting = kt.multitask.PCGrad()
    step, weights = step_of(weighting, [], *context(gradients.gramian(), weighting))
    assert step == [] and weights.numpy().tolist() == [1.0, 1.0]
    assert numbers(gradients.with_step(step)) == [[[10.0]], 6.0]
    assert step_of(Largest(), [], *context(gradients.gramian(), Largest())) == ([], None)


def test_slices_of_embeddings_and_halves_become_dense_float32():
    table = tf.Variable(tf.zeros((3, 1)))
    slices = tf.IndexedSlices(tf.constant([[1.0], [2.0]]), tf.constant([2, 2]), tf.constant([3, 1]))
    gradients = TaskGradients(
        [table, A], [[slices, tf.cast(FOUND[0][0], "float16")], [tf.ones((3, 1)), FOUND[1][0]]], 1.0
    )
    assert numbers(gradients.stacks)[0] == [[[0.0], [0.0], [3.0]], [[1.0], [1.0], [1.0]]]
    assert {stack.dtype for stack in gradients.stacks} == {tf.float32}
    step = gradients.with_step([tf.ones((3, 1)), tf.ones(2)])
    assert [g.dtype for g in step] == [tf.float32, tf.float16]  # the tensor's own


class Largest(GradientCombination):
    """Of each element the largest gradient of those present."""

    def combine(self, gradients, losses, present):
        return [tf.reduce_max(tf.boolean_mask(g, present), 0) for g in gradients]


def context(gramian, weighting, present=(True, True)):
    weighting.build(2)
    return tf.constant([3.0, 5.0]), gramian, tf.constant(present)


def test_a_step_is_the_weighed_sum_or_what_a_method_makes_of_the_gradients():
    class ByLoss(Weighting):
        def call(self, losses, gramian, present):
            return losses * tf.linalg.diag_part(gramian) * tf.cast(present, tf.float32)

    stacks = [tf.constant([[1.0, 2.0], [-4.0, 1.0]]), tf.constant([10.0, 20.0])]
    rest = context(tf.linalg.diag([2.0, 1.0]), ByLoss())
    step, weights = step_of(ByLoss(), stacks, *rest)
    assert weights.numpy().tolist() == [6.0, 5.0]
    assert numbers(step) == [[6 - 20.0, 12 + 5.0], 160.0]
    step, _ = step_of(ByLoss(), stacks, *rest[:2], tf.constant([True, False]))
    assert numbers(step) == [[6.0, 12.0], 60.0]
    step, weights = step_of(Largest(), stacks, *rest)
    assert weights is None and numbers(step) == [[1.0, 2.0], 20.0]


@pytest.mark.parametrize("scale", [1.0, 2.0**15])
def test_a_round_trip_of_the_plain_sum_is_the_gradient_of_the_sum(scale):
    """With all weights one, in float64 by NumPy."""
    random = np.random.default_rng(0)
    raw = random.normal(size=(3, 2, 4)).astype("float32")
    gradients = TaskGradients([A, A], [[tf.constant(g * scale) for g in task] for task in raw], scale)
    step, _ = step_of(kt.multitask.Equal(), gradients.stacks, tf.ones(3), gradients.gramian(), tf.constant([True] * 3))
    np.testing.assert_allclose([g.numpy() for g in gradients.with_step(step)], raw.sum(0) * scale, rtol=1e-5)
    rows = raw.reshape(3, -1).astype("float64")
    np.testing.assert_allclose(gradients.gramian(), rows @ rows.T, rtol=1e-5)
    assert keras.ops.ndim(gradients.gramian()) == 2
