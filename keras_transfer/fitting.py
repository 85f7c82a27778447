"""Does the data fit the heads? Asked before any training."""
import keras
import numpy as np

from . import _check, _compat
from .assembling import heads_of
from .heads import Classifier, MultiLabel, Ordinal


def check_data(model, dataset, argument):
    """Refuses data whose labels don't fit the heads of `model`.

    Args:
        model: what `kt.attach` returned.
        dataset: a `tf.data.Dataset`, a `keras.utils.PyDataset` (not looked into), a tuple of arrays, or None.
        argument: what the caller calls it, for the error.

    Raises:
        TypeError: `dataset` is none of these.
        ValueError: it has no labels, a label's name is that of no head or a head has none, or a class number is
            outside those of its head.
    """
    if dataset is None or isinstance(dataset, keras.utils.PyDataset):
        return
    if not isinstance(dataset, tuple) and not hasattr(dataset, "element_spec"):
        raise TypeError(f"`{argument}` must be a tf.data.Dataset, a keras.utils.PyDataset or a tuple of arrays "
                        f"(x, y). Received: {type(dataset).__name__}")
    element = dataset if isinstance(dataset, tuple) else dataset.element_spec
    if not isinstance(element, tuple) or len(element) not in (2, 3):
        raise ValueError(f"`{argument}` must give (x, y) or (x, y, sample_weight); it has no labels.")
    outputs = _compat.output_structure(model)
    names = list(outputs) if isinstance(outputs, dict) else None
    for part, what in zip(element[1:], ("labels", "sample weights")):
        _check_names(part, names, argument, what)
    _check_values(model, dataset, element[1], names, argument)


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


def _check_values(model, dataset, labels, names, argument):
    """Compares class numbers with the heads, where the labels are at hand without a pass over the data."""
    try:
        heads = heads_of(model)
    except ValueError:
        return  # heads that aren't ours: the caller compiled the model and knows
    known = labels if isinstance(dataset, tuple) else getattr(info_of(dataset), "targets", None)
    for name, head in heads.items():
        spec = labels[name] if names is not None else labels
        if str(getattr(spec.dtype, "name", spec.dtype)) in ("string", "object") or str(spec.dtype).startswith("<U"):
            raise ValueError(f"The labels of `{argument}` for head {name!r} are text. Give class numbers, or let "
                             "kt.data.photos or kt.data.table make them.")
        values = known.get(name, next(iter(known.values()), None)) if isinstance(known, dict) else known
        if values is None:
            continue
        if isinstance(head, (Classifier, Ordinal)):
            _check_classes(np.asarray(values), head, name, argument)
        elif isinstance(head, MultiLabel) and np.shape(values)[-1] != head.units:
            raise ValueError(f"The labels of `{argument}` for head {name!r} have {np.shape(values)[-1]} columns, but "
                             f"the head has {head.units} labels.")


def _check_classes(values, head, name, argument):
    seen = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    count = len(head.class_names)
    if seen.size and (seen.max() >= count or seen.min() < -1 or np.any(seen != seen.astype(int))):
        raise ValueError(f"The labels of `{argument}` for head {name!r} run from {seen.min():g} to {seen.max():g}, but "
                         f"the head has the classes 0 to {count - 1} (-1: missing). Give it as many classes as the "
                         "data has.")
