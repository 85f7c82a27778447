"""Features of photos as a file, for scikit-learn, pandas and the like."""
import collections
import pathlib
import re

import numpy as np

from . import _check
from ._files import atomic
from .data import info
from .store import Store, features

SUFFIXES = (".npz", ".parquet")


def extract(backbone, dataset, path, *, store=Store(), verbose=0):
    """Writes the features of all photos of a set of `kt.data`, with their files and labels.

    Args:
        backbone: what `kt.backbone` returned.
        dataset: a set of `kt.data` without random augmentation.
        path: a .npz or .parquet file, which is replaced.
        store: a `kt.Store`: dtype and engine.
        verbose: as in `kt.cache_features`.

    Returns:
        `{name: array}`, what was written: `features` `(photos, units)`, `files` `(photos,)`, and the labels by their name
        (`label` for a folder of classes): class names (empty: missing), numbers (NaN: missing), or 0 and 1 `(photos, labels)`
        beside `NAME_classes`. A Parquet file has a column for each unit, `feature_0000` and so on, and for each label.

    Raises:
        ValueError: `path` has another suffix, or a target has the name of something else in the file, as "features".
        ImportError: for a Parquet file, without pyarrow.
    """
    path = pathlib.Path(path)
    _check.one_of(path.suffix, SUFFIXES, "kind of file")
    pyarrow = _check.extra("pyarrow", "parquet") if path.suffix == ".parquet" else None
    known = info(dataset)
    labels = _labels(known)
    _check_names([*_arrays([], known.files, labels)], "" if pyarrow else "file|allow_pickle")  # which `np.savez` has for itself
    if pyarrow:
        _check_names([*_columns([], known.files, labels)], r"feature_\d{4,}")
    with atomic(path) as file:  # opened first: a place that can't be written is known before anything is computed
        rows = features(backbone, dataset, store=store, verbose=verbose)[0].astype("float32")
        named = dict(_arrays(rows, known.files, labels))
        if pyarrow is None:
            np.savez(file, **named)
        else:
            from pyarrow import parquet

            parquet.write_table(pyarrow.table(dict(_columns(rows, known.files, labels))), file)
    return named


def _check_names(pairs, taken):
    counts = collections.Counter(name for name, _ in pairs)
    bad = [name for name, count in counts.items() if count > 1 or re.fullmatch(taken, name)]
    if bad:
        raise ValueError(f"The name {bad[0]!r}, of a target or one of its labels, is needed for something else in the file. Rename "
                         "it in the table.")


def _labels(known):
    """Returns `[(name, values, names of their columns or None)]` of the targets, as people write them."""
    found = []
    for name, values in known.targets.items():
        labels = known.labels if len(known.targets) == 1 else known.labels[name]
        names = None if values.ndim == 1 else list(labels)
        if names is None and not isinstance(labels, dict):  # which holds mean and standard deviation of a number
            values = np.array([labels[k] if k >= 0 else "" for k in values])
        found.append(("label" if name is None else name, values, names))
    return found


def _arrays(rows, files, labels):
    """Yields what a .npz file holds."""
    yield "features", rows
    yield "files", np.array(files, dtype=str)
    for name, values, names in labels:
        yield name, values
        if names is not None:
            yield f"{name}_classes", np.array(names)


def _columns(rows, files, labels):
    """Yields the columns of a Parquet file."""
    yield "file", np.array(files, dtype=str)
    for name, values, names in labels:
        yield from [(name, values)] if names is None else zip([f"{name}_{label}" for label in names], values.T)
    for number, column in enumerate(np.transpose(rows)):
        yield f"feature_{number:04}", column
