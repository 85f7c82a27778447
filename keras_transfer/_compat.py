"""The only file that touches names which Keras does not promise to keep; each function has a test that guards it."""
import functools

import keras
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled as is_deterministic  # noqa: F401

from .distributing import summed
from .replicating import (LossesOfReplica, ToldOfLostWorkers, average_changes, loss_of_layers, one_by_one,
                          see_overflows_of_all_replicas)


def graph(layer):
    """The Functional graph of a model, or None for a layer that can't be walked."""
    if isinstance(layer, keras.Sequential):
        layer = layer._functional
    return layer if hasattr(layer, "_nodes_by_depth") else None


def run_graph(model, inputs, wrap):
    """Runs the graph of a Functional `model` on `inputs`, calling `wrap(operation)` in place of each operation."""
    symbolic = any(isinstance(x, keras.KerasTensor) for x in keras.tree.flatten(inputs))
    # of symbolic tensors `_standardize_inputs` would make others
    inputs = leaves_of(model, inputs) if symbolic else model._standardize_inputs(inputs)
    return model._run_through_graph(inputs, operation_fn=wrap)


def takes_training(layer):
    """Whether the `call` of `layer` has an argument `training`."""
    return layer._call_has_training_arg


def flat_layers(layer):
    """All the layers inside `layer`, at any depth, itself first."""
    return layer._flatten_layers()


def input_structure(model):
    """The inputs of a Functional or Sequential `model` in the structure they were given."""
    return graph(model)._inputs_struct


def output_structure(model):
    """The outputs of a Functional `model` in the structure they were given: a tensor, a list or a dict."""
    return model._outputs_struct


def input_names(model):
    """The names of the input layers of a Functional `model`."""
    return [tensor._keras_history.operation.name for tensor in model.inputs]


def leaves_of(model, x):
    """What `x` holds in the order of the inputs of a Functional `model`: a dict goes by their names, as in Keras."""
    if isinstance(x, dict) and not isinstance(input_structure(model), dict):
        return [x[name] for name in input_names(model)]
    return keras.tree.flatten(x)


def outputs_of_uses(model, layer):
    """The outputs of each use of `layer` in a Functional `model`; `layer.output` may belong to another model."""
    found, seen, todo = [], set(), list(model.outputs)
    while todo:
        operation, index, _ = todo.pop()._keras_history
        if (id(operation), index) not in seen:
            seen.add((id(operation), index))
            node = operation._inbound_nodes[index]
            found += [node.output_tensors] if operation is layer else []
            todo += node.input_tensors
    return found


def calls(model):
    """Yields the calls in a Functional `model`, from input to output: (operation, args, kwargs, outputs)."""
    for _, nodes in sorted(model._nodes_by_depth.items(), reverse=True):
        for node in nodes:
            if not node.is_input:
                yield node.operation, node.arguments.args, node.arguments.kwargs, node.outputs


def compile_arguments(model):
    """The objects that `model.compile` was given, by argument name."""
    return dict(model._compile_config.config)


def variable_key(optimizer, variable):
    """What `optimizer` knows `variable` by, for a Keras variable and for the TensorFlow variable within."""
    return optimizer._var_key(variable)


def built_for(optimizer):
    """The keys of the variables that `optimizer` was built for."""
    return set(inner(optimizer)._trainable_variables_indices)


def replace_optimizer(model, optimizer):
    """Puts `optimizer` into a compiled `model`."""
    model.optimizer = model._compile_config.config["optimizer"] = optimizer


def carry_exclusions(old, new):
    """Tells an optimizer what another has been told by `exclude_from_weight_decay`, which is in no config."""
    vars(new).update({name: value for name, value in vars(old).items() if name.startswith("_exclude_from_weight_decay")})


def inner(optimizer):
    """The optimizer itself, without the wrapper that mixed float16 puts around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


class ScaledUpdates:
    """Optimizer mixin: multiplies the rate of each variable, for weight decay too, by `self.multipliers[its path]`."""

    def build(self, variables):
        self._scales = {variable_key(self, v): self.multipliers.get(v.path, 1.0) for v in variables}
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate * self._scales[variable_key(self, variable)])

    def _apply_weight_decay(self, variables):
        groups = {}
        for v in variables:
            groups.setdefault(self._scales[variable_key(self, v)], []).append(v)
        for scale, members in groups.items():
            scaled = object.__new__(type(self))  # replicas take turns in here, so that none may change the optimizer itself
            # the rate, and not `weight_decay`, beside which Muon has another
            vars(scaled).update(vars(self), _learning_rate=lambda scale=scale: self.learning_rate * scale)
            super(ScaledUpdates, scaled)._apply_weight_decay(members)


def set_mask(tensor, mask):
    """Gives `tensor` a Keras mask, as layers do with `supports_masking`."""
    tensor._keras_mask = mask


def mask_of(tensor):
    """The Keras mask of `tensor`, or None."""
    return getattr(tensor, "_keras_mask", None)


def saved_model_message():
    """An empty protocol buffer of the kind that is in `saved_model.pb`."""
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel()


def in_safe_mode():
    """Whether a file is being loaded that must not bring code."""
    from keras.src.saving import serialization_lib

    return bool(serialization_lib.in_safe_mode())


def alias(layer, variable, name, trainable):
    """Makes a `tf.Variable` a weight of `layer`: the very same variable, not a copy."""
    weight = keras.Variable(variable, trainable=trainable, dtype=variable.dtype.name, autocast=False, name=name)
    if weight._value is not variable:
        raise RuntimeError(f"Keras {keras.__version__} copies variables where it used to take them as they are; "
                           "SavedModels can't be trained with it.")
    layer._track_variable(weight)
    return weight


def without_variables(function):
    """A concrete function with every variable that it reads replaced by its value."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function)


class Replicated(ToldOfLostWorkers):
    """Model mixin: trains under `MirroredStrategy` and `MultiWorkerMirroredStrategy` as on one device.

    Keras 3.15 builds the model on the mean of the replicas' batches, which fails for several workers (its issue 20585) and for
    batches that don't divide evenly, and reduces the logs of several workers along an axis that they lack. What a step makes of
    statistics, such as those of batch norms, is averaged over the replicas, which would drift apart, as is the loss of layers.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if self._distribute_strategy is None:
            return
        if iterator is not None:  # the specs tell enough, so no batch is drawn from the data
            specs = iterator._distributed_dataset.element_spec
            data_batch = keras.tree.map_structure(lambda s: getattr(s, "_value_specs", (s,))[0], specs)
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    @functools.wraps(keras.Model.train_step)
    def train_step(self, data):
        statistics = live_statistics(self) if self.distribute_strategy.num_replicas_in_sync > 1 else []
        before = [keras.ops.copy(v) for v in statistics]
        logs = super().train_step(data)
        average_changes(statistics, before, rows=keras.ops.shape(keras.tree.flatten(data)[0])[0])
        return self._with_an_axis(logs)

    @functools.wraps(keras.Model.make_train_function)
    def make_train_function(self, force=False):
        if self.distribute_strategy.num_replicas_in_sync > 1:
            see_overflows_of_all_replicas(self.optimizer)
            clip_sums_of_replicas(inner(self.optimizer))
            branch_together(inner(self.optimizer))
        return super().make_train_function(force=force)

    @functools.wraps(keras.Model.compute_loss)
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        total = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1 and (losses := self.losses):
            total += loss_of_layers(losses, [x, y_pred])
        return total

    def _aggregate_additional_loss(self, loss):
        """What Keras adds for a loss of a layer: on several replicas nothing, where `compute_loss` has added it already."""
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        return keras.ops.zeros(()) if several else super()._aggregate_additional_loss(loss)

    @functools.wraps(keras.Model.test_step)
    def test_step(self, data):
        return self._with_an_axis(super().test_step(data))

    def _make_function(self, step_function):
        """With several replicas TensorFlow can't run several steps in one loop: they run one by one."""
        run = super()._make_function(step_function)
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return run
        for layer in flat_layers(self):
            vars(layer)["_losses"] = LossesOfReplica()
        return run if self.steps_per_execution == 1 else one_by_one(run)

    def _with_an_axis(self, logs):
        if not getattr(self.distribute_strategy.extended, "_in_multi_worker_mode", lambda: False)():
            return logs
        return keras.tree.map_structure(lambda v: keras.ops.reshape(v, [1]) if not v.shape.rank else v, logs)


def clip_sums_of_replicas(optimizer):
    """Lets an optimizer clip the gradient of the whole batch: Keras clips the share of each replica, before they're summed."""
    if any((optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue)):
        def clip(gradients):
            strategy = tf.distribute.get_strategy()
            sums = summed([tf.convert_to_tensor(g) for g in gradients], strategy)
            return [g / strategy.num_replicas_in_sync for g in type(optimizer)._clip_gradients(optimizer, sums)]

        optimizer._clip_gradients = clip


def branch_together(optimizer):
    """Lets an optimizer with `gradient_accumulation_steps` or `ema_overwrite_frequency` work on several replicas.

    Keras branches on each of them between adding a gradient up and using the sum, and whether weights become their averages,
    and TensorFlow can't have replicas meet within a branch. Here they meet first and then branch together.
    """
    steps, often = optimizer.gradient_accumulation_steps, optimizer.use_ema and optimizer.ema_overwrite_frequency
    if not steps and not often:
        return

    def update(gradients, variables):
        optimizer._apply_weight_decay(variables)
        optimizer._backend_update_step(optimizer._clip_gradients(gradients), variables, optimizer.learning_rate)

    def apply(gradients, variables):
        sums = [optimizer._accumulated_gradients[optimizer._get_variable_index(v)] for v in variables] if steps else []

        def use(gradients, variables):
            update([(g + s) / steps for g, s in zip(gradients, sums)], variables)
            optimizer._backend_reset_gradient_accumulators()

        def add(gradients, variables):
            optimizer._backend_increment_gradient_accumulators(gradients, sums)

        def together(strategy, *given):
            each, known = strategy.extended.call_for_each_replica, optimizer._trainable_variables
            if steps:
                due = (optimizer._iterations.value + 1) % steps == 0
                tf.cond(due, lambda: each(use, args=given), lambda: each(add, args=given))
            else:
                each(update, args=given)
            if optimizer.use_ema:
                each(lambda: optimizer._update_model_variables_moving_average(known))
            if often:
                last = (optimizer.iterations + 1) % often == 0
                tf.cond(last, lambda: optimizer._overwrite_model_variables_with_average_value(known), lambda: None)

        tf.distribute.get_replica_context().merge_call(together, args=(gradients, variables))

    optimizer._backend_apply_gradients = apply


def live_statistics(model):
    """The variables of `model` that a training step changes other than by gradients: what live layers average."""
    leaves = [layer for layer in flat_layers(model) if layer.trainable and not layer._layers]
    return [v for layer in leaves for v in layer._non_trainable_variables if "float" in v.dtype]


def changed_by_passes(model):
    """The variables that a pass in training mode changes, seeds apart: statistics, counters, and kernels that are normalized."""
    live = [layer for layer in flat_layers(model) if layer.trainable]
    kernels = [layer.kernel for layer in live if isinstance(layer, keras.layers.SpectralNormalization)]
    return [v for layer in live for v in layer._non_trainable_variables if "seed_generator" not in v.path] + kernels
