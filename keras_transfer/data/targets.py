"""Columns of labels to arrays, with -1 or NaN for what is missing."""
import math
import numbers
import re

import numpy as np

KINDS = ("class", "number", "labels")


def encode(columns, name, kind, train):
    """Turns one column into labels.

    Args:
        columns: a `Columns`.
        name: the column.
        kind: "class", "number" or "labels" (several of a set of names, separated by | ; or ,).
        train: NumPy bools `(rows,)`, the rows whose mean and standard deviation count.

    Returns:
        An array and what `table` returns as this target's labels. "class": int32 `(rows,)`, -1 if missing, and names.
        "number": float32 `(rows,)`, NaN if missing, and `{"mean", "std"}`. "labels": float32 `(rows, names)` of 0 and
        1, NaN if missing, and names. Names are in code-point order.
    """
    cells = columns.column(name, "targets")
    where = f"{columns.title}, column {name!r}"
    if kind == "number":
        return _numbers(cells, columns.places, where, train)
    return _classes(cells, where) if kind == "class" else _multi_hot(cells, where)


def _classes(cells, where):
    names = _names([cell for cell in cells if cell is not None], where)
    known = sorted(set(names))
    if len(known) < 2:
        raise ValueError(f"{where}: {len(known)} classes ({', '.join(known) or 'all cells are empty'}); a \"class\" "
                         "target needs at least two.")
    numbers, texts = {name: k for k, name in enumerate(known)}, iter(names)
    return np.array([-1 if cell is None else numbers[next(texts)] for cell in cells], "int32"), known


def _names(values, where):
    """Class names as text: 1 and 1.0 (a column of whole numbers with gaps) are "1"."""
    sorts = {"text" if isinstance(value, str) else "truth values" if isinstance(value, (bool, np.bool_)) else
             "numbers" if isinstance(value, numbers.Real) else type(value).__name__ for value in values}
    if len(sorts) > 1 or not sorts <= {"text", "numbers", "truth values"}:
        raise ValueError(f"{where}: holds {' and '.join(sorted(sorts))}, and so 1 and \"1\" would be one class or two; "
                         "make all cells text, for instance with frame[column].astype(str).")
    if sorts == {"numbers"}:
        odd = [value for value in values if math.isinf(value) or value != int(value)]
        if odd:
            raise ValueError(f"{where}: the class {odd[0]!r} is a fraction; is it a \"number\" target?")
        return [str(int(value)) for value in values]
    return [str(value) for value in values]


def _numbers(cells, places, where, train):
    values = np.array([math.nan if cell is None else number(cell, place, where) for cell, place in zip(cells, places)])
    seen = values[train & ~np.isnan(values)]
    if not len(seen):
        raise ValueError(f"{where}: no train row has a number.")
    mean, std = float(seen.mean()), float(seen.std())
    if std <= 1e-12 * max(1.0, abs(mean)):
        raise ValueError(f"{where}: all {len(seen)} train rows with a number have {seen[0]:g}; there is nothing to learn, "
                         "leave this target out.")
    return values.astype("float32"), {"mean": mean, "std": std}


def number(cell, place, where):
    """Returns the finite number in a cell, or refuses it."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.inf
    if abs(value) > np.finfo("float32").max:
        raise ValueError(f"{where}, {place}: {cell!r} is not a finite number; leave the cell empty if it is unknown.")
    return value


def _multi_hot(cells, where):
    rows = [None if cell is None else labels_in(cell, where) for cell in cells]
    known = sorted({name for row in rows if row is not None for name in row})
    if not known:
        raise ValueError(f"{where}: no cell names a label.")
    array = np.array([[math.nan if row is None else float(name in row) for name in known] for row in rows], "float32")
    return array, known


def labels_in(cell, where):
    """The labels that one cell of a "labels" column names."""
    if isinstance(cell, str):
        return [] if cell == "[]" else [word.strip() for word in re.split(r"[|;,]", cell) if word.strip()]
    if isinstance(cell, (list, tuple, set, np.ndarray)) and all(isinstance(word, str) for word in cell):
        return list(cell)
    raise ValueError(f"{where}: {cell!r} is no list of labels; write them as \"red|round\", or [] for none.")
