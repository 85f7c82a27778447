"""A model cut in two where what trains begins."""
import keras

from .. import _compat
from ..network import Network, is_live, merged, own_state, takes_training


def split(model):
    """Cuts `model` at its frozen boundary into a prefix and a tail with `tail(prefix(x)) == model(x)`.

    The prefix holds all that training leaves the same: frozen layers, and layers without weights in inference mode
    above them. The cut may fall inside nested models. Both share their layers with `model`, so training the tail
    trains the model.

    Args:
        model: a Functional `keras.Model`.

    Returns:
        `(prefix, tail)`: Functional models. The outputs of the prefix, one tensor or several, are the inputs of the
        tail; it is to be run in inference mode. The prefix is None, and the tail
        `model`, if no layer with weights could go into it.

    Example:
        >>> kt.freeze(model)
        >>> prefix, tail = split(model)
    """
    cut = _Cut()
    inputs = keras.tree.map_structure(
        lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name), _compat.input_structure(model))
    for tensor in keras.tree.flatten(inputs):
        cut.know(tensor, None)
    outputs = keras.tree.map_structure(cut.out, cut.run(model, inputs))
    crossing = list(cut.crossing.values())
    if all(cut.below[id(tensor)] is None for tensor in crossing):
        return None, model
    single = crossing[0] if len(crossing) == 1 else crossing
    return keras.Model(inputs, single, name="prefix"), Network(single, outputs, name="tail")


class _Cut:
    """Calls every layer again on new tensors, and notes which of them are the same in every epoch."""

    def __init__(self):
        self.below = {}     # id of a constant tensor -> state of the weights below it (see `network`)
        self.tensors = []   # keeps them alive, so that no id is used twice
        self.crossing = {}  # constant tensors that something changing reads

    def know(self, tensor, state):
        self.below[id(tensor)] = state
        self.tensors.append(tensor)

    def run(self, model, inputs):
        return _compat.run_graph(_compat.graph(model), inputs, self.wrap)

    def wrap(self, operation):
        def call(*args, **kwargs):
            given = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
            constant = all(id(t) in self.below for t in given)
            state = merged(self.below.get(id(t)) for t in given)
            still = kwargs.get("training") is False and _compat.graph(operation) is not None
            if _compat.graph(operation) is not None and not still:
                return self.run(operation, *args)
            fixed = constant and own_state(operation) is not True and (
                still or not takes_training(operation) or not is_live(operation, state))
            outputs = operation(*args, **kwargs)
            if fixed:
                for tensor in keras.tree.flatten(outputs):
                    self.know(tensor, merged([own_state(operation), state]))
            else:
                self.crossing.update((id(t), t) for t in given if id(t) in self.below)
            return outputs
        return call

    def out(self, tensor):
        """An output that is constant itself crosses too: Keras wants a layer between input and output."""
        if id(tensor) not in self.below:
            return tensor
        self.crossing[id(tensor)] = tensor
        return keras.layers.Identity()(tensor)
