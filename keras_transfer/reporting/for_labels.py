"""The section of a head that says for each label whether it holds."""

import numpy as np

from . import figures
from .parts import SHOWN, Mistake, accuracy_tile, calibration, class_rows, macro_tile, percent, tile, weakest

MANY = 12  # labels: with more, the weakest come first
WEAKEST = 10


def section(head, truth, probabilities):
    """Returns what the page shows of a `MultiLabel`.

    Args:
        head: the layer, with its `class_names`.
        truth: `(rows, labels)`, 0 or 1; -1 or NaN where one is missing.
        probabilities: `(rows, labels)`.

    Returns:
        A dict, see `sections.section`.
    """
    names = head.class_names
    truth = np.nan_to_num(np.asarray(truth, float), nan=-1).reshape(probabilities.shape)
    seen, is_true, said = truth >= 0, truth > 0.5, probabilities > 0.5
    right = said == is_true
    each = figures.by_class((said & is_true & seen).sum(0), (said & seen).sum(0), (is_true & seen).sum(0))
    whole_rows = seen.all(1)
    sure = np.where(said, probabilities, 1 - probabilities)
    wrong = np.argwhere(seen & ~right)
    wrong = wrong[np.argsort(-sure[tuple(wrong.T)], kind="stable")]
    exact = right[whole_rows].all(1)
    return {
        "about": f"any of {len(names)} labels",
        "names": names,
        "seen": int(seen.sum()),
        "missing": int((~seen).sum()),
        "tiles": [
            accuracy_tile(right[seen], "labels"),
            macro_tile(each),
            tile(
                "All labels right",
                percent(exact.mean() if len(exact) else np.nan),
                f"of {len(exact):,} photos with every label known",
            ),
        ],
        "each": each,
        "classes": class_rows(names, each),
        "weakest": weakest(each, WEAKEST) if len(names) > MANY else [],
        "calibration": calibration(probabilities[seen], is_true[seen], ("probability", "share that holds")),
        "wrong": len(wrong),
        "mistakes": [_mistake(names, said, sure, row, unit) for row, unit in wrong[:SHOWN].tolist()],
    }


def _mistake(names, said, sure, row, unit):
    words = (f"{names[unit]}: no", f"{names[unit]}: yes")
    yes = bool(said[row, unit])
    return Mistake(row, words[not yes], words[yes], float(sure[row, unit]), unit, 1 if yes else -1)
