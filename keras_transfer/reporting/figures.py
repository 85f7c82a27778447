"""The figures of a report, from labels and probabilities: NumPy in, numbers out."""

import math

import numpy as np

BINS = 10  # of the reliability diagram


def wilson(right, count, z=1.959964):
    """Returns the Wilson score interval of a share (Wilson 1927), by default at 95 %.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)

    Args:
        right: how many of them hold.
        count: of how many; 0 gives the interval from 0 to 1.
        z: standard deviations of the normal distribution to either side.

    Returns:
        `(low, high)`.

    Example:
        >>> wilson(9, 10)
        (0.596, 0.982)
    """
    if not count:
        return 0.0, 1.0
    share, scale = right / count, 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def confusion_counts(truth, predicted, classes):
    """Returns how many of each true class (rows) were taken for each class (columns), int `(classes, classes)`."""
    places = np.asarray(truth, "int64") * classes + np.asarray(predicted, "int64")
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes)


def by_class(hits, predicted, support):
    """Returns precision, recall and F1 of each class, NaN where there is nothing to divide by.

    Args:
        hits: `(classes,)`, how often a class was said and right.
        predicted: `(classes,)`, how often it was said.
        support: `(classes,)`, how often it was true.

    Returns:
        A dict of arrays `(classes,)`: `precision`, `recall`, `f1`, `support`, `predicted`.
    """
    hits, predicted, support = (np.asarray(x, float) for x in (hits, predicted, support))
    return {
        "precision": _share(hits, predicted),
        "recall": _share(hits, support),
        "f1": _share(2 * hits, predicted + support),
        "support": support.astype(int),
        "predicted": predicted.astype(int),
    }


def macro(values, support):
    """Returns the mean over the classes that occur; an undefined value among them counts as 0."""
    seen = np.asarray(support) > 0
    return float(np.nan_to_num(np.asarray(values)[seen]).mean()) if seen.any() else float("nan")


def reliability(confidence, right, bins=BINS):
    """Sorts answers by their confidence into bins of equal width.

    Args:
        confidence: `(answers,)`, probabilities.
        right: `(answers,)`, whether the answer was right.
        bins: their number; bin k holds confidences over k/bins, up to and with (k+1)/bins.

    Returns:
        A list of dicts, one a bin that isn't empty: `low`, `high`, `confidence` and `accuracy` (means), `count`.
    """
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        {
            "low": k / bins,
            "high": (k + 1) / bins,
            "confidence": float(confidence[place == k].mean()),
            "accuracy": float(right[place == k].mean()),
            "count": int((place == k).sum()),
        }
        for k in range(bins)
        if (place == k).any()
    ]


def calibration_error(bins):
    """Returns the expected calibration error: sum over bins of share x |accuracy - confidence| (Naeini et al. 2015)."""
    total = sum(b["count"] for b in bins)
    return sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / total if total else float("nan")


def number_errors(truth, said):
    """Returns the errors of predicted numbers.

    Args:
        truth: `(rows,)`, without missing ones.
        said: `(rows,)`.

    Returns:
        A dict: `mae`, `rmse`, `bias` (mean of said - true), `median_mae` (that of always saying the median of
        `truth`), `count`.
    """
    truth, said = np.asarray(truth, float), np.asarray(said, float)
    if not truth.size:
        return {**dict.fromkeys(("mae", "rmse", "bias", "median_mae"), float("nan")), "count": 0}
    error = said - truth
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "bias": float(error.mean()),
        "median_mae": float(np.abs(truth - np.median(truth)).mean()),
        "count": int(truth.size),
    }


def _share(part, whole):
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
