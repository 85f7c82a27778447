"""Which layers the tasks of a Functional model share."""
import collections

import keras

from .. import _compat


def shared_variables(model):
    """Returns the trainable variables that the outputs of at least two tasks depend on, in the model's order.

    A layer that gives several tasks something of their own counts as shared in all its parts.

    Args:
        model: a Functional `keras.Model` with a dict of outputs.
    """
    reached = _below(model, [frozenset()] * len(model.inputs))
    tasks = collections.Counter(layer for layers in reached for layer in layers)
    shared = {id(v) for layer, count in tasks.items() if count > 1 for v in layer.trainable_variables}
    return [v for v in model.trainable_variables if id(v) in shared]


def _below(model, inputs):
    """For each output of `model` the layers that it depends on, `inputs` being those of each input."""
    known = dict(zip(map(id, model.inputs), inputs))
    for operation, args, kwargs, outputs in _compat.calls(model):
        flat, graph = keras.tree.flatten(outputs), _compat.graph(operation)
        if graph is not None:
            x = args[0] if args else kwargs["inputs"]
            found = _below(graph, [known[id(t)] for t in _compat.leaves_of(graph, x)])
        else:
            given = [known[id(t)] for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
            found = [frozenset().union(*given, {operation} if isinstance(operation, keras.layers.Layer) else ())] * len(flat)
        known.update(zip(map(id, flat), found))
    return [known[id(t)] for t in model.outputs]
