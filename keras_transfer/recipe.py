"""The recipe: the head first, then the last layers, one History."""
import contextlib
import math
import pathlib
import shutil

import keras
import numpy as np

from . import _check, _compat, blocks, distributing
from .agreeing import agreed, fingerprint_of
from .assembling import objectives
from .checkpointing import RunState, owned
from .fitting import check_data, count_batches, info_of, needed_by
from .freezing import GradualUnfreezing, freeze, unfreeze
from .keeping import Keeper, appended_to, restore
from .multitask import tuning
from .network import check_methods, flags_kept, model_of, own_method
from .rates import carry_moments, config_of, layerwise, remade
from .store.caching import Store
from .store.phases import Phases
from .store.sources import is_endless

FEATURES = ".features_of_fine_tune"  # their folder, within that of the checkpoint
_TUNING_RATE = 0.1  # of the rate that the head trains with
_STEPS = 32         # of the small tail in one call of TensorFlow


def fine_tune(model, train, validation=None, *, head_epochs=5, epochs=5, last=None, directory=None, seed=None,
              deterministic=False, cache="auto", callbacks=(), verbose="auto"):
    """Trains the heads on the frozen backbone, then the last layers of the backbone as well.

    The second phase begins at a tenth of the rate, which then falls to zero along half a cosine (Loshchilov and
    Hutter 2017, arXiv:1608.03983) and is lower from block to block (`kt.layerwise`); batch norms stay frozen.
    With `validation`, a phase ends after 5 epochs without a lower validation loss (give a
    `keras.callbacks.EarlyStopping` of your own to have it otherwise), and the best weights of all epochs are in the
    model on return; it is then compiled with the settings it began with, as after Ctrl-C or an error, so that another call
    begins at the same rate.

    With a `directory`, a run that was killed goes on from its last whole epoch when the same call is made again, and
    one that has ended is restored at once. For the data sets of `kt.data`, shuffling, augmentation and dropout depend
    on the seed and the epoch only, so that with `deterministic=True` the weights are then the same to the last bit.

    Args:
        model: what `kt.attach` returned, or a `kt.MultiTask` learner of it, whose weighting goes on from phase to phase.
            Compiled: its loss, loss weights, metrics and the settings of its optimizer are kept; else those of
            `kt.objectives` and Adam. A rate that is a schedule is left alone.
        train: a `tf.data.Dataset` of (x, y) or (x, y, sample weights), a `keras.utils.PyDataset`, or a tuple of
            arrays; y as the heads want it, a dict for several.
        validation: the same for validation, or None: then nothing ends early and the last weights stay.
        head_epochs: the number of epochs with the backbone frozen; 0 leaves that phase out.
        epochs: the number of epochs with its last part trained; 0 leaves that phase out.
        last: what is trained then, as in `kt.unfreeze`; None: the last quarter of the layers, rounded to a block; or
            a function that sets the flags of the model: `lambda m: kt.unfreeze(m, "block11", norms=True)`.
        directory: a folder for the checkpoint, made if needed. Of several workers (`kt.strategy`) the chief alone
            writes and reads it and tells the others, so it may be on its own disk, and they need none. A checkpoint of
            other epochs, seed, data, validation or network is refused, and a folder that another run uses; not compared are
            the settings of the optimizer, and the elements of a `tf.data.Dataset` that isn't of kt.data or a `PyDataset`.
        seed: a whole number for `keras.utils.set_random_seed`; None: drawn anew, or 0 if deterministic.
        cache: whether what is frozen is computed once instead of in every epoch (see `kt.cache_features`). "auto": where
            that changes nothing, for sets of kt.data without random augmentation and for arrays without NaN, if the
            `callbacks` are of Keras's that don't look at the model (`EarlyStopping`, `ReduceLROnPlateau`,
            `LearningRateScheduler`, `TerminateOnNaN`, `CSVLogger`, `RemoteMonitor`), as they see the rest of it only, and
            the model has no `train_step`, `compute_loss` or the like of its own, which is refused else. True or a
            `kt.Store`: in any case; False: never. With `deterministic`, "auto" and True compute in TensorFlow.
        deterministic: whether TensorFlow is told to give the same bits each time, for the rest of the process.
        callbacks: further Keras callbacks, or one, begun and ended once in each phase, and anew by a run that goes on (a
            `CSVLogger` has all epochs in its file); `BackupAndRestore` is refused. Of several workers the chief alone may have
            those that only write. With a `LearningRateScheduler` or
            `ReduceLROnPlateau` among them the rate is theirs. Others than those named under `cache` see the plain model,
            so that without a learner a loss that is NaN ends training after its epoch then, and not at its batch.
        verbose: as in `fit`: "auto", 0, 1 or 2.

    Returns:
        One `keras.callbacks.History` over both phases, with `learning_rate` and `phase` ("head" or "tune"), and for a
        learner `HEAD_weight`: 1 in a phase with nothing shared to weigh, NaN where the method has no weights.

    Raises:
        ValueError: an argument is out of range, labels don't fit the heads, data have no end, `last` is not in the
            backbone, or the directory holds the checkpoint of another run; or a loss is NaN or infinite: of several heads,
            it's named with its batch before any weight has changed.
        RuntimeError: another run uses the directory.

    Example:
        >>> history = kt.fine_tune(model, train, valid, head_epochs=10, epochs=5)
    """
    trained, model = model, model_of(model)
    strategy, callbacks = model.distribute_strategy, keras.tree.flatten(callbacks or [])
    head_epochs, epochs = _check.whole(head_epochs, "head_epochs"), _check.whole(epochs, "epochs")
    seed = None if seed is None else _check.whole(seed, "seed")
    last = last.item() if isinstance(last, np.generic) else last  # checkpoints hold plain numbers
    plan = _plan(model, head_epochs, epochs, last)
    with flags_kept(model):  # what a phase refuses to train is refused now, not after the hours of another
        for _, _, set_flags in plan:
            set_flags(model)
        tuning.check_phases(trained, plan)
    if any(isinstance(callback, keras.callbacks.BackupAndRestore) for callback in callbacks):
        raise ValueError("BackupAndRestore counts the epochs of one `fit`, and here each phase is one. Leave it out, and give "
                         "a `directory`: a run that was killed goes on from there.")
    for part, argument in ((train, "train"), (validation, "validation")):
        if is_endless(part):
            raise ValueError(f"`{argument}` has no end, so that an epoch would have none. Leave `repeat()` out.")
    train = check_data(model, train, "train", labelled=True)
    validation = check_data(model, validation, "validation", needed_by(callbacks))
    directory, watched = agreed(directory, callbacks, strategy)
    cache = _cache(cache, trained, watched, deterministic)
    if cache is not None and any(isinstance(callback, GradualUnfreezing) for callback in callbacks):
        raise ValueError("GradualUnfreezing trains in the end what the features would be computed from, so that they can't be "
                         "kept. Leave `cache` out.")
    if deterministic:
        import tensorflow as tf

        seed = 0 if seed is None else seed
        tf.config.experimental.enable_op_determinism()
    drawn = int(np.random.SeedSequence().generate_state(1)[0] >> 1) if seed is None else seed
    drawn = int(distributing.from_chief(str(drawn).encode(), strategy))
    keras.utils.set_random_seed(drawn % 2**32)
    state = RunState({"head_epochs": head_epochs, "epochs": epochs, "seed": seed,
                      "last": "a function" if callable(last) else last,
                      "weights": len(model.weights), "parameters": model.count_params(),
                      **{name: fingerprint_of(part, strategy) for name, part in [("data", train), ("validation", validation)]
                         if directory is not None},
                      "weighting": tuning.described(trained)}, drawn)
    data = {"train": train, "validation": validation, "verbose": verbose, "cache": cache, "directory": directory,
            "watched": watched}
    with contextlib.nullcontext() if directory is None else owned(directory, strategy), strategy.scope():
        saved = None if directory is None else state.load(directory, strategy)
        _run(trained, plan, state, saved, Keeper(state, directory, callbacks), data, callbacks)
    return _history(trained, state)


def _plan(model, head_epochs, epochs, last):
    """The phases that have epochs: (name, number of epochs, what sets the flags)."""
    backbone = blocks.backbone_of(model) if isinstance(model, keras.Model) else model
    if backbone is model:
        raise TypeError(f"`model` must be what `kt.attach` returned, with a layer named 'backbone'. "
                        f"Received: {type(model).__name__}")
    if not head_epochs + epochs:
        raise ValueError("`head_epochs` and `epochs` are both 0, so there is nothing to train.")
    if _compat.graph(backbone) is not None and not callable(last) and (epochs or last is not None):
        last = blocks.last_quarter(backbone) if last is None else last
        blocks.position(backbone, last, "last")
    tune = last if callable(last) else lambda m: unfreeze(m, last)
    return [phase for phase in [("head", head_epochs, freeze), ("tune", epochs, tune)] if phase[1]]


def _run(trained, plan, state, saved, keeper, data, callbacks):
    model, keep = model_of(trained), _settings(trained)
    given = keep.pop("optimizer", None) or keras.optimizers.Adam()
    rate = config_of(_compat.inner(given))["learning_rate"]
    rate = math.nan if isinstance(rate, dict) else rate  # of a schedule: what it should become is not ours to guess
    learners = _learners(model, [set_flags for _, _, set_flags in plan], data)
    gradual = [callback for callback in callbacks if isinstance(callback, GradualUnfreezing)]
    with _given_back(trained, given, keep):
        for number, (name, count, set_flags) in enumerate(plan):
            if number < state.phase or state.finished and number > state.phase:
                continue
            set_flags(model)
            tuning.reset_metrics(keep)
            _compile(trained, given if name == "head" else _tuning(given, trained, rate), keep, trained)
            for callback in gradual:
                callback.prepare(trained)  # the checkpoint is of the optimizer that it trains with
            if saved is not None:
                restore([*trained.weights, *trained.optimizer.variables], saved)
                saved = None
            elif number > state.phase:
                state.phase, state.begun, state.epochs_over, state.phase_over, state.wait = number, state.epoch, False, False, 0
            if not state.phase_over:
                last_epoch = state.epoch if state.epochs_over else state.begun + count  # without one `fit` only ends the phase
                keeper.begin(trained, name, last_epoch, rate if name == "head" else rate * _TUNING_RATE)
                reduced = learners.of(number) if learners and tuning.takes_features(trained) else None
                with appended_to(callbacks, state.epoch):
                    _fit(trained, keep, reduced, data, keeper, callbacks)
                state.phase_over = True
                keeper.write(trained)
            for callback in gradual:
                callback.hold(model, state.epoch - 1)  # also where an earlier run has trained all epochs
        if state.best_weights is not None and keeper.restores:
            restore(trained.weights, state.best_weights)
        state.finished = True
        keeper.write(trained)
    if data["directory"] is not None and distributing.is_chief(model.distribute_strategy):
        shutil.rmtree(pathlib.Path(data["directory"], FEATURES), ignore_errors=True)


@contextlib.contextmanager
def _given_back(trained, given, keep):
    """Context: compiled as it was given afterwards, also after an error or Ctrl-C, which would leave a phase's lower rate."""
    model, ended = model_of(trained), False
    try:
        yield
        ended = True
    finally:
        if ended or not distributing.is_several(model.distribute_strategy):
            tuning.reset_metrics(keep)
            _compile(trained, given, keep, trained)
            if trained is not model:
                _compile(model, given, tuning.with_own_metrics(keep), trained)
        elif trained.compiled:  # all workers make variables together, and one may be gone
            _compat.replace_optimizer(trained, given)


def _settings(trained):
    """What it was compiled with; else what its model was; else what its heads carry."""
    compiled = next((one for one in (trained, model_of(trained)) if one.compiled), None)
    if compiled is None:
        return objectives(trained)
    scales = isinstance(compiled.optimizer, (keras.optimizers.LossScaleOptimizer, type(None)))
    unscaled = {} if scales or compiled.dtype_policy.name != "mixed_float16" else {"auto_scale_loss": False}  # Keras forgets it
    return tuning.with_metrics_of(trained.distribute_strategy, {**_compat.compile_arguments(compiled), **unscaled})


def _tuning(given, trained, rate):
    """The optimizer of the second phase."""
    return layerwise(given if math.isnan(rate) else remade(given, learning_rate=rate * _TUNING_RATE), trained)


def _compile(network, given, keep, before):
    """Compiles with a new optimizer of the settings given, built, and with the moments that `before` has, if it's compiled."""
    optimizer = remade(given)
    optimizer.build(network.trainable_variables)
    if before.compiled:
        carry_moments(before.optimizer, optimizer)
    network.compile(optimizer=optimizer, **keep)
    if not network.optimizer.built:  # what scales the loss for float16 has variables of its own
        network.optimizer.build(network.trainable_variables)


def _cache(cache, trained, watched, deterministic):
    """Returns (store, whether only where it's exact), or None for no cache."""
    if cache is False or cache == "auto" and (watched or own_method(trained)):
        return None
    check_methods(trained)
    if isinstance(cache, Store):
        return cache, False
    if cache is not True and cache != "auto":
        raise ValueError(f"`cache` must be \"auto\", True, False or a kt.Store. Received: {cache!r}")
    return Store(engine="tensorflow" if deterministic else "auto"), cache == "auto"


def _learners(model, flags, data):
    """What the phases train on if it may be features, or None. They are kept in a folder that all workers see."""
    if not data["cache"]:
        return None
    (store, only_exact), directory = data["cache"], data["directory"]
    shared = directory is not None and distributing.is_shared(directory, model.distribute_strategy)
    return Phases(model, flags, data["train"], data["validation"], store=store, only_exact=only_exact,
                  directory=pathlib.Path(directory, FEATURES) if shared else None, verbose=data["verbose"])


def _fit(trained, keep, reduced, data, keeper, callbacks):
    """Trains one phase; `reduced`: the rest of the model and its features, or None."""
    train, validation, verbose, watched = (data[name] for name in ("train", "validation", "verbose", "watched"))
    keeper.say(verbose, bool(reduced))
    part = model_of(trained)
    if reduced:
        part, train, validation = reduced
    learner = tuning.in_phase(trained, part, None if watched else keep)
    if learner is not trained:
        steps = keep.get("steps_per_execution") or 1
        many = min(_STEPS, count_batches(train)) if reduced and steps == 1 and not watched else steps
        learner.compile(optimizer=trained.optimizer, **{**keep, "steps_per_execution": many})
    keeper.info = info_of(train)
    x, *labels = train if isinstance(train, tuple) else (train,)
    learner.fit(x, **dict(zip(("y", "sample_weight"), labels)), validation_data=validation,
                initial_epoch=keeper.state.epoch, epochs=keeper.last_epoch,
                shuffle=isinstance(train, (tuple, keras.utils.PyDataset)),
                verbose=verbose, callbacks=[*callbacks, keeper])  # which may add to the logs, or stop


def _history(trained, state):
    history = keras.callbacks.History()
    history.set_model(trained)
    history.history, history.epoch = state.history, list(range(state.epoch))
    trained.history = model_of(trained).history = history
    return history
