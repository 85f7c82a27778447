"""Layer-wise learning rates: every stock optimizer with a multiplier for each variable."""
import keras

from . import _compat, blocks
from .network import flags_kept, model_of, set_flag


def layerwise(optimizer, model, decay=0.8):
    """Returns a copy of `optimizer` that trains deeper blocks of the backbone more slowly.

    The heads train at the optimizer's rate, the top block of the backbone at `decay` times it, the block below at
    `decay**2`, and so on (Howard and Ruder 2018, arXiv:1801.06146, discriminative fine-tuning; there per layer,
    here per block, since a network of 150 layers would leave its lower half at rest). The *update* is multiplied,
    weight decay included: scaling the gradient would change nothing with Adam. If `model` was compiled with an
    optimizer of the same class, the moments of the variables that it trained are taken over.

    Args:
        optimizer: a `keras.optimizers.Optimizer` or its name; it is not changed.
        model: what `kt.attach` returned, with the flags set as it is going to train.
        decay: the ratio of the rates of neighbouring blocks, over 0 and at most 1.

    Returns:
        A `keras.optimizers.Optimizer`, built for the variables of `model` that train now.

    Raises:
        ValueError: `decay` is out of range, or the optimizer is a `MultiOptimizer`.

    Example:
        >>> kt.unfreeze(model, last=30)
        >>> model.compile(optimizer=kt.layerwise(keras.optimizers.Adam(1e-4), model), **kt.objectives(model))
    """
    if not 0 < decay <= 1:
        raise ValueError(f"`decay` must be over 0 and at most 1. Received: {decay!r}")
    optimizer = keras.optimizers.get(optimizer)
    base = _base(_compat.inner(optimizer))
    if issubclass(base, keras.optimizers.MultiOptimizer):
        raise ValueError("`optimizer` is a MultiOptimizer, which already has an optimizer for each variable. "
                         "Give one optimizer, such as keras.optimizers.Adam(1e-4).")
    with model.distribute_strategy.scope():
        new = _like(optimizer, _class_for(base), multipliers=multipliers(model, decay))
        new.build(model.trainable_variables)
        carry_moments(getattr(model, "optimizer", None), new)
    return new


def multipliers(model, decay):
    """Returns `{variable path: multiplier}` for the weights of the backbone, also for those that may train later only.

    All others have multiplier 1.
    """
    blocks.check_whole(model)
    backbone = blocks.backbone_of(model)
    groups = blocks.blocks(backbone)
    weighted = [layers for _, layers in groups if any(layer.weights for layer in layers)]
    found, train_now = {}, {id(weight) for weight in model.trainable_weights}
    with flags_kept(model_of(model)):
        set_flag(backbone, True)
        multiplied = [(weight, decay ** depth) for depth, layers in enumerate(reversed(weighted), start=1)
                      for layer in layers for weight in layer.trainable_weights]
    for weight, multiplier in sorted(multiplied, key=lambda pair: id(pair[0]) not in train_now):
        if found.setdefault(weight.path, multiplier) != multiplier and id(weight) in train_now:
            raise ValueError(f"Two layers have weights of the same path {weight.path!r}, so their rates can't be "
                             "told apart. Give the layers of the backbone different names.")
    return found


def carry_moments(old, new):
    """Copies the moments of `old` to `new`, for variables that both were built for.

    Nothing is copied between optimizers of different classes, whose moments mean different things. The step count
    stays 0: Adam's correction for moments that began at zero has to begin anew for the variables that do, which
    would otherwise train at several times the rate for some hundred steps; and a schedule begins at its beginning.
    """
    old, new = _compat.inner(old), _compat.inner(new)
    if old is None or not old.built or _base(old) is not _base(new):
        return
    source = _by_path(old)
    for path, variable in _by_path(new).items():
        if path in source and source[path].shape == variable.shape:
            variable.assign(source[path])


def config_of(optimizer):
    """Returns the settings of an optimizer, of which another one like it can be made.

    Raises:
        ValueError: it has several rates, or one that no other optimizer can be made with.
    """
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        raise ValueError("The optimizer is a MultiOptimizer, which has several rates. Give one optimizer, such as "
                         "keras.optimizers.Adam(1e-4).")
    try:
        config = optimizer.get_config()
        type(optimizer).from_config(dict(config))
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(f"No other optimizer like {type(optimizer).__name__} can be made from its config ({error}). A schedule of "
                         "your own needs a `get_config` and keras.saving.register_keras_serializable, and a function as a rate "
                         "can't be kept: write it as such a schedule.") from error
    return config


def remade(optimizer, **changes):
    """Returns a fresh, unbuilt optimizer with the settings of `optimizer`."""
    return _like(optimizer, type(_compat.inner(optimizer)), **changes)


def _like(optimizer, kind, **changes):
    """An optimizer of the class `kind` with the settings of `optimizer`, scaling the loss as that does."""
    inner = _compat.inner(optimizer)
    new = kind.from_config({**config_of(inner), **changes})
    _compat.carry_exclusions(inner, new)
    if inner is optimizer:
        return new
    return type(optimizer)(new, optimizer.initial_scale, optimizer.dynamic_growth_steps, name=optimizer.name)


def _by_path(optimizer):
    """The moments by their path without the optimizer's name; doubtful ones and half-accumulated gradients left out.

    What `ScheduleFreeAdamW` calls momentum is none, but where its steps have led, which it averages with the weights: with the
    step count at 0 they would be thrown there.
    """
    others = ("gradient_accumulator", *(["momentum"] if isinstance(optimizer, keras.optimizers.ScheduleFreeAdamW) else []))
    paths = [v.path.split("/", 1)[-1] for v in optimizer.variables]
    return {path: v for path, v in zip(paths, optimizer.variables)
            if paths.count(path) == 1 and path not in ("iteration", "learning_rate")
            and not path.endswith(others)}


def _base(optimizer):
    return getattr(type(optimizer), "base", type(optimizer))


def _define(base):
    """Defines and registers `Layerwise<base>`."""

    class Layerwise(_compat.ScaledUpdates, base):
        __doc__ = f"`{base.__name__}` with a multiplier of the update for each variable. `kt.layerwise` makes it."

        def __init__(self, *args, multipliers=None, **options):
            super().__init__(*args, **options)
            self.multipliers = dict(multipliers or {})

        def get_config(self):
            return {**super().get_config(), "multipliers": dict(self.multipliers)}

    Layerwise.base = base
    Layerwise.__name__ = Layerwise.__qualname__ = f"Layerwise{base.__name__}"
    keras.saving.register_keras_serializable("keras_transfer", name=Layerwise.__name__)(Layerwise)
    return Layerwise


_STOCK = [c for c in vars(keras.optimizers).values() if isinstance(c, type)
          and issubclass(c, keras.optimizers.Optimizer) and c not in
          (keras.optimizers.Optimizer, keras.optimizers.LossScaleOptimizer, keras.optimizers.MultiOptimizer)]
_CLASSES = {base: _define(base) for base in _STOCK}


def _class_for(base):
    if base not in _CLASSES:
        _CLASSES[base] = _define(base)
    return _CLASSES[base]
