"""The only file that touches names which Keras does not promise to keep; each function has a test that guards it."""
import keras


def graph(layer):
    """The Functional graph of a model, or None for a layer that can't be walked."""
    if isinstance(layer, keras.Sequential):
        layer = layer._functional
    return layer if hasattr(layer, "_nodes_by_depth") else None


def run_graph(model, inputs, wrap):
    """Runs the graph of a Functional `model` on `inputs`, calling `wrap(operation)` in place of each operation."""
    symbolic = any(isinstance(x, keras.KerasTensor) for x in keras.tree.flatten(inputs))
    inputs = inputs if symbolic else model._standardize_inputs(inputs)  # which would make other symbolic tensors
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
    """Puts `optimizer` into a compiled `model`, wrapped for loss scaling if the old one was."""
    scales = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    model.optimizer = keras.optimizers.LossScaleOptimizer(optimizer) if scales else optimizer
    model._compile_config.config["optimizer"] = model.optimizer


def inner(optimizer):
    """The optimizer itself, without the wrapper that mixed float16 puts around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


class ScaledUpdates:
    """Optimizer mixin: multiplies each update, weight decay included, by `self.multipliers[path of the variable]`."""

    def build(self, variables):
        self._scales = {variable_key(self, v): self.multipliers.get(v.path, 1.0) for v in variables}
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate * self._scales[variable_key(self, variable)])

    def _apply_weight_decay(self, variables):
        full = self.weight_decay
        groups = {}
        for v in variables if full is not None else []:
            groups.setdefault(self._scales[variable_key(self, v)], []).append(v)
        try:
            for scale, members in groups.items():
                self.weight_decay = full * scale
                super()._apply_weight_decay(members)
        finally:
            self.weight_decay = full


def set_mask(tensor, mask):
    """Gives `tensor` a Keras mask, as layers do with `supports_masking`."""
    tensor._keras_mask = mask


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
