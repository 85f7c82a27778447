"""The section of a head that chooses one class."""

import collections

import numpy as np

from ..heads import Ordinal
from . import figures, pictures
from .parts import SHOWN, Mistake, accuracy_tile, calibration, class_rows, macro_tile, percent, plain, tile, weakest

WHOLE = 12  # classes: up to here the confusion is a table with its counts, from there on a picture
WEAKEST = 10  # classes shown first where there are more
PAIRS = 15  # most frequent confusions


def section(head, truth, probabilities):
    """Returns what the page shows of a `Classifier` or an `Ordinal`.

    Args:
        head: the layer, with its `class_names`.
        truth: `(rows,)`, class numbers, -1 or NaN where one is missing; or one-hot rows `(rows, classes)`.
        probabilities: `(rows, classes)`.

    Returns:
        A dict, see `sections.section`.

    Raises:
        ValueError: a label is no class of the head.
    """
    names, labels = head.class_names, class_numbers(truth, probabilities.shape[-1], head.name)
    rows = np.flatnonzero(labels >= 0)
    labels, probabilities = labels[rows], probabilities[rows]
    said, sure = probabilities.argmax(-1), probabilities.max(-1)
    right, counts = said == labels, figures.confusion_counts(labels, said, len(names))
    each = figures.by_class(counts.diagonal(), counts.sum(0), counts.sum(1))
    wrong = [k for k in np.argsort(-sure, kind="stable") if not right[k]]
    return {
        "about": f"one of {len(names)} classes{', in order' * isinstance(head, Ordinal)}",
        "names": names,
        "seen": len(rows),
        "missing": len(truth) - len(rows),
        "tiles": _tiles(head, labels, said, right, each, counts),
        "each": each,
        "classes": class_rows(names, each),
        "weakest": weakest(each, WEAKEST) if len(names) > WHOLE else [],
        "confusion": confusion(names, counts),
        "calibration": calibration(sure, right, ("confidence", "accuracy")),
        "wrong": len(wrong),
        "mistakes": [
            Mistake(int(rows[k]), names[labels[k]], names[said[k]], float(sure[k]), int(said[k])) for k in wrong[:SHOWN]
        ],
    }


def class_numbers(truth, classes, name):
    """Returns labels as class numbers `(rows,)`, -1 where one is missing."""
    truth = np.asarray(truth)
    if truth.ndim == 2 and truth.shape[1] == classes > 1:
        return np.where(truth.sum(-1) > 0, truth.argmax(-1), -1)
    numbers = np.nan_to_num(truth.reshape(-1).astype(float), nan=-1).astype("int64")
    if numbers.size and (numbers.max() >= classes or numbers.min() < -1):
        raise ValueError(
            f"The labels of head {name!r} run from {numbers.min()} to {numbers.max()}, but it has the classes "
            f"0 to {classes - 1} (-1: missing). Give the data that the model was made for."
        )
    return numbers


def confusion(names, counts):
    """Returns what was taken for what: a table for few classes; for many a picture and the most frequent mistakes.

    Args:
        names: of the classes.
        counts: `(classes, classes)`, true ones in rows.

    Returns:
        A dict: `cells`, rows of (count, share of the row), or None; `picture`, a data URI, or None; `pairs`, rows of
        (true, predicted, count, share of the true class as text).
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    wrong = collections.Counter({(i, j): int(counts[i, j]) for i, j in zip(*np.nonzero(counts)) if i != j})
    pairs = [[names[i], names[j], f"{n:,}", percent(shares[i, j])] for (i, j), n in wrong.most_common(PAIRS)]
    whole = len(names) <= WHOLE
    return {
        "cells": [list(zip(row, share)) for row, share in zip(counts.tolist(), shares.tolist())] if whole else None,
        "picture": None if whole else pictures.matrix(shares),
        "pairs": pairs,
        "more": max(0, len(wrong) - PAIRS),
    }


def _tiles(head, labels, said, right, each, counts):
    tiles = [accuracy_tile(right, "photos"), macro_tile(each)]
    if isinstance(head, Ordinal):
        error = np.abs(said - labels)
        tiles.append(
            tile(
                "Mean error in ranks",
                plain(error.mean() if error.size else np.nan),
                "0 is the right class, 1 its neighbour",
            )
        )
    most = counts.sum(1).max() / max(counts.sum(), 1)
    return [*tiles, tile("Without looking", percent(most), "accuracy of always saying the most frequent class")]
