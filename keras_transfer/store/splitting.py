"""A model cut in two where what trains begins."""
import dataclasses
import functools
import itertools
import math

import keras

from .. import _compat
from ..network import Network, Plain, is_inlined, is_live, merged, own_state, takes_training, told_apart, with_masks

_ROWS = 1009     # in a batch that shows where rows go: a prime that no shape in a network is likely to hold
_COST = 0.03    # share of the prefix's work that an earlier cut may leave to every epoch of the tail
_SAVING = 0.75  # and the share of the longest prefix's outputs that it must come below


def split(model):
    """Cuts `model` at its frozen boundary into a prefix and a tail with `tail(prefix(x)) == model(x)`.

    The prefix holds what training leaves the same: frozen layers, and layers without weights in inference mode above
    them. In a plain Keras model that is only what was called with `training=False`: elsewhere dropout draws, whatever is
    frozen. The cut may fall inside nested models. Where it takes less space a few layers earlier, as within a block that
    first widens its input, it's made there, if that leaves at most 3 % of the prefix's work to the tail. Both share
    their layers with `model`, so training the tail trains the model.

    Args:
        model: a Functional `keras.Model`.

    Returns:
        `(prefix, tail)`: Functional models. The outputs of the prefix, one tensor or several, are the inputs of the
        tail; it is to be run in inference mode. The prefix is None, and the tail `model`, if no layer with weights could
        go into it, or if the tail would miss a mask that layers below it hand on unseen, or if nothing could cross whose
        rows are those of the batch, as where frames of videos are rows of their own.

    Example:
        >>> kt.freeze(model)
        >>> prefix, tail = split(model)
    """
    with model.distribute_strategy.scope():
        longest = _Cut(math.inf)
        pair = longest.made(model)
        earlier = _earlier(longest.calls, longest.crossing, longest.whole)
        return pair if earlier is None else _Cut(earlier).made(model)


@dataclasses.dataclass
class _Call:
    """One call of a frozen layer: ids of the tensors it reads and gives, numbers stored for each, and its work."""

    reads: list
    gives: dict
    work: float
    moves: bool  # behaves differently in training, or reads a mask, so that it must not come into the tail


class _Cut:
    """Calls every layer again on new tensors, and notes which of them are the same in every epoch.

    What changes reads inputs of its own in place of these, so that one walk makes both graphs: a layer may be in both.

    Args:
        most: how many calls of frozen layers may go into the prefix.
    """

    def __init__(self, most):
        self.most = most
        self.rests = False       # whether what is frozen is in inference mode where the walk is
        self.operations = []     # all that were called
        self.calls = []          # of frozen layers, in the order of the graph
        self.below = {}          # id of a constant tensor -> state of the weights below it (see `network`)
        self.rows = {}           # and how many rows it has in a batch of `_ROWS`, None for an unknown number
        self.tensors = []        # keeps them alive, so that no id is used twice
        self.crossing = {}       # id of a constant tensor that something changing reads -> it, and what is read in its place
        self.lost_mask = False   # whether one has a mask that its reader would miss

    def made(self, model):
        inputs = keras.tree.map_structure(lambda t: self.input(t, t.name), _compat.input_structure(model))
        for tensor in keras.tree.flatten(inputs):
            self.know(tensor, None, _ROWS)
        outputs = keras.tree.map_structure(self.out, self.run(model, inputs))
        if self.lost_mask or not self.whole >= set(self.crossing) or all(self.below[t] is None for t in self.crossing):
            return None, model
        crossing, given = (list(side) if len(side) > 1 else side[0] for side in zip(*self.crossing.values()))
        with told_apart(self.operations):
            prefix = keras.Model(inputs, crossing, name="prefix")
            tail = (Network if isinstance(model, Network) else Plain)(given, outputs, name="tail")
        tail.is_tail = True
        tail.output_names = list(_compat.graph(model).output_names)
        tail.dtype_policy = model.dtype_policy  # by which `compile` scales the loss, whatever the policy is now
        return prefix, tail

    def input(self, tensor, name=None):
        layer = keras.layers.InputLayer(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)
        self.operations.append(layer)
        return layer.output

    def know(self, tensor, state, rows):
        self.below[id(tensor)], self.rows[id(tensor)] = state, rows
        self.tensors.append(tensor)

    @property
    def whole(self):
        """The ids of the constant tensors whose rows are those of the batch."""
        return {key for key, rows in self.rows.items() if rows == _ROWS}

    def run(self, model, inputs, training=None):
        outside, self.rests = self.rests, self.rests or training is False or isinstance(model, Network)
        outputs = _compat.run_graph(_compat.graph(model), inputs, self.wrap)
        self.rests = outside
        return outputs

    def wrap(self, operation):
        def call(*args, **kwargs):
            training = kwargs.get("training")
            if is_inlined(operation) and not (self.rests and training is False):
                # another tensor, which would have to cross beside the first
                self.lost_mask |= any(mask is not None for mask in keras.tree.flatten(kwargs.get("mask")))
                return self.run(operation, with_masks(*args, **kwargs), training=training)
            self.operations.append(operation)
            given = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
            state = merged(self.below.get(id(t)) for t in given)
            fixed = (all(id(t) in self.below for t in given) and not self.differs(operation, state)
                     and own_state(operation) is not True and len(self.calls) < self.most
                     and not _adds_to_loss(operation, args, self.as_in_fit(operation, kwargs)))
            if not fixed:
                self.lost_mask |= kwargs.get("mask") is None and any(map(self.is_masked, given))
                args, kwargs = keras.tree.map_structure(self.across, (args, kwargs))
                return operation(*args, **kwargs)
            outputs = operation(*args, **kwargs)
            self.calls.append(_described(operation, given, keras.tree.flatten(outputs)))
            for tensor, rows in zip(keras.tree.flatten(outputs), _rows_of(operation, args, kwargs, self.rows)):
                self.know(tensor, merged([own_state(operation), state]), rows)
            return outputs
        return call

    def differs(self, operation, state):
        """Whether a layer that isn't trained runs in training mode nevertheless, or draws in any mode."""
        if any(_always_draws(layer) or getattr(layer, "stateful", False) for layer in _layers(operation)):
            return True  # what is stateful begins a batch where the last one has ended
        if is_inlined(operation):  # called whole: with `training=False`
            return False
        return takes_training(operation) and is_live(operation, state) if self.rests else _may_draw(operation)

    def as_in_fit(self, operation, kwargs):
        """The keyword arguments that a frozen layer is called with in training."""
        return {**kwargs, "training": not self.rests} if takes_training(operation) else kwargs

    def is_masked(self, tensor):
        """Whether `tensor` is constant and has a mask, which stays behind: layers that aren't given it read it off."""
        return id(tensor) in self.below and _compat.mask_of(tensor) is not None

    def across(self, value):
        """What stands in the tail for a constant tensor; anything else stays what it is."""
        if id(value) not in self.below:
            return value
        if id(value) not in self.crossing:
            self.crossing[id(value)] = value, self.input(value)
        return self.crossing[id(value)][1]

    def out(self, tensor):
        """An output that is constant itself crosses too: Keras wants a layer between input and output."""
        if id(tensor) not in self.below:
            return tensor
        self.lost_mask |= self.is_masked(tensor)  # by which Keras weighs the loss
        identity = keras.layers.Identity()
        self.operations.append(identity)
        return identity(self.across(tensor))


def _keeps_rows(operation):
    """Whether it's sure that each row of the outputs comes of the same row of the inputs."""
    if _compat.graph(operation) is not None:
        return all(_keeps_rows(inner) for inner, *_ in _compat.calls(_compat.graph(operation)))
    return (isinstance(operation, keras.layers.Layer) and type(operation).__module__.split(".")[0] == "keras"
            and not isinstance(operation, (keras.layers.Lambda, keras.layers.Concatenate)))


def _rows_of(operation, args, kwargs, known):
    """The rows of each output of a layer, by those of the tensors that it's called with: `{id: rows}`."""
    def sized(value):
        rows = known.get(id(value))
        return value if rows is None or not value.shape else keras.KerasTensor((rows, *value.shape[1:]), value.dtype)

    given = {known.get(id(t)) for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)}
    if _keeps_rows(operation) or None in given:
        return itertools.repeat(given.pop() if len(given) == 1 else None)
    try:
        args, kwargs = keras.tree.map_structure(sized, (args, kwargs))
        outputs = keras.tree.flatten(operation.compute_output_spec(*args, **kwargs))
    except Exception:  # of whoever wrote the layer: where it can't be told, it's taken for what nearly all do
        return itertools.repeat(_ROWS)
    return [None if not t.shape else _ROWS if t.shape[0] is None else t.shape[0] for t in outputs]


def _may_draw(operation):
    """Whether what isn't trained may differ in the training mode of a plain Keras model, whatever is frozen."""
    if isinstance(operation, keras.layers.RNN):  # which has seeds in any case
        return any(getattr(operation.cell, rate, 1) for rate in ("dropout", "recurrent_dropout"))
    if isinstance(operation, keras.layers.SpectralNormalization):  # which normalizes its kernel whatever its flag says
        return True
    return bool(_seeds(operation)) or takes_training(operation) and own_state(operation) is None


def _always_draws(layer):
    """Whether `layer` has seeds of its own, not those of layers within it, and isn't told when to use them."""
    return not _compat.takes_training(layer) and not _seeds(layer) <= set().union(*map(_seeds, _layers(layer)[1:]))


def _seeds(operation):
    """The ids of the states of all random generators in `operation`."""
    held, weights = (getattr(operation, name, []) for name in ("variables", "weights"))  # with them and without
    return set(map(id, held)) - set(map(id, weights))


def _layers(operation):
    """The layers in `operation`, itself first; none where it's a function of Keras."""
    return _compat.flat_layers(operation) if isinstance(operation, keras.layers.Layer) else []


def _adds_to_loss(operation, args, kwargs):
    """Whether this call, or one within it, adds to the loss: in every step, which the tail has to do then."""
    layers, added = _layers(operation), []
    if any(layer.activity_regularizer is not None for layer in layers):
        return True
    if all(type(layer).__module__.split(".")[0] == "keras" for layer in layers):  # of which none does otherwise
        return False
    # Keras would ask a layer that tells the shape of its outputs for that alone, and not call it
    spec = functools.partial(keras.Operation.compute_output_spec, operation)
    watched = [(operation, "compute_output_spec", spec), *((layer, "add_loss", added.append) for layer in layers)]
    for owner, name, function in watched:
        vars(owner)[name] = function
    try:
        operation(*args, **kwargs)
    finally:
        for owner, name, _ in watched:
            del vars(owner)[name]
    return bool(added)


def _described(operation, given, outputs):
    gives = {id(t): width(t) for t in outputs}
    places = max((math.prod(side or 1 for side in t.shape[1:-1]) for t in [*given, *outputs]), default=1)
    weights = sum(math.prod(w.shape) for w in getattr(operation, "weights", []))
    moves = _may_draw(operation) or any(_compat.mask_of(t) is not None for t in given)
    return _Call([id(t) for t in given], gives, places * weights + sum(v for v in gives.values() if v < math.inf), moves)


def width(tensor):
    """Returns how many numbers one row of a tensor holds; infinity if a side isn't known."""
    return math.prod(math.inf if side is None else side for side in tensor.shape[1:])


def _earlier(calls, crossing, whole):
    """Returns after how many calls the cut takes the least space, or None if it's best after all of them.

    Only tensors that are `whole` may cross. Where those of the longest prefix aren't, it's the next cut whose are.
    """
    sizes = {t: size for call in calls for t, size in call.gives.items()}
    needed = {t for t in crossing if t in sizes}  # inputs of the model that cross are read again whatever is cut
    fits, longest = whole >= set(crossing), sum(sizes[t] for t in needed)
    total, left, best = sum(call.work for call in calls), 0.0, (_SAVING * longest, None)
    for count in range(len(calls) - 1, 0, -1):
        call = calls[count]
        left += call.work
        if call.moves or fits and left > _COST * total or any(t not in sizes for t in call.reads):
            break
        needed = (needed - set(call.gives)) | set(call.reads)
        if whole >= needed:
            if not fits:
                return count
            best = min(best, (sum(sizes[t] for t in needed), count), key=lambda pair: pair[0])
    return best[1]
