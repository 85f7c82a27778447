import numpy as np
import pytest

from keras_transfer.reporting import parts

NB = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    "function, value, text",
    [
        (parts.percent, 0.8734, f"87.3{NB}%"),
        (parts.percent, 1, f"100.0{NB}%"),
        (parts.percent, float("nan"), "–"),
        (parts.percent, None, "–"),
        (parts.plain, 0.12345, "0.123"),
        (parts.plain, 12345.6, "12,346"),
        (parts.plain, None, "–"),
        (parts.plain, float("nan"), "–"),
        (parts.score, 0.98, "0.980"),
        (parts.score, float("nan"), "–"),
    ],
)
def test_numbers_as_text(function, value, text):
    assert function(value) == text


def test_the_tile_of_accuracy_has_its_interval():
    tile = parts.accuracy_tile(np.array([True] * 9 + [False]), "photos")
    assert tile["value"] == f"90.0{NB}%" and tile["note"] == f"9 of 10 photos; 95{NB}% interval 59.6 to 98.2{NB}%"
    assert parts.accuracy_tile(np.array([], bool), "photos")["value"] == "–"


def test_calibration_says_its_bins_and_the_side():
    found = parts.calibration(np.array([0.9, 0.95, 0.3]), np.array([False, True, False]), ("confidence", "accuracy"))
    # |0.3 - 0| + 2 |0.925 - 0.5|, over 3: the bin of 0.9 is the one that ends there
    assert found["bins"] == 10 and found["error"] == pytest.approx((0.3 + 0.9 + 0.05) / 3) and found["over"]
    assert found["rows"][0] == ["0.2–0.3", "1", f"30.0{NB}%", f"0.0{NB}%"] and found["shown"] == "0.417"
    assert not parts.calibration(np.array([0.5]), np.array([True]), ("a", "b"))["over"]
    assert parts.calibration(np.array([]), np.array([]), ("a", "b")) is None


def test_the_weakest_are_those_that_occur_the_worst_first():
    each = {
        "f1": np.array([0.5, np.nan, 0.0, 1.0]),
        "support": np.array([3, 0, 2, 1]),
        "precision": np.full(4, 0.5),
        "recall": np.full(4, np.nan),
        "predicted": np.array([1, 0, 1, 1]),
    }
    assert parts.weakest(each, 2) == [2, 0]
    assert parts.class_rows("abcd", each)[1] == ["b", f"50.0{NB}%", "–", "–", "0", "0"]
