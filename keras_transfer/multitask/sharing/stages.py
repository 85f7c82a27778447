"""Named inner stages of a backbone: their outputs, and copies of the network that meet there."""
import keras

from ... import _compat, blocks
from ...network import Network, is_inlined, with_masks


def tapped(backbone, at):
    """Returns `backbone`, its layers shared, with the outputs of the stages `at` and then its own: a list of tensors."""
    stages, taken = Stages(backbone, at), {}

    def call(operation, args, kwargs):
        outputs = operation(*args, **kwargs)
        if id(operation) in stages.names:
            taken[stages.names[id(operation)]] = single(outputs, operation)
            stages.see(operation)
        return outputs

    inputs = fresh_inputs(backbone)
    output = keras.tree.flatten(run(backbone, inputs, call))[0]
    stages.check_all_seen()
    return Network(inputs, [*(taken[name] for name in at), output], name="backbone")


def towers(backbone, tasks, at, unit):
    """Returns a network with a copy of `backbone` for each task, joined at the stages `at`: `{task: output}`.

    What comes before the first weights is there once. A copy has the name of its layer and that of the task,
    `block_3_expand_breed`, so that all copies of a block lie in the block of that name. The weights begin as those of
    `backbone`, which is left as it is.

    Args:
        backbone: a Functional or Sequential model with one output.
        tasks: their names.
        at: names of layers or blocks.
        unit: a function from a stage's name to a layer: list of a tensor for each task -> list of the same.
    """
    return _Towers(backbone, tasks, at, unit).made()


class Stages:
    """The layers whose outputs are stages: the last ones of the layers or blocks that `at` names.

    Attributes:
        names: `{id of the layer: name}`.
    """

    def __init__(self, backbone, at):
        layers = blocks.depth_layers(backbone)
        self.names, self.uses = {}, dict.fromkeys(at, 0)
        for name in at:
            layer = layers[blocks.position(backbone, name, "at")[1] - 1]
            if id(layer) in self.names:
                raise ValueError(f"`at` names the same stage twice: {self.names[id(layer)]!r} and {name!r}.")
            self.names[id(layer)] = name

    def see(self, layer):
        self.uses[self.names[id(layer)]] += 1

    def check_all_seen(self):
        for name, uses in self.uses.items():
            if uses == 0:
                raise ValueError(f"The stage {name!r} is an input, or lies in a model that is called with training=False, which "
                                 "is left whole. Name another stage.")
            if uses > 1:
                raise ValueError(f"The stage {name!r} is used {uses} times and has no one output. Name one that is used "
                                 "once.")


def stage_names(at):
    """Returns `at`, a name or a list of them, as a list; refuses an empty one, and repeats."""
    names = [at] if isinstance(at, str) else at
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"`at` must be the name of a layer or block of the backbone, or a list of names. Received: {at!r}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"`at` names the same stage twice: {twice!r} and {twice!r}.")
    return list(names)


def run(model, inputs, call):
    """Runs the graph of `model`, and of the models in it, with `call(operation, args, kwargs)` for each operation."""
    def wrap(operation):
        def step(*args, **kwargs):
            # one that is called with training=False stays so only as a whole
            if is_inlined(operation) and kwargs.get("training") is not False:
                return run(operation, with_masks(*args, **kwargs), call)
            return call(operation, args, kwargs)
        return step

    return _compat.run_graph(_compat.graph(model), inputs, wrap)


def fresh_inputs(model):
    """Returns new symbolic inputs like those of `model`, with their names."""
    names = iter(_compat.input_names(model))
    return keras.tree.map_structure(lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=next(names)),
                                    _compat.input_structure(model))


def single(outputs, layer):
    """Returns the one tensor that a stage gives."""
    tensors = keras.tree.flatten(outputs)
    if len(tensors) != 1:
        raise ValueError(f"The stage {layer.name!r} has {len(tensors)} outputs. Name one that has a single output.")
    return tensors[0]


class _Towers:
    """Calls every layer once for each task, and a unit after each stage."""

    def __init__(self, backbone, tasks, at, unit):
        self.backbone, self.tasks, self.unit = backbone, tasks, unit
        self.stages = Stages(backbone, at)
        self.copies = {}  # (id of a layer, task): its copy
        self.twins = {}   # id of the first task's tensor: the tensors of all tasks
        self.names = set()

    def made(self):
        inputs = fresh_inputs(self.backbone)
        output = keras.tree.flatten(run(self.backbone, inputs, self.call))[0]
        self.stages.check_all_seen()
        return Network(inputs, dict(zip(self.tasks, self.each(output))), name="backbone")

    def each(self, tensor):
        return self.twins.get(id(tensor), [tensor] * len(self.tasks))

    def call(self, operation, args, kwargs):
        given = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
        if _weightless(operation) and not any(id(t) in self.twins for t in given):
            self.names.add(operation.name)
            outputs = operation(*args, **kwargs)
        else:
            outputs = self.twinned([self.one(operation, k, args, kwargs) for k in range(len(self.tasks))])
        if id(operation) not in self.stages.names:
            return outputs
        self.stages.see(operation)
        unit = self.unit(self.stages.names[id(operation)])
        return self.twinned(unit(self.each(single(outputs, operation))))

    def one(self, operation, k, args, kwargs):
        """The outputs of one task's copy."""
        args, kwargs = keras.tree.map_structure(lambda x: self.twins[id(x)][k] if id(x) in self.twins else x, (args, kwargs))
        if not isinstance(operation, keras.layers.Layer):
            return operation(*args, **kwargs)
        key = (id(operation), self.tasks[k])
        if key in self.copies:
            return self.copies[key](*args, **kwargs)
        name = self.free(f"{operation.name}_{self.tasks[k]}")
        copy = self.copies[key] = type(operation).from_config({**operation.get_config(), "name": name})
        outputs = copy(*args, **kwargs)
        copy.set_weights(operation.get_weights())
        return outputs

    def twinned(self, outputs):
        """Remembers which tensors of the tasks belong together; returns those of the first."""
        for tensors in zip(*map(keras.tree.flatten, outputs)):
            self.twins[id(tensors[0])] = list(tensors)
        return outputs[0]

    def free(self, name):
        """Layers of models inside the backbone may have the same name."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name


def _weightless(operation):
    return not getattr(operation, "weights", []) or isinstance(operation, keras.layers.Normalization)
