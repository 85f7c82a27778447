"""What training together gains over training alone."""
import dataclasses
import statistics

import keras
import tensorflow as tf

from .. import _check, _compat, blocks
from ..assembling import heads_of, objectives
from ..fitting import check_data
from ..network import Network, model_of, own_method, told_apart
from ..rates import remade
from ..store import Store, cache_features, split
from . import comparing

LOGGED = "val_multitask_gain"


def gain(model, baselines, dataset, *, modes=None):
    """Returns how much better the tasks are together than alone: a table task by task, and the mean relative change.

    Delta_m = 1/T sum over tasks t of (-1)^(l_t) (M_m,t - M_b,t) / |M_b,t| (Maninis et al. 2019, arXiv:1904.08918), where M_m,t is
    a metric of the multi-task model, M_b,t that of the single-task one, and l_t is 1 if lower is better, else 0. Below 0 the
    tasks harm each other on average; `lost` names those that are harmed, which a good mean may hide.

    The paper has one metric a task; here the changes of a task's metrics are averaged first. `Gain` does the same in `fit`.

    Args:
        model: a model with a head for each task, or its learner. Compiled, its metrics are taken; else those of its heads.
        baselines: what `kt.multitask.baselines` returned, or figures of your own, `{task: {metric: value}}`; or a list of them,
            one a seed. Its tasks and metrics are those that count.
        dataset: the same data that the baselines were measured on, as for `evaluate`.
        modes: `{metric: "max" or "min"}` for metrics of which it isn't known whether higher is better.

    Returns:
        A `Comparison`: a table with `mean` and `by_task` (shares: 0.02 is 2 %), `lost` and `results`.

    Raises:
        ValueError: the model lacks a task or metric of `baselines`, a baseline is 0, or a metric isn't known; or `dataset` has no
            label of a task, where its labels are at hand.

    Example:
        >>> baselines = kt.multitask.baselines(model, train, valid, epochs=10)
        >>> learner.fit(train, epochs=10)
        >>> print(kt.multitask.gain(learner, baselines, valid))
    """
    wanted = comparing.means(baselines)
    dataset = check_data(model_of(model), dataset, "dataset", labelled=wanted)
    if not model.compiled:
        network = model_of(model)
        model = Network(_compat.input_structure(network), _compat.output_structure(network))
        model.compile(**objectives(network))
    x, *labels = dataset if isinstance(dataset, tuple) else (dataset,)
    logs = model.evaluate(x, **dict(zip(("y", "sample_weight"), labels)), return_dict=True, verbose=0)
    return comparing.comparison(baselines, _taken(logs, wanted), modes=modes)


def _taken(logs, wanted, prefix=""):
    """The logs of a model as `{task: {metric: value}}`, of those `wanted`."""
    return {task: {metric: float(logs[_check.one_of(f"{prefix}{task}_{metric}", logs, "metric")]) for metric in metrics}
            for task, metrics in wanted.items()}


class Gain(keras.callbacks.Callback):
    """Puts the mean relative change to single-task models into the logs, as `val_multitask_gain`; higher is better.

    One number for `EarlyStopping` and `ModelCheckpoint` to watch instead of a sum of losses of different sizes. It's made
    of the logs of validation, so it costs nothing. Put it before the callbacks that watch it, and give them `mode="max"`.

    Args:
        baselines: as for `kt.multitask.gain`, measured on the validation data.
        modes: as for `kt.multitask.gain`.

    Raises:
        ValueError: as for `kt.multitask.gain`; in `fit`, an epoch ended without validation.

    Example:
        >>> best = keras.callbacks.EarlyStopping("val_multitask_gain", mode="max", patience=3, restore_best_weights=True)
        >>> learner.fit(train, validation_data=valid, epochs=30, callbacks=[kt.multitask.Gain(baselines), best])
    """

    def __init__(self, baselines, modes=None):
        super().__init__()
        self.baselines, self.modes = comparing.means(baselines), modes
        comparing.changes(self.baselines, self.baselines, modes)  # what is wrong with them is told now
        self.needs_labels = tuple(self.baselines)  # of validation, which `fit` and `fine_tune` look at

    def on_train_begin(self, logs=None):
        network = model_of(self.model)
        for task in self.baselines if _compat.graph(network) is network else ():
            _check.one_of(task, heads_in(network), "task of `baselines`")

    def on_epoch_end(self, epoch, logs=None):
        if not any(name.startswith("val_") for name in logs):
            raise ValueError("Gain compares figures of validation, and this epoch had none. Give `fit` validation_data, and no "
                             "validation_freq.")
        found = comparing.changes(self.baselines, _taken(logs, self.baselines, "val_"), self.modes)
        logs[LOGGED] = statistics.fmean(found.values())


def heads_in(network):
    """Returns the names of the outputs of a Functional model."""
    outputs = _compat.output_structure(network)
    return list(outputs) if isinstance(outputs, dict) else network.output_names


def baselines(model, train, validation=None, *, epochs, optimizer=None, tasks=None, directory=None, store=Store(), verbose=0):
    """Trains a model for each head alone, and returns its metrics: what `kt.multitask.gain` compares with.

    What is frozen at the input of `model` is computed once for all heads (see `kt.cache_features`), so with a frozen backbone
    it costs little more than the features. Each of the others is a copy: heads and sharing layers begin anew, the backbone
    with the weights that it has now. So call it before the backbone is trained on all tasks. `model` itself is left as it is.

    With `validation` the weights of the epoch with the lowest validation loss are measured, so that a head that overfits
    early is no weak baseline. Choose the epoch of the multi-task model likewise.

    Args:
        model: what `kt.attach` returned with a dict of heads, its flags set, or a learner of it.
        train: the training data, as for `kt.cache_features`, with a dict of labels.
        validation: the data to measure on, the same; None: `train`, which flatters.
        epochs: how many; the number that the multi-task model gets.
        optimizer: whose settings each of the models trains with; None: Adam.
        tasks: names of heads; None: all.
        directory: where features are kept; None: in a temporary folder.
        store: a `kt.Store`, for the features.
        verbose: as in `fit`.

    Returns:
        `{task: {metric: value}}`, with the metrics of the heads. For a spread call it with other seeds
        (`keras.utils.set_random_seed`) and give the list to `gain` or `comparison`.

    Raises:
        ValueError: a task is no head or its head has no metrics, or labels don't fit.
        TypeError: nothing is frozen, and the data are a `PyDataset`.

    Example:
        >>> kt.freeze(model)
        >>> kt.multitask.baselines(model, train, valid, epochs=10)
        {'breed': {'accuracy': 0.81}, 'age': {'mae': 1.9}}
    """
    model = model_of(model)
    heads = heads_of(model)
    tasks = list(heads) if tasks is None else [_check.one_of(task, heads, "head in `tasks`") for task in tasks]
    metrics = {task: [metric.name for metric in heads[task].make_metrics()] for task in tasks}
    for task in tasks:
        if not metrics[task]:
            raise ValueError(f"The head {task!r} has no metrics, so there is nothing to compare. Give it `metrics`, or leave it "
                             "out of `tasks`.")
    _check.whole(epochs, "epochs", least=1)
    train = check_data(model, train, "train", labelled=tasks)
    validation = check_data(model, validation, "validation", labelled=tasks)
    with model.distribute_strategy.scope():
        tail, train, validation = _on_features(model, train, validation, directory, store, verbose)
        found = {}
        for task in tasks:
            alone = _alone(tail, task, blocks.backbone_of(model))
            logs = _trained(alone, _only(train, task), _only(validation, task), epochs, optimizer, verbose)
            found[task] = {metric: float(logs[metric]) for metric in metrics[task]}
    return found


def single_task(model, task):
    """Returns a model like `model` with one of its heads, to be trained alone; nothing is shared between the two.

    The backbone begins with the weights that it has now, head and sharing layers with new ones. Where copies of the
    backbone meet at inner stages (`CrossStitch`), it's the whole network with one head.

    Args:
        model: what `kt.attach` returned with a dict of heads, or a learner of it.
        task: the name of a head.

    Returns:
        A Functional `keras.Model` with a dict of one output, uncompiled, with the flags of `model`.

    Example:
        >>> alone = kt.multitask.single_task(model, "breed")
        >>> alone.compile(optimizer="adam", **kt.objectives(alone))
    """
    model = model_of(model)
    _check.one_of(task, heads_of(model), "head")
    with model.distribute_strategy.scope():
        return _alone(model, task, blocks.backbone_of(model))


def _alone(network, task, backbone):
    """A copy of `network` with one output; layers of `backbone` keep their weights, others begin anew."""
    kept = set(map(id, _compat.flat_layers(backbone)))
    with told_apart(network.operations):
        copy = type(network).from_config(network.get_config())
    for mine, its in zip(_compat.flat_layers(copy), _compat.flat_layers(network), strict=True):
        mine.trainable = its.trainable
        if id(its) in kept:
            mine.set_weights(its.get_weights())
    outputs = _compat.output_structure(copy)
    return Network(_compat.input_structure(copy), {task: outputs[task] if isinstance(outputs, dict) else outputs})


def _on_features(model, train, validation, directory, store, verbose):
    """What trains, and both data sets for it."""
    if own_method(model) or split(model)[0] is None:
        return model, _batched(train, shuffle=True), validation if validation is None else _batched(validation)
    train, tail = cache_features(model, train, directory, shuffle=True, store=store, verbose=verbose)
    if validation is not None:  # one pass, and no other data set may have its key
        store = dataclasses.replace(store, views=1, key=store.key and f"{store.key}, validation")
        validation, _ = cache_features(model, validation, directory, store=store, verbose=verbose)
    return tail, train, validation


def _batched(dataset, shuffle=False):
    if isinstance(dataset, keras.utils.PyDataset):
        raise TypeError("Nothing at the input of `model` is frozen, and labels of single tasks can't be taken from a PyDataset. "
                        "Give a tf.data.Dataset, or freeze the backbone.")
    if not isinstance(dataset, tuple):
        return dataset
    rows = tf.data.Dataset.from_tensor_slices(dataset)
    return (rows.shuffle(len(rows)) if shuffle else rows).batch(32)


def _only(dataset, task):
    """The elements of a data set with the labels and sample weights of one task."""
    def chosen(x, y, *sample_weight):
        return x, {task: y[task]}, *({task: w[task] if isinstance(w, dict) else w} for w in sample_weight)

    return None if dataset is None else dataset.map(chosen)


def _trained(alone, train, validation, epochs, optimizer, verbose):
    """Trains a model of one task; returns what it does on `validation`."""
    optimizer = keras.optimizers.Adam() if optimizer is None else remade(keras.optimizers.get(optimizer))
    alone.compile(optimizer=optimizer, **{**objectives(alone), "loss_weights": None})  # which are for sums
    best = keras.callbacks.EarlyStopping("val_loss", mode="min", patience=epochs, restore_best_weights=True)
    callbacks = [] if validation is None else [best]
    alone.fit(train, validation_data=validation, epochs=epochs, shuffle=False, verbose=verbose, callbacks=callbacks)
    return alone.evaluate(train if validation is None else validation, return_dict=True, verbose=0)
