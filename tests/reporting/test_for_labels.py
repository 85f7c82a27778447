import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.reporting import for_labels

NAN = float("nan")
P = np.array([[0.9, 0.2], [0.8, 0.6], [0.1, 0.4]])


def made(truth):
    return for_labels.section(kt.heads.MultiLabel(["x", "y"]), np.array(truth), P)


def test_by_hand_with_a_missing_label():
    part = made([[1, 1], [0, NAN], [0, 0]])
    assert (part["seen"], part["missing"], part["wrong"]) == (5, 1, 2)
    assert part["each"]["precision"] == pytest.approx([1 / 2, NAN], nan_ok=True)
    assert part["each"]["recall"] == pytest.approx([1, 0]) and part["each"]["support"].tolist() == [1, 1]
    assert part["tiles"][0]["note"].startswith("3 of 5 labels")
    assert (
        part["tiles"][2]["value"].startswith("50.0") and "2 photos with every label known" in part["tiles"][2]["note"]
    )


def test_mistakes_say_which_label_and_which_way():
    first, second = made([[1, 1], [0, NAN], [0, 0]])["mistakes"]
    assert (first.row, first.truth, first.said, first.unit, first.sign) == (0, "y: yes", "y: no", 1, -1)
    assert (second.row, second.truth, second.said, second.unit, second.sign) == (1, "x: no", "x: yes", 0, 1)
    assert first.probability == second.probability == pytest.approx(0.8)  # that of the answer given


def test_calibration_is_of_the_probability_that_a_label_holds():
    part = made([[1, 0], [1, 1], [0, 0]])
    bins = {row[0]: row for row in part["calibration"]["rows"]}
    assert bins["0.1–0.2"][1] == "1" and bins["0.0–0.1"][1] == "1" and part["wrong"] == 0
    # |0.1-0| + |0.2-0| + |0.4-0| + |0.6-1| + |0.8-1| + |0.9-1|, over 6
    assert part["calibration"]["error"] == pytest.approx(1.4 / 6)


def test_integers_have_minus_one_where_one_is_missing():
    assert made([[1, -1], [0, 1], [0, 0]])["missing"] == 1
