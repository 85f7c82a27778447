"""The controls of the laws: for each one a weighting that breaks it, and is caught."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.multitask.weighting import Equal
from multitask.weighting import laws


class ByPlace(Equal):
    """The first task counts more."""

    def call(self, losses, gramian, present):
        return super().call(losses, gramian, present) * tf.range(1.0, self.tasks + 1.0)


class OfAll(Equal):
    """Divides by the number of all tasks."""

    def call(self, losses, gramian, present):
        return super().call(losses, gramian, present) / self.tasks


class Remembers(Equal):
    """Keeps a mean of losses, those of absent tasks too."""

    def build(self, tasks, shapes=()):
        self.mean = self.add_weight(shape=(tasks,), initializer="zeros", trainable=False)
        super().build(tasks, shapes)

    def call(self, losses, gramian, present):
        self.mean.assign(0.5 * self.mean + 0.5 * losses)
        return super().call(losses, gramian, present) * (1 + self.mean)


@keras.saving.register_keras_serializable("laws")
class Forgets(Equal):
    """Keeps its state in an attribute, which isn't saved."""

    count = 0

    def call(self, losses, gramian, present):
        self.count += 1
        return super().call(losses, gramian, present) * self.count


class AlwaysOne(Equal):
    """Weighs absent tasks too."""

    def call(self, losses, gramian, present):
        return tf.ones(self.tasks)


class Eager(Equal):
    """Leaves the graph."""

    def call(self, losses, gramian, present):
        return super().call(losses, gramian, present) * float(losses.numpy().max())


class InPython(Equal):
    """Has an operation that XLA doesn't know."""

    def call(self, losses, gramian, present):
        return tf.ensure_shape(tf.py_function(lambda p: tf.cast(p, tf.float32), [present], tf.float32), present.shape)


class Logs(Equal):
    """Takes the logarithm of whatever comes."""

    def call(self, losses, gramian, present):
        return tf.where(present, 1 + tf.math.log(losses) ** 2, 0.0)


class Ascends(Equal):
    """Goes up the loss."""

    def call(self, losses, gramian, present):
        return -super().call(losses, gramian, present)


BROKEN = [
    (laws.permutation, ByPlace),
    (laws.absent, OfAll),
    (laws.absent_state, Remembers),
    (laws.none_present, AlwaysOne),
    (laws.none_present, Remembers),
    (laws.saved, Forgets),
    (laws.graph, Eager),
    (laws.jit_compiled, InPython),
    (laws.jit_compiles, InPython),
    (laws.finite, Logs),
    (laws.one_task, Ascends),
    (laws.scaling, Remembers),
    (laws.task_scaling, Equal),
    (laws.task_scaling_of_weights, Remembers),
]


@pytest.mark.parametrize("law, broken", BROKEN)
def test_what_breaks_a_law_is_caught(law, broken):
    with pytest.raises((AssertionError, AttributeError, tf.errors.InvalidArgumentError, tf.errors.UnimplementedError)):
        law(broken)


@pytest.mark.parametrize("law", [*laws.ALL, laws.scaling, laws.task_scaling_of_weights, laws.jit_compiles])
def test_the_plain_sum_breaks_none(law):
    assert law(Equal)


def test_every_law_has_its_control():
    assert {*laws.ALL, *laws.RANDOM} <= {law for law, _ in BROKEN}


def test_batches_with_a_task_left_out_or_scaled():
    batch = laws.batches(1)[0]
    gap, part, twice = batch.without(1), batch.take([0, 2]), batch.scaled([1.0, 2.0, 1.0])
    assert gap.present.tolist() == [True, False, True] and gap.losses[1] == 0 and not np.any(gap.gradients[1][1])
    assert np.array_equal(gap.gradients[0][[0, 2]], part.gradients[0]) and len(part.losses) == 2
    assert np.array_equal(twice.gradients[1][1], 2 * batch.gradients[1][1]) and twice.losses[1] == 2 * batch.losses[1]
