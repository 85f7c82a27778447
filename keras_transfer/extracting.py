"""Features of photos as a file, for scikit-learn, pandas and the like."""
import pathlib

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
        ValueError: `path` has another suffix, or a target is named "features" or "files".
        ImportError: for a Parquet file, without pyarrow.
    """
    path = pathlib.Path(path)
    _check.one_of(path.suffix, SUFFIXES, "kind of file")
    arrow = _check.extra("pyarrow", "parquet") if path.suffix == ".parquet" else None
    taken = sorted({"features", "files"} & set(info(dataset).targets))
    if taken:
        raise ValueError(f"The target {taken[0]!r} has a name that the file needs for something else. Rename its column.")
    with atomic(path) as file:  # opened first: a place that can't be written is known before anything is computed
        named = _named(info(dataset), features(backbone, dataset, store=store, verbose=verbose)[0])
        if arrow is None:
            np.savez(file, **named)
        else:
            _write_parquet(file, named)
    return named


def _named(known, rows):
    named = {"features": rows.astype("float32"), "files": np.array(known.files, dtype=str)}
    for name, values in known.targets.items():
        labels = known.labels if len(known.targets) == 1 else known.labels[name]
        named |= _told("label" if name is None else name, values, labels)
    return named


def _told(name, values, labels):
    """The labels as people write them: class names instead of numbers."""
    if isinstance(labels, dict):  # mean and standard deviation of a number
        return {name: values}
    if values.ndim == 1:
        return {name: np.array([labels[k] if k >= 0 else "" for k in values])}
    return {name: values, f"{name}_classes": np.array(labels)}


def _write_parquet(file, named):
    import pyarrow.parquet

    classes = {name.removesuffix("_classes"): labels for name, labels in named.items() if name.endswith("_classes")}
    columns = {"file": named["files"]}
    for name, values in named.items():
        if name in classes:
            columns |= {f"{name}_{label}": values[:, k] for k, label in enumerate(classes[name])}
        elif name != "files" and values.ndim == 1 and name.removesuffix("_classes") not in classes:
            columns[name] = values
    columns |= {f"feature_{k:04}": column for k, column in enumerate(named["features"].T)}
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
