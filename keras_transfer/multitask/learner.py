"""`kt.MultiTask`: a plain model with several heads, trained by the method that suits, inside `model.fit`."""
import functools
import inspect
import types

import keras
import tensorflow as tf

from .. import _check, _compat
from ..fitting import Fault, check_data, needed_by
from ..network import Network, check_keys, told_apart, trainable_flags
from .faults import Faults
from .losses import TaskLosses
from .reaching import shared_variables
from .stepping import Stepping
from .weighting import Weighting


@keras.saving.register_keras_serializable("keras_transfer")
class MultiTask(_compat.Replicated, Stepping):
    """Trains a model of several heads by a weighting of losses or gradients; the model itself stays a plain one.

    Compile and fit it as you would the model, which is trained when `fit` returns, and throw the learner away:
    `learner.model` is the model. Logs have each task's loss and metrics by name, and as `HEAD_weight` the method's weights,
    their means over the steps with labels; `loss` is the plain sum of the losses, each times its loss weight, also while
    the method weighs them otherwise, so that it's the one that `evaluate` gives.

    With `weighting=None` it trains as the model alone would, to the bit (compiled by XLA, within rounding). With any
    weighting and with none a loss that is NaN or infinite ends training at its batch, named, before any weight has changed.
    The plain sum, or `kt.multitask.Uncertainty`, is the one to begin with: methods on gradients take a backward pass a task
    (`kt.multitask.cost` measures it), and are worth it where tasks are at odds (`kt.multitask.conflicts` shows whether they
    are).

    Args:
        model: what `kt.attach` returned with a dict of at least two heads, or any Functional model with a dict of outputs.
        weighting: one of `kt.multitask`, such as `kt.multitask.PCGrad()`, or None.
        at: None: gradients are compared over all variables that at least two tasks reach. The name of a layer of `model`
            ("features"): at its output only, so that each task costs a pass through its head, and the backbone one
            pass in all.
        **options: `name` of a Keras model.

    Raises:
        ValueError: the model has no dict of two outputs, `at` is no layer that all paths go through, or the weighting can't
            be used with `at` or with so many tasks.

    Example:
        >>> learner = kt.MultiTask(model, weighting=kt.multitask.PCGrad(), at="features")
        >>> learner.compile(optimizer="adam", **kt.objectives(model))
        >>> learner.fit(train, validation_data=valid, epochs=10)
    """

    def __init__(self, model, weighting=None, *, at=None, **options):
        tasks = _tasks(model)
        with model.distribute_strategy.scope():  # where its own variables have to be, wherever the learner is made
            super().__init__(**{"dtype": model.dtype_policy, **options})  # which decides whether float16 is scaled
            self.tasks = tasks
            if weighting is not None and not isinstance(weighting, Weighting):
                raise TypeError("`weighting` must be one of kt.multitask, such as kt.multitask.PCGrad(), or None. "
                                f"Received: {weighting!r}")
            self.model, self.weighting, self.at = model, weighting, at
            self._cut = types.SimpleNamespace(trunk=None, top=None) if at is None else _cut(model, at)
            if weighting is not None:
                _check_at(weighting, at)
                weighting.name_tasks(self.tasks)
                if not weighting.built:
                    weighting.build(len(self.tasks), [tuple(v.shape) for v in shared_variables(model)])
                if weighting.tasks != len(self.tasks):
                    raise ValueError(f"`weighting` was made for another learner, of {weighting.tasks} tasks, and this one has "
                                     f"{len(self.tasks)}. Make a new one.")
            kept = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
            self.labelled, self.batch = tf.Variable(tf.zeros(len(self.tasks)), **kept), tf.Variable(0, dtype=tf.int64, **kept)
            has_weights = weighting is not None and weighting.has_weights
            means = [keras.metrics.Mean(name=f"{task}_weight") for task in self.tasks if has_weights]
            self.shown = types.SimpleNamespace(weights=means, in_epoch=False)  # metrics held directly Keras would take for its own
            self.built = True

    trunk = property(lambda self: self._cut.trunk)
    top = property(lambda self: self._cut.top)

    @property
    def output_names(self):
        return self.model.output_names

    def call(self, inputs, training=None):
        return self.model(inputs, training=training)

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, weighted_metrics=None, **options):
        for argument, value in [("metrics", metrics), ("weighted_metrics", weighted_metrics)]:
            check_keys(self.model, value, f"key of `{argument}`")
        self.task_losses = TaskLosses(self.tasks, loss, loss_weights)
        super().compile(optimizer=optimizer, loss=loss, loss_weights=loss_weights, metrics=metrics,
                        weighted_metrics=weighted_metrics, **options)
        self._compiled_flags = trainable_flags(self.model)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def make_train_function(self, force=False):
        if not force and self._compiled_flags != trainable_flags(self.model):
            raise ValueError("What trains has changed since `compile` (freeze, unfreeze or a `trainable` flag). Call "
                             "`learner.compile(...)` again before `fit`.")
        if not self.model.trainable_variables:
            raise ValueError("Nothing of the model trains: all its layers are frozen. Unfreeze its heads, or the model "
                             "(`model.trainable = True`), and compile again.")
        if self.train_function is None or force:
            self.faults = Faults(self.tasks, compiled=self.jit_compile)
            self.kept = _kept(self.model, self.weighting)
            self._compiled_flags = trainable_flags(self.model)
            super().make_train_function(force=force)
            self.train_function = self.faults.watched(self.train_function)
        return self.train_function

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, **options):
        given = inspect.signature(keras.Model.fit).bind(self, *args, **options).arguments
        del given["self"]
        names = [name for name in ("x", "y", "sample_weight") if given.get(name) is not None]
        if given.get("y") is None:
            check_data(self.model, given.get("x"), "x", labelled=True)
        else:
            given.update(zip(names, check_data(self.model, tuple(given[name] for name in names), "x", labelled=True)))
        callbacks = keras.tree.flatten(given.get("callbacks") or [])
        given["validation_data"] = check_data(self.model, given.get("validation_data"), "validation_data", needed_by(callbacks))
        given["callbacks"] = [_Epochs(), *callbacks]
        return super().fit(**given)

    def get_config(self):
        return {"name": self.name, "model": keras.saving.serialize_keras_object(self.model), "at": self.at,
                "weighting": keras.saving.serialize_keras_object(self.weighting)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        revived = {key: keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
                   for key in ("model", "weighting")}
        return cls(**{**config, **revived})


class _Epochs(keras.callbacks.Callback):
    """Tells the weighting that an epoch has ended, and notices heads that no label was seen for."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.shown.in_epoch = True
        self.model.labelled.assign(tf.zeros_like(self.model.labelled))
        self.model.batch.assign(0)
        self.model.faults.epoch = epoch + 1

    def on_train_end(self, logs=None):
        self.model.faults.epoch = None

    def on_test_begin(self, logs=None):
        self.model.shown.in_epoch = False

    def on_epoch_end(self, epoch, logs=None):
        self.model.shown.in_epoch = False
        if not self.model.batch.numpy():
            raise ValueError("The data gave no batch at all: there is nothing to train on.")
        lacking = [task for task, count in zip(self.model.tasks, self.model.labelled.numpy()) if not count]
        if lacking:
            raise Fault(f"In a whole epoch no label was seen for the head {lacking[0]!r}. Give it labels, or make the model "
                             "without it.")
        if self.model.weighting is not None:
            self.model.weighting.on_epoch_end()


def _tasks(model):
    outputs = _compat.output_structure(model) if _compat.graph(model) is model else None
    if not isinstance(outputs, dict) or len(outputs) < 2:
        got = f"{len(outputs)} output" if isinstance(outputs, dict) else type(model).__name__
        raise ValueError(f"`model` must be a Functional model with a dict of at least two outputs, as kt.attach(backbone, "
                         f"{{name: head, ...}}) gives it. Received: {got}.")
    return list(outputs)


def _cut(model, at):
    """The model below and above the output of the layer `at`."""
    layers = {layer.name: layer for layer in model.layers}  # in a tail the last one of a name is the model's own
    _check.one_of(at, layers, "layer for `at`")
    found = _compat.outputs_of_uses(model, layers[at])
    if len(found) != 1 or len(found[0]) != 1:
        raise ValueError(f"The layer {at!r} gives {sum(map(len, found))} tensors, but gradients are taken at one. Choose another "
                         "one, such as at=\"features\".")
    (tensor,) = found[0]
    with told_apart(model.operations):
        try:
            top = Network(tensor, _compat.output_structure(model))
        except ValueError as error:
            raise ValueError(f"Not everything goes through the layer {at!r}, so the tasks can't be told apart there. Choose "
                             "another one, or at=None.") from error
        return types.SimpleNamespace(trunk=Network(_compat.input_structure(model), tensor), top=top)


def _check_at(weighting, at):
    if at is not None and (weighting.keeps_gradients or weighting.parts > 1):
        raise ValueError(f"{type(weighting).__name__} needs the gradients of all variables, so it can't be used with at={at!r}. "
                         "Leave `at` out.")


def _kept(model, weighting):
    """Places in `model.trainable_variables` of what a weighting keeps something of."""
    if weighting is None or not weighting.keeps_gradients:
        return ()
    shared = shared_variables(model)
    if [tuple(v.shape) for v in shared] != weighting.shapes:
        raise ValueError(f"{type(weighting).__name__} keeps gradients of the variables that tasks share, and these have changed "
                         "since the learner was made (freeze, unfreeze or a `trainable` flag). Make a new learner with a new "
                         "weighting.")
    return tuple(k for k, v in enumerate(model.trainable_variables) if any(v is s for s in shared))
