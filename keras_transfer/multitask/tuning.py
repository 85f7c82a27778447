"""A `MultiTask` learner in the phases of `kt.fine_tune`, each of which trains another part of its model."""
import keras
import tensorflow as tf

from .. import _compat, distributing
from ..network import model_of, own_method
from .learner import MultiTask
from .losses import TaskLosses
from .reaching import shared_variables
from .weighting import Equal

_METRICS = ("metrics", "weighted_metrics")  # among the arguments of `compile`


def in_phase(learner, part, settings=None):
    """Returns what trains `part` in the phase whose flags are set; a learner's weighting goes on in all phases.

    Where tasks share nothing that trains, as with a frozen backbone and no sharing layer, a method on gradients has nothing
    to weigh: each head trains by its own loss. Where nothing below `at` trains, no pass through it is to be saved, and
    gradients are compared over the variables that are shared above.

    Args:
        learner: a `MultiTask`, or a plain model.
        part: its model, or the tail of it that computes on features.
        settings: the arguments of `compile`. Given, a plain model of several heads trains in a `MultiTask`, to the same bits,
            which tells of a loss that is NaN before it does harm; None: `part` itself, as callbacks may expect it.
    """
    if model_of(learner) is learner:
        return part if settings is None else _watched(part, settings)
    weighting, at = learner.weighting, learner.at
    if weighting is None or not weighting.reads_gradients:
        at = None
    elif not shared_variables(learner.model):
        weighting, at = Equal(), None
    elif at is not None and not learner.trunk.trainable_variables:
        at = None
    if part is learner.model and weighting is learner.weighting and at == learner.at:
        return learner
    return MultiTask(part, weighting, at=at)


def _watched(part, settings):
    """Returns a learner without a weighting; or `part`, if it trains in a way of its own, or by other losses than one a head."""
    if own_method(part):
        return part
    try:
        learner = MultiTask(part)
        TaskLosses(learner.tasks, settings.get("loss"), settings.get("loss_weights"))
    except (ValueError, TypeError):
        return part
    return learner


def takes_features(learner):
    """Whether the tail of the learner's model has the layer `at`: of a nested model it has the inner layers only."""
    at = getattr(learner, "at", None)
    return at is None or _compat.graph(learner.model.get_layer(at)) is None or not learner.trunk.trainable_variables


def check_phases(learner, plan):
    """Refuses a method that keeps gradients of other variables than those that a phase trains.

    Args:
        learner: a `MultiTask` or a plain model.
        plan: `[(phase, epochs, function that sets the model's flags)]`.
    """
    weighting = getattr(learner, "weighting", None)
    for name, _, set_flags in plan if weighting is not None and weighting.keeps_gradients else ():
        set_flags(learner.model)
        shapes = [tuple(v.shape) for v in shared_variables(learner.model)]
        if shapes and shapes != [tuple(shape) for shape in weighting.shapes]:
            last = " after `kt.unfreeze(model, last)`, with the same `last`" if name == "tune" else " on the frozen model"
            raise ValueError(f"{type(weighting).__name__} keeps gradients of the {len(weighting.shapes)} shared variables that "
                             f"trained when the learner was made, but {len(shapes)} train in the phase {name!r}, or others. Make "
                             f"the learner{last}, and leave the other phase out (head_epochs=0 or epochs=0) if it shares others.")


def described(learner):
    """Returns how a learner weighs its tasks, in words that tell it from others; None for the plain sum."""
    weighting = getattr(learner, "weighting", None)
    if weighting is None:
        return None
    own = {k: v for k, v in weighting.get_config().items() if k not in ("name", "dtype", "trainable")}
    at = "" if learner.at is None else f" at {learner.at!r}"
    return f"{type(weighting).__name__}({', '.join(f'{k}={v!r}' for k, v in own.items())}){at}"


def reset_metrics(settings):
    """Lets metrics forget what they counted. Keras doesn't in the pass that builds them, the first of each model or tail.

    Args:
        settings: arguments of `compile`.
    """
    for metric in keras.tree.flatten([settings.get(name) for name in _METRICS]):
        if isinstance(metric, keras.metrics.Metric):
            metric.reset_state()


def with_own_metrics(settings, which=lambda metric: True, needed=False):
    """Returns arguments of `compile` with metrics of their own, so that two models can be measured in turn.

    Args:
        settings: arguments of `compile`.
        which: tells whether a `keras.metrics.Metric` is to be made anew.
        needed: whether one that can't be made from its config raises its TypeError or ValueError, or else stays.
    """
    def copied(metric):
        if not isinstance(metric, keras.metrics.Metric) or not which(metric):
            return metric
        try:
            return type(metric).from_config(metric.get_config())
        except (TypeError, ValueError):
            if needed:
                raise
            return metric

    return {**settings, **{name: keras.tree.map_structure(copied, settings[name]) for name in _METRICS if settings.get(name)}}


def with_metrics_of(strategy, settings):
    """Returns arguments of `compile` with metrics that count the rows of all workers; to be called in the strategy's scope.

    Those that were made outside of it have variables of their process: each of several workers would count its own rows, and
    end training at another epoch by an accuracy of its own.

    Raises:
        ValueError: one was made outside and can't be made from its config.
    """
    def outside(metric):
        return not all(isinstance(v.value, tf.distribute.DistributedValues) for v in metric.variables)

    if not distributing.is_several(strategy):
        return settings
    try:
        return with_own_metrics(settings, outside, needed=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"A metric was made outside of the strategy's scope, and can't be made from its config anew ({error})."
                         " Call `compile` within `strategy.scope()`.") from error
