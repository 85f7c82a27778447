"""Class weights, also for models of several outputs, as sample weights."""
import dataclasses
import hashlib
import math
import numbers

import numpy as np
import tensorflow as tf

from .. import _check
from .describing import described, info
from .streaming import AHEAD


def balance(dataset, weights="balanced"):
    """Weighs each sample by its class, so that rare classes count as much as frequent ones.

    Use it where Keras's `class_weight` would do for one output; Keras refuses that for several. The balanced weight of
    class c is n / (k n_c), for n labelled samples, k classes seen and n_c samples of class c. Missing labels (-1),
    numbers and multi-hot labels get 1. Weights that the dataset already has are multiplied.

    Args:
        dataset: `tf.data.Dataset` of (x, y) or (x, y, sample_weight), batched. y: class numbers `(batch,)` or
            `(batch, 1)`, or a dict of heads.
        weights: "balanced"; or `{class: weight}`, by number or name; or, for a dict of heads,
            `{head: "balanced" or {class: weight}}`. Heads and classes that aren't named get 1.

    Returns:
        Dataset of (x, y, sample_weight); sample_weight is float32 `(batch,)`, or a dict with every head.

    Raises:
        TypeError: `dataset` is no `tf.data.Dataset`.
        ValueError: for an unknown head or class, and for targets that have no classes to balance.

    Example:
        >>> train, valid, labels = photos("pets/")
        >>> model.fit(balance(train))
    """
    specs = _specs(dataset)
    rules = _rules(weights, specs)
    targets = _targets(dataset, [head for head, rule in rules.items() if rule == "balanced"])
    tables = {head: balanced(targets[head]) if rule == "balanced" else _given(rule, _names(dataset, head), head)
              for head, rule in rules.items()}

    def weigh(x, y, before=1.0):
        if None in specs:
            return x, y, before * _weights(y, tables[None])
        before = before if isinstance(before, dict) else dict.fromkeys(y, before)
        return x, y, {head: before.get(head, 1.0) * _weights(y[head], tables.get(head)) for head in y}

    result, known = dataset.map(weigh, tf.data.AUTOTUNE).prefetch(AHEAD), info(dataset)
    if known is None:
        return result
    mark = known.fingerprint + repr({head: table.tolist() for head, table in tables.items()})
    reader = known.reader and (lambda rows, batch_size: known.reader(rows, batch_size).map(weigh))
    return described(result, dataclasses.replace(known, reader=reader,
                                                 fingerprint=hashlib.sha256(mark.encode()).hexdigest()))


def balanced(classes):
    """Returns the weight of each class, float32 `(classes,)`, from class numbers of any shape; -1 is not counted."""
    classes = np.asarray(classes).ravel()
    counts = np.bincount(classes[classes >= 0])
    seen = counts > 0
    return np.where(seen, counts.sum() / (max(1, seen.sum()) * np.maximum(counts, 1)), 1.0).astype("float32")


def _specs(dataset):
    """Returns `{head: TensorSpec}` of the labels; the head of plain labels is None."""
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(f"`dataset` must be a tf.data.Dataset; for arrays, tf.data.Dataset.from_tensor_slices((x, y)).batch(32). "
                        f"Received: {type(dataset).__name__}")
    element = dataset.element_spec
    if not isinstance(element, tuple) or len(element) not in (2, 3):
        raise ValueError(f"`dataset` must yield (x, y) or (x, y, sample_weight). It yields: {element}")
    return dict(element[1]) if isinstance(element[1], dict) else {None: element[1]}


def _kind(spec):
    flat = spec.shape.rank is None or spec.shape.rank < 2 or spec.shape[1:].num_elements() == 1
    return "labels" if not flat else "class" if spec.dtype.is_integer else "number"


def _rules(weights, specs):
    """Returns `{head: "balanced" or {class: weight}}` of the heads whose samples are to be weighed."""
    if not isinstance(weights, dict) and weights != "balanced":
        raise ValueError(f"`weights` must be \"balanced\" or a dict. Received: {weights!r}")
    if None in specs:
        rules = {None: weights}
    else:
        rules = dict.fromkeys(specs, weights) if weights == "balanced" else dict(weights)
    for head, rule in rules.items():
        _check.one_of(head, specs, "head of `weights`")
        if rule != "balanced" and not isinstance(rule, dict):
            raise ValueError(f"The weights of head {head!r} must be \"balanced\" or a dict {{class: weight}}. "
                             f"Received: {rule!r}")
    refused = [head for head in rules if _kind(specs[head]) == "labels"] if isinstance(weights, dict) or None in specs else []
    if refused:
        raise ValueError(f"{_title(refused[0])} has several labels a sample, and so no one class to weigh it by.")
    rules = {head: rule for head, rule in rules.items() if _kind(specs[head]) == "class"}
    if not rules and (None in specs or weights == "balanced"):
        raise ValueError("There are no classes to balance: class labels are whole numbers, one a sample.")
    return rules


def _title(head):
    return "The target" if head is None else f"The head {head!r}"


def _targets(dataset, heads):
    """Returns `{head: class numbers}`, from what the dataset knows or from one pass over it."""
    known = info(dataset)
    if known is not None and known.targets:  # those of a mixture are in its elements
        return {head: known.targets[head] if head is not None else next(iter(known.targets.values())) for head in heads}
    if heads and dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("A dataset without an end can't be counted; give the weights as {class: weight}.")
    seen = {head: [] for head in heads}
    for element in dataset if heads else ():
        for head in heads:
            seen[head].append(np.ravel(element[1] if head is None else element[1][head]))
    return {head: np.concatenate(batches or [np.zeros(0, int)]) for head, batches in seen.items()}


def _names(dataset, head):
    """Returns the class names of a head, or None if they aren't known."""
    known = info(dataset)
    if known is None:
        return None
    return known.labels if head is None else known.labels[head]


def _given(rule, names, head):
    """Returns the weights of a dict {class number or name: weight} as an array, float32 `(classes,)`."""
    numbered = {}
    for one, weight in rule.items():
        number = names.index(one) if names and one in names else one
        if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number < 0 \
                or (names and number >= len(names)):
            raise ValueError(f"{_title(head)} has no class {one!r}.{_check.suggestion(one, names or ())}"
                             f"{'' if names else ' This dataset knows class numbers only.'}")
        if isinstance(weight, bool) or not isinstance(weight, numbers.Real) or not 0 <= weight < math.inf:
            raise ValueError(f"The weight of class {one!r} must be a number of at least 0. Received: {weight!r}")
        numbered[int(number)] = weight
    table = np.ones(max(numbered, default=-1) + 1, "float32")
    table[list(numbered)] = list(numbered.values())
    return table


def _weights(classes, table):
    """Looks up the weights `(batch,)` of class numbers `(batch,)` or `(batch, 1)`; 1 for any that the table lacks."""
    if table is None or not len(table):
        return tf.ones(tf.shape(classes)[:1])
    classes = tf.cast(tf.reshape(classes, (-1,)), tf.int64)  # of small numbers, too, which `gather` refuses
    known = (classes >= 0) & (classes < len(table))
    return tf.where(known, tf.gather(table, tf.where(known, classes, 0)), 1.0)
