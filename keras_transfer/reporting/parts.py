"""What the sections of several kinds of heads have in common: words for numbers, tables, mistakes."""

import dataclasses
import math

import numpy as np

from . import figures, plots

SHOWN = 12  # mistakes of a head


@dataclasses.dataclass
class Mistake:
    """One wrong answer.

    Attributes:
        row: its place in the data.
        truth: the true label, as text.
        said: the predicted one, as text.
        probability: that the model gave its answer; None for numbers.
        unit: the output that it is about; None for numbers.
        sign: 1 where the answer is yes, -1 where it is no.
        photo: data URI; None until it is looked up, and where there is none.
        looked_at: data URI of the photo with the places that decided.
        title: the photo's name.
    """

    row: int
    truth: str
    said: str
    probability: float | None
    unit: int | None
    sign: int = 1
    photo: str | None = None
    looked_at: str | None = None
    title: str = ""


def percent(share):
    """Returns a share as text: "87.3 %", not to be broken; a dash for NaN."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def plain(value):
    """Returns a number with three digits as text; a dash for NaN."""
    value = float("nan") if value is None else float(value)
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def score(value):
    """Returns a figure between 0 and 1 as text: "0.980"; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def tile(label, value, note=""):
    """Returns one of the large figures at the head of a section."""
    return {"label": label, "value": value, "note": note}


def accuracy_tile(right, what):
    """Returns the tile of a share of right answers, `(answers,)` bools, with its Wilson interval."""
    low, high = figures.wilson(int(right.sum()), len(right))
    return tile(
        "Accuracy",
        percent(right.mean() if len(right) else math.nan),
        f"{int(right.sum()):,} of {len(right):,} {what}; "
        f"95\N{NO-BREAK SPACE}% interval {100 * low:.1f} to {percent(high)}",
    )


def macro_tile(each):
    """Returns the tile of the mean F1."""
    return tile("Mean F1", score(figures.macro(each["f1"], each["support"])), "every class that occurs counts the same")


def calibration(confidence, right, axes):
    """Returns the reliability diagram, its table and the expected calibration error; None without answers."""
    bins = figures.reliability(confidence, right)
    if not bins:
        return None
    error = figures.calibration_error(bins)
    alt = f"Reliability diagram of {len(right):,} answers: expected calibration error {score(error)}. " + "; ".join(
        f"{axes[0]} {b['confidence']:.2f}, {axes[1]} {b['accuracy']:.2f}, {b['count']} answers" for b in bins
    )
    rows = [
        [f"{b['low']:.1f}–{b['high']:.1f}", f"{b['count']:,}", percent(b["confidence"]), percent(b["accuracy"])]
        for b in bins
    ]
    return {
        "error": error,
        "shown": score(error),
        "bins": figures.BINS,
        "rows": rows,
        "axes": axes,
        "svg": plots.reliability(bins, alt, axes),
        "over": sum(b["count"] * (b["confidence"] - b["accuracy"]) for b in bins) > 0,
    }


def class_rows(names, each):
    """Returns the table of classes: name, precision, recall, F1, support, how often it was said."""
    return [
        [
            name,
            *(percent(each[key][k]) for key in ("precision", "recall")),
            score(each["f1"][k]),
            f"{each['support'][k]:,}",
            f"{each['predicted'][k]:,}",
        ]
        for k, name in enumerate(names)
    ]


def weakest(each, count):
    """Returns the places of the classes with the lowest F1 among those that occur, the worst first."""
    seen = np.flatnonzero(each["support"] > 0)
    return sorted(seen, key=lambda k: (np.nan_to_num(each["f1"][k]), -each["support"][k]))[:count]
