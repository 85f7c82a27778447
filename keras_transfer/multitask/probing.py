"""Looks at the tasks of a model, and leaves no trace."""
import contextlib

import keras
import numpy as np
import tensorflow as tf

from .. import _compat
from ..assembling import heads_of, objectives
from ..fitting import check_data, info_of
from ..heads import Classifier, MultiLabel, Ordinal, Regressor
from ..network import model_of
from ..rates import remade
from .learner import MultiTask


def learner_of(model, weighting=None, at=None, **changed):
    """Returns a new, compiled `MultiTask` of a model.

    Args:
        model: what `kt.attach` returned, or any Functional model that is compiled, or a learner. Compiled: its losses and
            the settings of its optimizer are used; else those of `kt.objectives` and Adam.
        weighting: as for `kt.MultiTask`.
        at: as for `kt.MultiTask`.
        **changed: settings of the optimizer, such as `learning_rate`, in the place of the model's.
    """
    given = _compat.compile_arguments(model) if model.compiled else objectives(model)
    with model.distribute_strategy.scope():
        optimizer = remade(model.optimizer if model.compiled else keras.optimizers.Adam(), **changed)
        learner = MultiTask(model_of(model), weighting, at=at)
        learner.compile(optimizer=optimizer, loss=given["loss"], loss_weights=given.get("loss_weights"))
    return learner


def first_batches(model, dataset, count):
    """Returns the first `count` batches of a data set, or all if there are fewer: a list of (x, y, sample weights or None).

    Args:
        model: whose data they are.
        dataset: a `tf.data.Dataset`, a `keras.utils.PyDataset` or a tuple of arrays, as for `fit`.
        count: a number.
    """
    dataset = check_data(model_of(model), dataset, "dataset")
    if isinstance(dataset, keras.utils.PyDataset):
        found = [dataset[k] for k in range(min(count, dataset.num_batches or count))]
    elif isinstance(dataset, tuple):
        found = list(tf.data.Dataset.from_tensor_slices(dataset).batch(32).take(count))
    else:
        epoch = getattr(info_of(dataset), "epoch", None)
        number = None if epoch is None else epoch.numpy()
        found = list(dataset.take(count))
        if epoch is not None:
            epoch.assign(number)  # so that training has the same order as without a look
    if not found:
        raise ValueError("`dataset` is empty: there is nothing to look at.")
    return [keras.tree.map_structure(_tensor, keras.utils.unpack_x_y_sample_weight(batch)) for batch in found]


def made_up_batch(model, rows):
    """Returns (x, y, None) of random numbers, `rows` of them, as the inputs and heads of `model` want them.

    Raises:
        ValueError: the model doesn't tell what to draw.
    """
    random = np.random.default_rng(0)
    x = keras.tree.map_structure(lambda tensor: _numbers(random, tensor, rows), _compat.input_structure(model))
    return x, {name: tf.constant(_labels(random, name, head, rows)) for name, head in heads_of(model).items()}, None


def _numbers(random, tensor, rows):
    shape = tuple(tensor.shape[1:])
    if None in shape or tensor.dtype == "string":
        raise ValueError(f"The input {tensor.name!r} of shape {shape} and type {tensor.dtype} doesn't tell what to draw for it. "
                         "Give a `dataset`.")
    kind = tf.as_dtype(tensor.dtype)
    drawn = random.normal(size=(rows, *shape)) if kind.is_floating else np.zeros((rows, *shape))  # 0 is in every vocabulary
    return tf.cast(drawn, kind)


def _labels(random, name, head, rows):
    if not head.has_default_loss:
        raise ValueError(f"The head {name!r} has a loss of your own, which doesn't tell what labels to draw for it. Give a `dataset`.")
    if isinstance(head, MultiLabel):
        return random.integers(0, 2, (rows, head.units))
    if isinstance(head, (Classifier, Ordinal)):
        return random.integers(0, len(head.class_names), rows)
    if isinstance(head, Regressor):
        return random.normal(size=(rows, head.units)).astype("float32")
    raise ValueError(f"The head {name!r} is a {type(head).__name__}, which doesn't tell what labels to draw for it. Give a "
                     "`dataset`.")


def _tensor(leaf):
    return None if leaf is None else tf.convert_to_tensor(leaf)


@contextlib.contextmanager
def restored(variables):
    """Puts the values that variables had at the beginning back at the end, to the bit."""
    before = [(v, v.numpy()) for v in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


class Probe:
    """The losses of the tasks and their gradients, for a batch (x, y, sample weights or None).

    Args:
        model: as for `learner_of`.
        tensors: variables of the model.
        at: the name of a layer; its output then takes the place of `tensors`.
        training: whether the model runs as in training, with dropout and moving statistics.
    """

    def __init__(self, model, tensors=(), at=None, training=False):
        learner = learner_of(model, at=at)
        self.tasks, tensors = learner.tasks, [v.value for v in tensors]

        def losses_of(x, y, sample_weight):
            y_pred = learner.model(x, training=training)
            return tf.stack(learner.task_losses(y, y_pred, sample_weight)), learner.task_losses.seen(y) > 0

        def gradients_of(x, y, sample_weight):
            with tf.GradientTape(persistent=True) as tape:
                features = None if at is None else learner.trunk(x, training=training)
                tape.watch([] if features is None else features)
                y_pred = learner.model(x, training=training) if at is None else learner.top(features, training=training)
                losses = learner.task_losses(y, y_pred, sample_weight)
            sources = tensors if at is None else [features]
            found = [tape.gradient(loss, sources, unconnected_gradients="zero") for loss in losses]
            stacks = [tf.cast(tf.stack([tf.convert_to_tensor(g) for g in column]), tf.float32) for column in zip(*found)]
            return stacks, tf.stack(losses), learner.task_losses.seen(y) > 0

        self.losses = tf.function(losses_of, reduce_retracing=True)
        self.gradients = tf.function(gradients_of, reduce_retracing=True)
