"""What all weightings have in common."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.weighting.weighting import (
    GradientCombination,
    LearnedWeighting,
    Weighting,
    count,
    gramian_of,
    masked,
    weighted,
)

RANDOM = np.random.default_rng(0)
GRADIENTS = [tf.constant(RANDOM.normal(size=(3, *shape)), tf.float32) for shape in ((4,), (2, 5), ())]


def rows(gradients):
    return np.concatenate([np.reshape(g, (3, -1)) for g in gradients], 1)


def test_the_gramian_is_that_of_the_gradients_put_together():
    expected = rows(GRADIENTS) @ rows(GRADIENTS).T
    np.testing.assert_allclose(gramian_of(GRADIENTS), expected, rtol=1e-5)
    other = [2 * g[::-1] for g in GRADIENTS]
    np.testing.assert_allclose(gramian_of(GRADIENTS, other), 2 * expected[:, ::-1], rtol=1e-5)


def test_the_weighted_sum_has_the_variables_shapes():
    step = weighted(tf.constant([1.0, -2.0, 0.5]), GRADIENTS)
    assert [g.shape.as_list() for g in step] == [[4], [2, 5], []]
    flat = np.concatenate([np.ravel(g) for g in step])
    np.testing.assert_allclose(flat, [1, -2, 0.5] @ rows(GRADIENTS), rtol=1e-5, atol=1e-6)


def test_absent_tasks_are_masked_whatever_they_hold():
    present = tf.constant([True, False, True])
    assert masked(tf.constant([1.0, np.nan, 2.0]), present).numpy().tolist() == [1, 0, 2]
    assert float(count(present)) == 2


class Squares(LearnedWeighting):
    """s_t L_t^2 + s_t, with a scale s for each task."""

    def build(self, tasks, shapes=()):
        self.s = self.add_weight(shape=(tasks,), initializer=keras.initializers.Constant(3.0))
        super().build(tasks, shapes)

    def objective(self, losses, present):
        return tf.reduce_sum(masked(self.s * losses**2 + self.s, present))


def test_a_learned_weighting_gives_the_gradients_of_its_objective():
    weighting = Squares()
    weighting.build(2)
    weights, own = weighting.weigh(tf.constant([2.0, 5.0]), None, tf.constant([True, False]))
    assert weights.numpy().tolist() == [12, 0]  # 2 s L
    assert [g.numpy().tolist() for g in own] == [[5, 0]]  # L^2 + 1
    assert weighting.call(tf.constant([2.0, 5.0]), None, tf.constant([True, False])).numpy().tolist() == [12, 0]


@pytest.mark.parametrize("base, method, arguments", [
    (Weighting, "call", (None, None, None)),
    (LearnedWeighting, "objective", (None, None)),
    (GradientCombination, "combine", (None, None, None)),
])
def test_what_a_subclass_must_define_is_said(base, method, arguments):
    with pytest.raises(NotImplementedError, match=f"{base.__name__} defines no `{method}`"):
        getattr(base(), method)(*arguments)


def test_number_of_tasks_and_shapes_are_kept_with_the_layer():
    weighting = Squares()
    assert weighting.get_build_config() is None and weighting.name == "squares"
    weighting.build(2, [(3, 4), ()])
    assert weighting.get_build_config() == {"tasks": 2, "shapes": [(3, 4), ()]}
    again = Squares.from_config(weighting.get_config())
    again.build_from_config(weighting.get_build_config())
    assert again.tasks == 2 and again.s.shape == (2,)
