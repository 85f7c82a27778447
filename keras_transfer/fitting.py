"""Does the data fit the heads? Asked before any training."""
import math
import re

import keras
import numpy as np
import tensorflow as tf

from . import _check, _compat
from .assembling import heads_of
from .heads import Classifier, MultiLabel, Ordinal
from .heads.head import class_names
from .masking import masked_in


class Fault(ValueError):
    """What ends the training of a learner: a loss that is no number, or a head that nothing was learnt for."""


def check_data(model, dataset, argument, labelled=()):
    """Refuses data whose labels don't fit the heads of `model`, and returns them in the form that Keras takes.

    Args:
        model: what `kt.attach` returned.
        dataset: a `tf.data.Dataset`, a `keras.utils.PyDataset` (not looked into), a tuple of arrays, or None.
        argument: what the caller calls it, for the error.
        labelled: the names of heads that need a label; True: all, as for training.

    Returns:
        `dataset`; arrays of NumPy's strings in it are arrays of objects then.

    Raises:
        TypeError: `dataset` is none of these, or a tuple of something else than arrays.
        ValueError: it has no labels, a label's name is that of no head or a head has none, or a class number is
            outside those of its head; or all labels are missing, of all heads or of one that needs some. Values are looked at
            where they are at hand: in arrays and sets of `kt.data`.
    """
    if dataset is None or isinstance(dataset, keras.utils.PyDataset):
        return dataset
    if not isinstance(dataset, tuple) and not callable(getattr(dataset, "cardinality", None)):  # of a distributed set it's a number
        raise TypeError(f"`{argument}` must be a tf.data.Dataset, a keras.utils.PyDataset or a tuple of arrays "
                        f"(x, y); what distributes it is the strategy of the model. Received: {type(dataset).__name__}")
    dataset = _check.given(dataset)
    if isinstance(dataset, tuple):
        dataset = keras.tree.map_structure(lambda leaf: _as_keras_takes_it(leaf, argument), dataset)
    element = dataset if isinstance(dataset, tuple) else dataset.element_spec
    while isinstance(element, tuple) and element and isinstance(element[-1], tf.NoneTensorSpec):  # (x, y, None) means (x, y)
        element = element[:-1]
    if not isinstance(element, tuple) or len(element) not in (2, 3):
        raise ValueError(f"`{argument}` must give (x, y) or (x, y, sample_weight); it has no labels.")
    _check_inputs(model, element[0], argument)
    if _is_empty(dataset):
        raise ValueError(f"`{argument}` is empty: there is nothing to train on.")
    outputs = _compat.output_structure(model)
    names = list(outputs) if isinstance(outputs, dict) else None
    for part, what in zip(element[1:], ("labels", "sample weights")):
        _check_names(part, names, argument, what)
    _check_values(model, dataset, element[1], names, argument, labelled)
    return dataset


def _as_keras_takes_it(leaf, argument):
    if leaf is not None and not hasattr(leaf, "shape"):
        raise TypeError(f"`{argument}` must hold arrays, and there is a {type(leaf).__name__} among them: {leaf!r:.40}. Lists of "
                        "numbers or texts become one by np.array(...).")
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "S":
        leaf = np.char.decode(leaf, "utf-8")
    return leaf.astype(object) if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "U" else leaf


def needed_by(callbacks):
    """Returns the heads of which callbacks such as `kt.multitask.Gain` need labels for validation."""
    return {name for callback in callbacks for name in getattr(callback, "needs_labels", ())}


def _check_inputs(model, x, argument):
    """Compares shapes without the batch; structures of several inputs are left to Keras."""
    given = getattr(x, "shape", None)
    if given is None or len(model.inputs) != 1 or isinstance(x, dict):
        return
    wanted, given = model.inputs[0].shape[1:], tuple(given)[1:]
    if len(given) != len(wanted) or any(w is not None and g is not None and w != g for w, g in zip(wanted, given)):
        raise ValueError(f"The model takes inputs of shape {tuple(wanted)}, but those of `{argument}` have {given}. Read "
                         "photos with the `size` that the backbone was built for.")


def _is_empty(dataset):
    if isinstance(dataset, tuple):
        return len(keras.tree.flatten(dataset[0])[0]) == 0
    return int(dataset.cardinality()) == 0


def check_loss(logs, epoch):
    """Refuses to go on after an epoch whose loss is NaN or infinite, and names the head.

    Args:
        logs: what `fit` logged of the epoch.
        epoch: its number, from 0 on.

    Raises:
        ValueError: `loss` or `val_loss` isn't finite.
    """
    if math.isfinite(logs.get("loss", 0.0)):
        _check_validation(logs, epoch)
        return
    heads = [name.removesuffix("_loss") for name, value in logs.items()
             if name.endswith("_loss") and not name.startswith("val_") and not math.isfinite(value)]
    of = f" of head {heads[0]!r}" if heads else ""
    raise ValueError(f"The loss{of} is NaN or infinite after epoch {epoch + 1}, and nothing can be learnt from there. The learning "
                     "rate may be too high (kt.find_learning_rate suggests one), or the data hold NaN.")


def _check_validation(logs, epoch):
    """An epoch that can't be compared with others would end training early, and put its first weights back."""
    wrong = [name for name, value in logs.items() if re.fullmatch("val_(.*_)?loss", name) and not math.isfinite(value)]
    if wrong:
        of = f" of head {wrong[-1][4:-5]!r}" if wrong[-1] != "val_loss" else ""
        raise ValueError(f"The validation loss{of} is NaN or infinite after epoch {epoch + 1}, so that no epoch is better than another. "
                         "The validation data may hold NaN; mend them, or leave `validation` out.")


def count_batches(dataset):
    """Returns how many batches `fit` makes of a tuple of arrays, or of a data set that knows its length."""
    return math.ceil(len(keras.tree.flatten(dataset[0])[0]) / 32) if isinstance(dataset, tuple) else int(dataset.cardinality())


def info_of(dataset):
    """Returns what `kt.data` knows of a data set that it made, None for any other."""
    from .data import info

    return info(dataset)


def _check_names(part, names, argument, what):
    if isinstance(part, dict) != (names is not None):
        have, want = ("a dict", "one head") if names is None else ("one array", f"the heads {', '.join(names)}")
        raise ValueError(f"The {what} of `{argument}` are {have}, but the model has {want}. "
                         f"{'Give the array itself' if names is None else 'Give a dict by head name'}.")
    for name in part if names is not None else []:
        if name not in names:
            raise ValueError(f"The {what} of `{argument}` have the key {name!r}, which is no head of the model."
                             f"{_check.suggestion(name, names)}")
    missing = [name for name in names or [] if name not in part]
    if missing:
        raise ValueError(f"The {what} of `{argument}` lack the heads {', '.join(missing)}. Give every head its own; "
                         "missing labels are -1 (classes) or NaN (numbers).")


def _check_values(model, dataset, labels, names, argument, labelled):
    """Compares class numbers with the heads, where the labels are at hand without a pass over the data."""
    try:
        heads = heads_of(model)
    except ValueError:
        return  # heads that aren't ours: the caller compiled the model and knows
    known = labels if isinstance(dataset, tuple) else getattr(info_of(dataset), "targets", None)
    unlabelled = []
    for name, head in heads.items():
        spec = labels[name] if names is not None else labels
        if str(getattr(spec.dtype, "name", spec.dtype)) in ("string", "object") or str(spec.dtype).startswith("<U"):
            raise ValueError(f"The labels of `{argument}` for head {name!r} are text. Give class numbers, or let "
                             "kt.data.photos or kt.data.table make them.")
        values = known.get(name, next(iter(known.values()), None)) if isinstance(known, dict) else known
        if values is None:
            continue
        _check_order(dataset, head, name, argument)
        if is_missing(np.asarray(values), head).all():
            unlabelled.append(name)
            if labelled is True or name in labelled:
                raise ValueError(f"All labels of `{argument}` for head {name!r} are missing. Give it some, or leave that head out.")
        if isinstance(head, (Classifier, Ordinal)) and head.has_default_loss:
            _check_classes(np.asarray(values), head, name, argument)
        elif isinstance(head, MultiLabel) and np.shape(values)[-1] != head.units:
            raise ValueError(f"The labels of `{argument}` for head {name!r} have {np.shape(values)[-1]} columns, but "
                             f"the head has {head.units} labels.")


    if len(unlabelled) == len(heads):
        raise ValueError(f"All labels of `{argument}` are missing, so there is nothing to measure. Give it some, or leave it out.")


def is_missing(values, head):
    """Returns which labels of a head are none: an array of booleans."""
    missing = getattr(masked_in(head.make_loss()), "missing", None)
    if missing is None:
        missing = math.nan if values.dtype.kind == "f" else -1
    return values == missing if missing == missing else np.isnan(values)


def _check_order(dataset, head, name, argument):
    """Class numbers mean nothing without their names: those of a set of `kt.data` must be the head's, in its order."""
    labels = getattr(info_of(dataset), "labels", None)
    names = labels.get(name) if isinstance(labels, dict) else labels
    has = getattr(head, "class_names", None)
    if isinstance(names, list) and has is None:
        raise ValueError(f"The labels of `{argument}` for head {name!r} are classes, but the head gives numbers. Give it a "
                         "kt.heads.Classifier.")
    if isinstance(names, list) and list(has) != names and list(has) != class_names(len(has), least=1):  # a count has no order to keep
        raise ValueError(f"The classes of `{argument}` for head {name!r} are {', '.join(names[:5])}, but the head has "
                         f"{', '.join(has[:5])}, another list or order. Make the head with the labels that kt.data returned.")


def _check_classes(values, head, name, argument):
    if values.ndim > 1 and values.shape[-1] > 1:
        raise ValueError(f"The labels of `{argument}` for head {name!r} have the shape {values.shape}, but the head takes a class "
                         "number a row. Of one-hot rows, np.argmax(labels, -1) makes them.")
    seen = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    count = len(head.class_names)
    if seen.size and (seen.max() >= count or seen.min() < -1 or np.any(seen != seen.astype(int))):
        raise ValueError(f"The labels of `{argument}` for head {name!r} run from {seen.min():g} to {seen.max():g}, but "
                         f"the head has the classes 0 to {count - 1} (-1: missing). Give it as many classes as the "
                         "data has.")
