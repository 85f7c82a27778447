"""The gradients of the tasks: what they share, and how one step is made of them."""
import tensorflow as tf

from ..distributing import summed
from .weighting.weighting import GradientCombination, gramian_of, weighted


class TaskGradients:
    """The gradients of several tasks with respect to a list of tensors.

    Args:
        tensors: the variables, or other tensors.
        found: `[[gradient or None]]`, for each task one for each tensor; None: the task doesn't reach it.
        scale: what the losses were multiplied by.
        always: places of tensors that count as shared although one task alone reaches them (for what a method keeps).
    """

    def __init__(self, tensors, found, scale, always=()):
        self.columns = [[None if g is None else tf.convert_to_tensor(g) for g in column] for column in zip(*found)]
        reached = [sum(g is not None for g in column) for column in self.columns]
        self.single = [k for k, count in enumerate(reached) if count == 1]
        self.shared = [k for k, count in enumerate(reached) if count > 1 or k in always]
        self.stacks = [_stacked(self.columns[k], tensors[k]) / scale for k in self.shared]
        self.scale = scale

    def reduced(self, strategy):
        """Sums over the replicas what the tasks share."""
        self.stacks = summed(self.stacks, strategy) if self.stacks else self.stacks
        return self

    def gramian(self):
        """Returns the products of what the tasks share."""
        return self._products(self)

    def gramian_of_halves(self, other, share, other_share):
        """Returns the products of these gradients with those of the other half of the batch, the mean of both orders.

        Shares are of the labels of each task, `(tasks,)`: gradients are divided by them, so that each half is as the whole.
        """
        products = tf.math.divide_no_nan(self._products(other), share[:, None] * other_share[None, :])
        return (products + tf.transpose(products)) / 2

    def _products(self, other):
        tasks = len(self.columns[0])
        return gramian_of(self.stacks, other.stacks) if self.stacks else tf.zeros((tasks, tasks))

    def with_step(self, step, replicas=1):
        """Returns a gradient for each tensor: those of `step` where tasks share it, else the one task's own, else None."""
        result = [None] * len(self.columns)
        for k in self.single:
            result[k] = next(g for g in self.columns[k] if g is not None)
        for k, gradient in zip(self.shared, step):
            if k not in self.single:
                own = next((g for g in self.columns[k] if g is not None), None)
                result[k] = None if own is None else tf.cast(gradient * self.scale / replicas, own.dtype)
        return result


def total_of(a, b):
    """Returns the sum of two gradients, either of which may be None."""
    return b if a is None else a if b is None else tf.convert_to_tensor(a) + tf.convert_to_tensor(b)


def _stacked(column, like):
    return tf.stack([tf.zeros(tf.shape(like)) if g is None else tf.cast(g, tf.float32) for g in column])


def step_of(weighting, gradients, losses, gramian, present):
    """Returns the step, a tensor for each shared one, and the weights `(tasks,)`, None where a method has none.

    Args:
        weighting: a `Weighting`.
        gradients: `[(tasks, ...)]`, one for each shared tensor.
        losses: `(tasks,)`.
        gramian: `(tasks, tasks)`.
        present: bool `(tasks,)`.
    """
    if isinstance(weighting, GradientCombination):
        step = weighting.combine(gradients, losses, present) if gradients else []
        return step, weighting.last_weights(present)
    weights, _ = weighting.weigh(losses, gramian, present)
    return weighted(weights, gradients), weights
