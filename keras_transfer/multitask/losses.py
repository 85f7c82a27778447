"""The loss of each task, what is there of its labels, and what is wrong with it."""
import math
import numbers

import keras
import tensorflow as tf

from .. import _check
from ..masking import masked_in, split_missing


class TaskLosses:
    """The losses of a compiled learner, one by one.

    Args:
        tasks: the names of the outputs.
        loss: `{task: loss}`, as `compile` takes it.
        weights: `{task: number}`, or None.
    """

    def __init__(self, tasks, loss, weights):
        if not isinstance(loss, dict):
            raise ValueError(f"`loss` must be a dict with a loss for each of the heads {', '.join(tasks)}, as "
                             f"kt.objectives(model) gives it. Received: {loss!r}")
        _check_weights(weights, tasks)
        for what, given in (("`loss`", loss), ("`loss_weights`", weights or {})):
            for name in given:
                _check.one_of(name, tasks, f"key of {what}")
        lacking = [task for task in tasks if loss.get(task) is None or weights is not None and task not in weights]
        if lacking:
            raise ValueError(f"`loss` and `loss_weights` must cover all heads; they lack {', '.join(lacking)}. "
                             "kt.objectives(model) gives them for all.")
        self.losses = {task: _as_loss(loss[task]) for task in tasks}
        self.weights = {task: 1.0 if weights is None else float(weights[task]) for task in tasks}

    def __call__(self, y, y_pred, sample_weight):
        """Returns the loss of each task times its loss weight, a list of float32 scalars."""
        return [self.weights[task] * tf.cast(loss(y[task], y_pred[task], _of(sample_weight, task)), tf.float32)
                for task, loss in self.losses.items()]

    def seen(self, y):
        """Returns the number of labels of each task in a batch, float32 `(tasks,)`."""
        return tf.stack([_labels(y[task], masked_in(loss)) for task, loss in self.losses.items()])


def _check_weights(weights, tasks):
    if not isinstance(weights, (dict, type(None))):
        raise ValueError(f"`loss_weights` must be a dict with a number for each of the heads {', '.join(tasks)}. Received: "
                         f"{weights!r}")
    for task, weight in (weights or {}).items():
        if not isinstance(weight, numbers.Real) or not 0 <= weight < math.inf:
            raise ValueError(f"`loss_weights` must be numbers of at least 0. Received for {task!r}: {weight!r}")


def _as_loss(given):
    loss = keras.losses.get(given)
    return loss if isinstance(loss, keras.losses.Loss) else _Function(loss)


class _Function(keras.losses.Loss):
    """A plain function as a loss with sample weights."""

    def __init__(self, function):
        super().__init__(name=getattr(function, "__name__", None))
        self.function = function

    def call(self, y_true, y_pred):
        if y_pred.shape[-1] == 1 and len(y_true.shape) == len(y_pred.shape) - 1:
            y_true = y_true[..., None]  # as Keras has it
        return self.function(y_true, y_pred)


def _of(sample_weight, task):
    return sample_weight[task] if isinstance(sample_weight, dict) else sample_weight


def _labels(y, mask):
    if mask is None:
        return tf.cast(tf.shape(y)[0], tf.float32)
    return tf.reduce_sum(tf.cast(split_missing(y, mask.missing)[1], tf.float32))
