"""What trains: freeze, unfreeze, and unfreezing step by step during `fit`."""
import keras

from . import _compat, blocks
from .backbones.hub import check_trainable
from .network import Network, flags_kept, model_of, set_flag
from .rates import carry_moments, remade


def freeze(model, until=None):
    """Freezes the backbone up to and including `until`; all above it trains, but for its batch norms.

    It sets the whole state, whatever the flags were. Frozen layers run in inference mode (see `Network`). Heads and
    sharing layers always train. Call `compile` afterwards; `fit` raises if it was forgotten.

    Args:
        model: what `kt.attach` returned, or a bare backbone.
        until: the name of a layer or block, a number of layers, a share of them, or None for the whole backbone.

    Raises:
        ValueError: `until` is no layer or block of the backbone, or the backbone is one opaque layer and `until` set.

    Example:
        >>> kt.freeze(model)                    # features only
        >>> kt.freeze(model, until="block_12")  # blocks 13 and up train
    """
    model, backbone = model_of(model), _backbone(model)
    if until is None:
        return _set(model, backbone, None, False)
    _set(model, backbone, blocks.position(_walkable(backbone, "until"), until, "until")[1], False)


def unfreeze(model, last=None, *, norms=False):
    """Lets the last part of the backbone train; all below it is frozen.

    It sets the whole state, whatever the flags were. Batch norms stay frozen, which is what few photos ask for
    (their statistics would move towards the small batches): `norms=True` lets those of the last part train too.
    Other norms (layer, group) have no statistics and train with their block. Call `compile` afterwards.

    Args:
        model: what `kt.attach` returned, or a bare backbone.
        last: the name of the layer or block that the trained part starts with, a number of layers, a share of
            them, or None for the whole backbone.
        norms: whether batch norms of the trained part train and move their statistics.

    Raises:
        ValueError: `last` is no layer or block of the backbone, or the backbone is one opaque layer and `last` set, or a
            SavedModel without anything to train.

    Example:
        >>> kt.unfreeze(model, last=30)
        >>> kt.unfreeze(model, last="block_16", norms=True)
    """
    model, backbone = model_of(model), _backbone(model)
    check_trainable(backbone)
    if last is None:
        return _set(model, backbone, 0, norms)
    first = blocks.position(_walkable(backbone, "last"), last, "last")[0]
    count = len(blocks.depth_layers(backbone))
    _set(model, backbone, first if isinstance(last, str) else count - first, norms)


class GradualUnfreezing(keras.callbacks.Callback):
    """Unfreezes the backbone step by step during one `fit`, of a model or of a `kt.MultiTask` learner.

    From Howard and Ruder 2018 (arXiv:1801.06146). The optimizer is built over all variables before the first step, so the
    moments of the layers that already train are kept; the training step is traced again at each stage.

    Args:
        stages: `{epoch: last}` or `[(epoch, last)]`: from that epoch (0 is the first) `unfreeze(model, last)` holds;
            `last` is a name, a number or share of layers, or None for all. Before the first stage the whole
            backbone is frozen.
        norms: as in `unfreeze`.

    Raises:
        ValueError: an epoch is no whole number from 0, or, when `fit` begins, a `last` is not in the backbone, or the optimizer
            has `use_ema=True`.

    Example:
        >>> model.fit(train, epochs=6, callbacks=[kt.GradualUnfreezing({2: "block_16", 4: 0.5})])
    """

    def __init__(self, stages, *, norms=False):
        super().__init__()
        self.stages = dict(stages)
        self.norms = norms
        for epoch in self.stages:
            if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
                raise ValueError(f"`stages` must have epochs (whole numbers from 0) as keys. Received: {epoch!r}")

    def prepare(self, model):
        """Gives a compiled model or learner an optimizer over all that trains at any stage, if it has another one.

        `fit` begins with it. What restores the state of an optimizer has to call it before, as there is more of that then.
        """
        network = model_of(model)
        if _compat.inner(model.optimizer).use_ema:
            raise ValueError("GradualUnfreezing can't train with an optimizer that has use_ema=True: when `fit` ends, Keras gives "
                             "the averages to other variables than theirs, as more are known by then than train. Leave `use_ema` "
                             "out.")
        with flags_kept(network), model.distribute_strategy.scope():
            for last in self.stages.values():  # an unknown name is found now, not after hours
                unfreeze(network, last, norms=self.norms)
            unfreeze(network, norms=True)
            optimizer = model.optimizer
            wanted = {_compat.variable_key(optimizer, v) for v in model.trainable_variables}
            if not optimizer.built:
                optimizer.build(model.trainable_variables)
            elif wanted - _compat.built_for(optimizer):
                new = remade(optimizer)
                new.build(model.trainable_variables)
                carry_moments(optimizer, new)
                _compat.replace_optimizer(model, new)

    def hold(self, model, epoch):
        """Sets the flags of a model or learner to those that hold in an epoch."""
        stage = self._stage(epoch)
        if stage is None:
            freeze(model)
        else:
            unfreeze(model, self.stages[stage], norms=self.norms)

    def on_train_begin(self, logs=None):
        self.prepare(self.model)
        self._trace(-1)  # the epoch that `fit` begins with isn't known yet

    def on_epoch_begin(self, epoch, logs=None):
        if self._stage(epoch) != self._at:  # which may have begun in an earlier run (`initial_epoch`)
            self._trace(epoch)

    def _stage(self, epoch):
        """The epoch in which the stage of an epoch began, None before the first."""
        return max((e for e in self.stages if e <= epoch), default=None)

    def _trace(self, epoch):
        network = model_of(self.model)
        self._at, compiled = self._stage(epoch), network.compiled
        self.hold(self.model, epoch)
        network.compiled = compiled  # the step is made anew here, so that a plain Keras model needs no other `compile`
        self.model.make_train_function(force=True)


def _backbone(model):
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be what `kt.attach` or `kt.backbone` returned, a keras.Model. "
                        f"Received: {type(model).__name__}")
    blocks.check_whole(model)
    return blocks.backbone_of(model)


def _walkable(backbone, argument):
    if _compat.graph(backbone) is None:
        raise ValueError(f"`{argument}` needs a backbone whose layers can be told apart; {backbone.name!r} "
                         f"({type(backbone).__name__}) is one opaque layer. Leave `{argument}` out to take all of it.")
    return backbone


def _set(model, backbone, first, norms):
    """Lets the layers of `backbone` from place `first` on train (None: none of them), and all outside it."""
    before = [w.trainable for w in model.weights]
    if backbone is not model:
        set_flag(model, True)
    opaque = _compat.graph(backbone) is None
    trains = first is not None and (opaque or first < len(blocks.depth_layers(backbone)))
    for layer in _compat.flat_layers(backbone):
        set_flag(layer, trains)
    for place, layer in enumerate(blocks.depth_layers(backbone) if trains and not opaque else []):
        set_flag(layer, place >= first)
    for layer in _compat.flat_layers(backbone):
        if isinstance(layer, keras.layers.BatchNormalization) and not norms:
            set_flag(layer, False)
    if not isinstance(model, Network) and before != [w.trainable for w in model.weights]:
        model.compiled = False  # a plain Keras model has no check of its own, but refuses to fit uncompiled
