"""The section of a head that predicts numbers."""

import numpy as np

from . import figures, plots
from .parts import SHOWN, Mistake, plain, tile

PLOTS = 6  # of a head with several numbers


def section(head, truth, said):
    """Returns what the page shows of a `Regressor`.

    Args:
        head: the layer, with the `std` of its training labels.
        truth: `(rows,)` or `(rows, units)`, NaN where one is missing.
        said: `(rows, units)`, in the same units.

    Returns:
        A dict, see `sections.section`.
    """
    said = np.asarray(said, float)
    truth = np.asarray(truth, float).reshape(said.shape)
    seen = ~np.isnan(truth)
    errors = [figures.number_errors(truth[seen[:, k], k], said[seen[:, k], k]) for k in range(head.units)]
    names = ["value"] if head.units == 1 else [f"value {k}" for k in range(head.units)]
    return {
        "about": "a number" if head.units == 1 else f"{head.units} numbers",
        "names": names,
        "seen": int(seen.sum()),
        "missing": int((~seen).sum()),
        "errors": errors,
        "tiles": _tiles(errors) if head.units == 1 else [],
        "values": [
            [name, plain(e["mae"]), plain(e["rmse"]), plain(e["bias"]), plain(e["median_mae"]), f"{e['count']:,}"]
            for name, e in zip(names, errors)
        ],
        "plots": [
            _plot(names[k], truth[seen[:, k], k], said[seen[:, k], k], errors[k])
            for k in range(min(head.units, PLOTS))
            if seen[:, k].any()
        ],
        "wrong": int(seen.sum()),
        "mistakes": _mistakes(names, head, truth, said, seen),
    }


def _tiles(errors):
    (e,) = errors
    return [
        tile("Mean absolute error", plain(e["mae"]), f"of {e['count']:,} photos"),
        tile("Root mean squared error", plain(e["rmse"]), "large errors weigh more"),
        tile("Mean error", plain(e["bias"]), "below 0: it says too little"),
        tile("Without looking", plain(e["median_mae"]), "mean absolute error of always saying the median"),
    ]


def _plot(name, truth, said, errors):
    alt = (
        f"Predicted over true {name} of {errors['count']:,} photos: "
        f"true from {plain(truth.min())} to {plain(truth.max())}, "
        f"predicted from {plain(said.min())} to {plain(said.max())}, mean absolute error {plain(errors['mae'])}"
    )
    return {"title": f"Predicted and true {name}", "alt": alt, "svg": plots.scatter(truth, said, alt)}


def _mistakes(names, head, truth, said, seen):
    error = np.where(seen, np.abs(said - truth), 0) / np.asarray(head.std)
    order = [np.unravel_index(k, error.shape) for k in np.argsort(-error, axis=None, kind="stable")[:SHOWN]]
    prefix = [""] if head.units == 1 else [f"{name}: " for name in names]
    return [
        Mistake(int(row), prefix[unit] + plain(truth[row, unit]), prefix[unit] + plain(said[row, unit]), None, None)
        for row, unit in order
        if error[row, unit] > 0
    ]
