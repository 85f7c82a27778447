"""The thin Functional model that `backbone` and `attach` return."""
import contextlib
import itertools

import keras

from . import _check, _compat
from .replicating import on_real_rows, without_empty_batches

_METHODS = ("call", "train_step", "test_step", "compute_loss", "compute_metrics")  # that `fit` and `evaluate` call


@keras.saving.register_keras_serializable("keras_transfer")
class Network(_compat.Replicated, keras.Model):
    """A Functional model whose frozen layers run in inference mode, and which refuses a forgotten `compile`.

    `kt.backbone` and `kt.attach` make it. In use it is a plain Functional `keras.Model`: `fit`, `save`, `export`,
    `get_layer` and the rest are Keras's.

    - *Frozen means inference.* Under `training=True` a layer whose weights are all frozen draws no dropout and no
      stochastic depth and moves no statistics. A layer without weights follows what lies below it: it is in
      inference mode if its own flag is off, or if there are weights below it and all of them are frozen.
      `training=False`, written where a nested model was called, is honoured.
    - *A forgotten compile raises.* Keras reads `trainable` when it traces the training step, so a change after
      `compile` would train the old set of weights in silence; `fit` and `train_on_batch` raise instead.
    - *Float16 stays float16.* A loaded model is compiled by its own dtype policy, in a process of any.
    - *Keys are checked.* A key of `loss`, `loss_weights` or `metrics` that is no output is refused by `compile`.
    """

    def call(self, inputs, training=None, mask=None):
        def run(inputs, made_up=None):
            return _Walk(training, made_up).run(self, inputs)

        masked = any(m is not None for m in keras.tree.flatten(mask))
        return run(with_masks(inputs, mask=mask)) if masked else without_empty_batches(run, inputs)

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, weighted_metrics=None, **options):
        for argument, value in [("loss", loss), ("loss_weights", loss_weights), ("metrics", metrics),
                                ("weighted_metrics", weighted_metrics)]:
            check_keys(self, value, f"key of `{argument}`")
        if isinstance(loss, dict) and isinstance(loss_weights, dict):
            loss_weights = {name: loss_weights.get(name, 1.0) for name in loss}
        super().compile(optimizer=optimizer, loss=loss, loss_weights=loss_weights, metrics=metrics,
                        weighted_metrics=weighted_metrics, **options)
        self._compiled_flags = trainable_flags(self)

    def get_config(self):
        """Keras's, and the dtype policy, by which `compile` scales the loss for float16, whatever the policy is by then."""
        return {**super().get_config(), "dtype": keras.dtype_policies.serialize(self.dtype_policy)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        network = super().from_config({k: v for k, v in config.items() if k != "dtype"}, custom_objects=custom_objects)
        network.dtype_policy = config.get("dtype", network.dtype_policy)  # files of before have none
        return network

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def make_train_function(self, force=False):
        if not force and self.compiled and self._compiled_flags != trainable_flags(self):
            raise ValueError("What trains has changed since `compile` (freeze, unfreeze or a `trainable` flag), and "
                             "Keras would go on training the old set of weights. Call `model.compile(...)` again "
                             "before `fit`.")
        self._compiled_flags = trainable_flags(self)
        return super().make_train_function(force=force)


@keras.saving.register_keras_serializable("keras_transfer")
class Plain(_compat.Replicated, keras.Model):
    """A part of a plain Keras model, which runs as Keras runs that; on several devices it trains as on one."""


class Learner(keras.Model):
    """What trains a plain model, `model`, in a way of its own, and is thrown away then."""


def model_of(model):
    """Returns the model that a learner trains, or `model` itself."""
    return model.model if isinstance(model, Learner) else model


def own_method(model):
    """Returns the name of a method in which `model` trains in a way of its own, neither Keras's nor ours; None if it doesn't.

    Args:
        model: a model, or a learner: then of either.
    """
    owners = [cls for each in (model, model_of(model)) for cls in _own_classes(each)]
    return next((name for name in _METHODS if any(name in vars(owner) for owner in owners)), None)


def _own_classes(thing):
    """The classes of `thing` that are neither Keras's nor ours."""
    return [cls for cls in type(thing).__mro__ if cls.__module__.split(".")[0] not in ("keras", "keras_transfer")]


def check_methods(model):
    """Refuses a model or learner with a method of its own where the rest of it, on features, would train without that."""
    if (name := own_method(model)) is not None:
        raise ValueError(f"The model has a method `{name}` of its own, without which the rest of it would train on features. "
                         "Train all of it without features: in `kt.fine_tune` that is cache=False.")


def trainable_flags(model):
    """Returns the `trainable` flags of all layers and weights of `model`: two equal tuples train the same."""
    return tuple(x.trainable for x in [*_compat.flat_layers(model), *model.weights])


def check_keys(model, value, what):
    """Refuses a dict `value` with a key that is no output of `model`."""
    if isinstance(value, dict):
        outputs = _compat.output_structure(model)
        known = list(outputs) if isinstance(outputs, dict) else model.output_names
        for key in value:
            _check.one_of(key, known, what)


@contextlib.contextmanager
def told_apart(operations):
    """Context: each of `operations` has a name of its own, without which Keras makes no graph.

    Layers of a nested model may have the names of those around it, beside which they come when it's taken apart. The last
    one of a name keeps it, as outputs have the names of their layers.
    """
    known = {id(operation): operation for operation in operations}.values()
    names = [operation.name for operation in known]
    try:
        for number, operation in enumerate(known):
            if operation.name in names[number + 1:]:
                operation.name = next(name for k in itertools.count(1) if (name := f"{operation.name}_{k}") not in names)
                names.append(operation.name)
        yield
    finally:
        for operation, name in zip(known, names):
            operation.name = name


class _Walk:
    """One pass through the graph that hands `training` to the layers that are live and False to the frozen ones.

    Of the rows `made_up` are none of the batch's: an int32 scalar, or None.
    """

    def __init__(self, training, made_up):
        self.training, self.made_up = training, made_up
        self.below = {}  # id of a tensor -> are the weights below it live (True), frozen (False), or are there none (None)

    def run(self, model, inputs):
        return _compat.run_graph(_compat.graph(model), inputs, self.wrap)

    def wrap(self, operation):
        def call(*args, **kwargs):
            below = merged(self.below.get(id(t)) for t in keras.tree.flatten((args, kwargs)))
            at_rest = _compat.graph(operation) is not None and kwargs.get("training") is False
            if is_inlined(operation) and not at_rest:
                return self.run(operation, with_masks(*args, **kwargs))
            if takes_training(operation) and not at_rest:
                # an argument `training` that is here already is only the layer's default
                kwargs["training"] = self.training if is_live(operation, below) else False
            synchronized = self.made_up is not None and getattr(operation, "synchronized", False)
            outputs = (on_real_rows(operation, self.made_up) if synchronized else operation)(*args, **kwargs)
            above = merged([own_state(operation), below])
            self.below.update((id(t), above) for t in keras.tree.flatten(outputs))
            return outputs
        return call


@contextlib.contextmanager
def flags_kept(model):
    """Context: the flags may be set within, and are afterwards what they were, as is whether `model` counts as compiled."""
    layers = sorted(_compat.flat_layers(model), key=lambda layer: -len(_compat.flat_layers(layer)))  # outer before inner ones
    before, compiled = [(x, x.trainable) for x in [*layers, *model.weights]], model.compiled
    try:
        yield
    finally:
        for x, flag in before:
            set_flag(x, flag)
        model.compiled = compiled


def set_flag(layer, value):
    """Sets the flag of a layer, and of all within it."""
    # Keras ignores a flag that a layer has already, though layers inside it may have another
    layer.trainable = not value
    layer.trainable = value


def own_state(operation):
    """Returns True for a layer with weights that train, False for one whose weights are frozen, None without either."""
    weights = getattr(operation, "weights", [])
    if any(w.trainable for w in weights):
        return True
    return False if weights and not operation.trainable else None


def is_live(operation, below):
    """Whether `operation` runs in training mode, `below` being the merged states of the layers below it."""
    here = own_state(operation)
    return here if here is not None else operation.trainable and below is not False


def takes_training(operation):
    """Whether `operation` is a layer that behaves differently in training, or has one within it, which learns from Keras what
    the outer one was called with, whether that takes the argument or not."""
    return isinstance(operation, keras.layers.Layer) and any(map(_compat.takes_training, _compat.flat_layers(operation)))


def is_inlined(operation):
    """Whether `operation` is a nested model that its graph tells all of: not one with a `call` of its own."""
    return _compat.graph(operation) is not None and not any("call" in vars(cls) for cls in _own_classes(operation))


def with_masks(inputs, training=None, mask=None):
    """Returns the `inputs` that a model is called with, each of which has its mask then, if one was given."""
    for tensor, its_mask in zip(keras.tree.flatten(inputs), keras.tree.flatten(mask)):
        if its_mask is not None:
            _compat.set_mask(tensor, its_mask)
    return inputs


def merged(states):
    """Returns True if any of the states is live, False if they are frozen, None if there are none."""
    states = [s for s in states if s is not None]
    return any(states) if states else None
