"""Figures worked out by hand, or with scikit-learn beside them."""

import numpy as np
import pytest

from keras_transfer.reporting import figures


def test_wilson_by_hand_and_at_the_ends():
    # p = 0.9, n = 10, z = 1.96: middle (0.9 + 3.8416/20) / 1.38416 = 0.78901,
    # half 1.96 sqrt(0.009 + 0.009604) / 1.38416
    low, high = figures.wilson(9, 10, z=1.96)
    assert (low, high) == (pytest.approx(0.78901 - 0.19314, abs=1e-4), pytest.approx(0.78901 + 0.19314, abs=1e-4))
    assert figures.wilson(0, 0) == (0.0, 1.0)
    assert figures.wilson(0, 5)[0] == 0.0 and figures.wilson(5, 5)[1] == 1.0
    assert figures.wilson(0, 5)[1] == pytest.approx(1 - figures.wilson(5, 5)[0])  # the same, seen from the other side
    assert figures.wilson(90, 100)[0] > low  # more photos, narrower


def test_the_wilson_interval_holds_the_share_in_about_95_of_100_draws():
    random = np.random.default_rng(0)
    shares = random.uniform(0, 1, 4000)  # of one share alone it may be 92 or 97: counts are whole
    inside = [
        low <= p <= high for p, (low, high) in zip(shares, (figures.wilson(random.binomial(40, p), 40) for p in shares))
    ]
    assert 0.94 < np.mean(inside) < 0.96


def test_confusion_and_classes_by_hand():
    truth, said = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 1]
    counts = figures.confusion_counts(truth, said, 4)
    assert counts.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    each = figures.by_class(counts.diagonal(), counts.sum(0), counts.sum(1))
    assert each["precision"] == pytest.approx([2 / 3, 1 / 3, np.nan, np.nan], nan_ok=True)
    assert each["recall"] == pytest.approx([2 / 3, 1 / 2, 0, np.nan], nan_ok=True)
    assert each["f1"] == pytest.approx([2 / 3, 2 / 5, 0, np.nan], nan_ok=True)
    assert each["support"].tolist() == [3, 2, 1, 0] and each["predicted"].tolist() == [3, 3, 0, 0]
    assert figures.macro(each["f1"], each["support"]) == pytest.approx((2 / 3 + 2 / 5) / 3)  # class 3 doesn't occur
    assert np.isnan(figures.macro(each["f1"], np.zeros(4)))


def test_classes_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(1)
    truth, said = random.integers(0, 7, 200), random.integers(0, 7, 200)
    counts = figures.confusion_counts(truth, said, 7)
    each = figures.by_class(counts.diagonal(), counts.sum(0), counts.sum(1))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, said)
    for ours, theirs in zip(
        (each["precision"], each["recall"], each["f1"], each["support"]), (precision, recall, f1, support)
    ):
        assert ours == pytest.approx(theirs)
    assert np.array_equal(counts, metrics.confusion_matrix(truth, said))


def test_reliability_by_hand():
    bins = figures.reliability([0.55, 0.6, 0.61, 1.0, 0.95, 0.0], [1, 0, 1, 1, 1, 0])
    assert [(b["low"], b["count"], round(b["accuracy"], 3)) for b in bins] == [
        (0.0, 1, 0),
        (0.5, 2, 0.5),
        (0.6, 1, 1),
        (0.9, 2, 1),
    ]
    assert bins[1]["confidence"] == pytest.approx(0.575)  # 0.6 belongs to the bin that ends there
    # (1 * 0 + 2 * 0.075 + 1 * 0.39 + 2 * 0.025) / 6
    assert figures.calibration_error(bins) == pytest.approx(0.59 / 6)
    assert figures.reliability([], []) == [] and np.isnan(figures.calibration_error([]))


def test_honest_probabilities_are_calibrated_and_bragging_ones_not():
    random = np.random.default_rng(2)
    sure = random.uniform(0.5, 1, 20_000)
    right = random.random(20_000) < sure
    assert figures.calibration_error(figures.reliability(sure, right)) < 0.02
    assert figures.calibration_error(figures.reliability(np.full(20_000, 0.99), right)) == pytest.approx(
        0.99 - right.mean()
    )


def test_errors_of_numbers_by_hand():
    errors = figures.number_errors([1, 2, 6], [2, 2, 3])
    assert errors == {
        "mae": pytest.approx(4 / 3),
        "rmse": pytest.approx((10 / 3) ** 0.5),
        "bias": pytest.approx(-2 / 3),
        "median_mae": pytest.approx(5 / 3),
        "count": 3,
    }
    assert figures.number_errors([], [])["count"] == 0 and np.isnan(figures.number_errors([], [])["mae"])
