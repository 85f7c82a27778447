"""Losses and gradients that are no numbers: found before the step, told by name, with all weights as they were."""
import re

import tensorflow as tf

from ..fitting import Fault

_MARK = "keras_transfer fault"
_ADVICE = ("No weight was trained by that step. The rate may be too high (kt.find_learning_rate suggests one), or the data "
           "hold NaN.")


class Faults:
    """Watches the steps of a learner.

    In a plain graph an assertion stops the step before anything is assigned. XLA knows no assertions: there the step is
    left out, and what was wrong is noted and told as soon as the call of the compiled function is over.

    Args:
        tasks: their names.
        compiled: whether the step is compiled by XLA.
    """

    def __init__(self, tasks, compiled):
        self.tasks = list(tasks)
        self.noted = tf.Variable([-1, 0], dtype=tf.int64, trainable=False) if compiled else None  # what, and in which batch
        self.epoch = None  # which `fit` is in

    def check(self, batch, held=(), *, losses=None, total=(), gramian=(), gradients=()):
        """Returns what must be known before anything is assigned: a bool scalar, whether all is finite.

        Args:
            batch: its number in the epoch, from 1 on.
            held: `[(variable, value)]`: what the variables get back if it isn't.
            losses: `(tasks,)`; or a function that returns them, called only if `total` isn't finite; or None.
            total: the sum of the losses, those of the layers among them.
            gramian: `(tasks, tasks)`.
            gradients: a list of tensors.
        """
        whole = [tf.reduce_all(tf.math.is_finite(given)) for given in (total, gramian, squares_of(gradients))]
        each = losses
        if callable(losses):
            each = tf.cond(whole[0], lambda: tf.zeros(len(self.tasks)), losses)
        each = tf.ones(len(self.tasks), bool) if losses is None else tf.math.is_finite(each)
        good, batch = tf.concat([each, whole], 0), tf.cast(batch, tf.int64)
        which, fine = tf.argmin(tf.cast(good, tf.int32)), tf.reduce_all(good)
        if self.noted is not None:
            before = self.noted[0] < 0
            self.noted.assign(tf.where(before & ~fine, tf.stack([which, batch]), self.noted))
            fine &= before
        given_back = give_back(held, unless=fine)
        if self.noted is None:
            with tf.control_dependencies(given_back), tf.control_dependencies([tf.debugging.Assert(fine, [_MARK, which, batch])]):
                return tf.identity(fine)
        return fine

    def guard(self, fine, update):
        """Runs `update`, if the step is `fine`, as `check` returned it, and not before that is known."""
        with tf.control_dependencies([fine]):
            update() if self.noted is None else tf.cond(fine, update, lambda: None)

    def watched(self, run):
        """Returns `run`, what is wrong within it raised as a ValueError in plain words."""
        def told(*args):
            try:
                result = run(*args)
            except tf.errors.InvalidArgumentError as error:
                found = re.search(rf"{_MARK}\W+(\d+)\W+(\d+)", str(error))
                if found is None:
                    raise
                raise self._error(int(found[1]), int(found[2])) from None
            if self.noted is not None and int(self.noted[0]) >= 0:
                which, batch = self.noted.numpy().tolist()
                self.noted.assign([-1, 0])
                raise self._error(which, batch)
            return result

        return told

    def _error(self, which, batch):
        what = ([f"The loss of task {task!r} is" for task in self.tasks] + [
            "The loss of the layers (regularizers, `add_loss`) is", "Products of the tasks' gradients are", "Gradients are"])[which]
        where = f"batch {batch}" if self.epoch is None else f"batch {batch} of epoch {self.epoch}"
        return Fault(f"{what} NaN or infinite in {where}. {_ADVICE}")


def squares_of(gradients):
    """Returns the sum of the squares of all numbers, finite only if all of them are: one pass, and no mask to be kept."""
    numbers = [tf.cast(g.values if isinstance(g, tf.IndexedSlices) else g, tf.float32) for g in gradients if g is not None]
    return tf.add_n([tf.nn.l2_loss(n) for n in numbers]) if numbers else tf.zeros(())


def held(variables):
    """Returns `[(variable, value)]`, for `give_back`."""
    return [(v, tf.identity(v.value)) for v in variables]


def give_back(held, unless=False):
    """Gives variables the values that they had, unless the bool scalar is True; returns what they have then."""
    for variable, value in held:
        variable.assign(tf.where(unless, variable.value, value))
    return [tf.identity(variable.value) for variable, _ in held]
