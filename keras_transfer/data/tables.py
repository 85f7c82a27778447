"""A table of photos and labels, some of which may be missing."""
import dataclasses
import os
import pathlib
import warnings

import numpy as np

from .. import _check
from .columns import read
from .reading import Reading
from .scanning import readable
from .splitting import split as stratified
from .streaming import Samples
from .targets import KINDS, encode

WORDS = {"train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid",
         "test": "test", "testing": "test"}
SHOWN = 10


def table(source, *, targets, images="file", folder=None, split=None, **reading):
    """Reads a table that names a photo and its labels in each row.

    Use it for several targets, for labels that are partly missing, and for a split of your own. A missing label (an
    empty cell, None or NaN) becomes -1 for a class and NaN otherwise, which the default losses leave out.

    Args:
        source: path of a CSV file (comma, semicolon or tab), a pandas DataFrame, or a list of dicts.
        targets: `{column: kind}`. "class": one of several names. "number". "labels": any of several names, written
            "red|round" (or with ; or ,), or a list in a DataFrame; "[]" is none of them.
        images: the column with the photos' paths.
        folder: where the photos lie; by default beside the CSV file, or in the current folder.
        split: a column that says train, valid (val, validation) or test. Without one the rows are split by
            `validation`, `test` and `seed`, stratified by the first "class" target; rows of one photo stay together.
        **reading: `size`, `batch_size`, `validation`, `test`, `seed`, `part`, `augment`, `fit` and `on_error` as for
            `photos`. `validation` is 0.2 by default, and none with a `split` column; given with one that names no valid
            rows, that share of its train rows.

    Returns:
        `(train, valid, labels)`, or `(test, labels)` for `part="test"`: datasets of (photos, labels), float32
        `(batch, height, width, 3)`, pixels 0-255, and the labels themselves for one target, a dict for several:
        int32 `(batch,)` for "class", float32 `(batch,)` for "number", float32 `(batch, names)` of 0 and 1 for "labels".
        The returned labels, a dict for several targets, are class names in code-point order, or for a number
        `{"mean": m, "std": s}` over the train rows. `valid` is None if there are no valid rows.

    Raises:
        FileNotFoundError: for a missing file or missing photos, with their names.
        ValueError: for a missing or mixed column, a bad cell, bad photos, or an argument out of range.

    Example:
        >>> train, valid, labels = table("labels.csv", targets={"breed": "class", "age": "number"})
        >>> labels
        {'breed': ['pug', 'tabby'], 'age': {'mean': 4.1, 'std': 2.2}}
    """
    reading = _reading(reading)
    _check_targets(targets)
    columns = read(source)
    for name in (*targets, *([split] if split is not None else [])):
        columns.column(name, "targets" if name in targets else "split")
    names, files = _files(columns, images, folder, reading.on_error)
    good, skipped = readable(files, names, reading.on_error)
    columns, names, files = _kept(columns, names, files, good)
    parts = _parts(columns, names, targets, split, reading)
    encoded = {name: encode(columns, name, kind, parts == "train") for name, kind in targets.items()}
    labels = {name: label for name, (_, label) in encoded.items()}
    for name, kind in targets.items():
        if kind == "class" and reading.part == "train":
            _check_taught(columns, name, *encoded[name], parts)
    samples = Samples(files, names, {name: array for name, (array, _) in encoded.items()}, plain=len(targets) == 1)
    return reading.deliver(samples, parts, next(iter(labels.values())) if samples.plain else labels, skipped)


def _reading(options):
    known = [field.name for field in dataclasses.fields(Reading)]
    for name in options:
        if name not in known:
            raise TypeError(f"table() has no argument {name!r}.{_check.suggestion(name, known)}")
    return Reading(**options)


def _check_targets(targets):
    if not isinstance(targets, dict) or not targets:
        raise ValueError("`targets` must be a dict {column: kind} with a kind of \"class\", \"number\" or \"labels\". "
                         f"Received: {targets!r}")
    for name, kind in targets.items():
        _check.one_of(kind, KINDS, f"kind of target {name!r}:")


def _files(columns, images, folder, on_error):
    """Returns the photos' names as the table has them and their paths."""
    folder = columns.folder if folder is None else pathlib.Path(folder)
    cells = columns.paths(images, "images")
    files = [os.fspath(folder / cell) for cell in cells]
    missing = [name for name, file in zip(cells, files) if not os.path.exists(file)]
    if missing and on_error == "raise" or len(missing) == len(files):
        more = f", ... and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise FileNotFoundError(f"{len(missing)} of {len(files)} photos named by {columns.title} aren't in "
                                f"{str(folder.absolute())!r} (see `folder`): {', '.join(map(str, missing[:SHOWN]))}{more}")
    return [pathlib.PurePath(cell).as_posix() for cell in cells], files


def _kept(columns, names, files, good):
    if all(good):
        return columns, names, files

    def kept(values):
        return [value for value, keep in zip(values, good) if keep]

    cells = {name: kept(values) for name, values in columns.cells.items()}
    return dataclasses.replace(columns, cells=cells, places=kept(columns.places)), kept(names), kept(files)


def _check_taught(columns, name, numbers, classes, parts):
    """Warns of a class that is only held out: it can't be learnt, and counts as a mistake for ever."""
    lost = [label for k, label in enumerate(classes) if k not in numbers[parts == "train"]]
    if lost:
        warnings.warn(f"{columns.title}, column {name!r}: no training row has the class {lost[0]!r}, so it can't be learnt; "
                      f"give it more rows, leave its rows out, or hold out less. Such classes: {len(lost)}.", stacklevel=4)


def _parts(columns, names, targets, split, reading):
    """Returns an array of "train", "valid" and "test"."""
    strata = next((columns.cells[name] for name, kind in targets.items() if kind == "class"), [None] * len(names))
    if split is None:
        validation = 0.2 if reading.validation is None else reading.validation
        return _divided(names, strata, validation, reading.test, reading.seed)
    parts = _named(columns, split)
    if reading.test:
        raise ValueError(f"`test` can't be given with a `split` column: {split!r} names the test rows.")
    if reading.validation:
        if "valid" in parts:
            raise ValueError(f"`validation` can't be given here: the `split` column {split!r} names valid rows.")
        train = np.flatnonzero(parts == "train")
        parts[train] = _divided([names[k] for k in train], [strata[k] for k in train], reading.validation, 0, reading.seed)
    return parts


def _named(columns, split):
    words = columns.cells[split]
    for word, place in zip(words, columns.places):
        if str(word).lower() not in WORDS:
            raise ValueError(f"{columns.title}, column {split!r}, {place}: {word!r} is not a part; write train, valid or "
                             "test.")
    return np.array([WORDS[str(word).lower()] for word in words], dtype="<U5")


def _divided(names, strata, validation, test, seed):
    parts = stratified(names, strata, validation, test, seed)
    if (validation and "valid" not in parts) or (test and "test" not in parts):
        raise ValueError(f"No class has photos enough to train on some and hold some out: {len(names)} photos of "
                         f"{len(set(strata))} classes. Add photos, or pass validation=0 and test=0.")
    return parts
