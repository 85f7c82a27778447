import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.reporting import for_numbers

NAN = float("nan")


def test_one_number_by_hand_with_a_missing_one():
    head = kt.heads.Regressor({"mean": 0.0, "std": 2.0})
    part = for_numbers.section(head, np.array([1.0, NAN, 4.0]), np.array([[2.0], [9.0], [4.0]]))
    assert (part["seen"], part["missing"], len(part["plots"])) == (2, 1, 1)
    assert part["errors"][0]["mae"] == 0.5 and part["errors"][0]["rmse"] == pytest.approx(0.5**0.5)
    assert part["values"] == [["value", "0.5", "0.707", "0.5", "1.5", "2"]]
    (mistake,) = part["mistakes"]  # what is right is no mistake
    assert (mistake.row, mistake.truth, mistake.said, mistake.probability) == (0, "1", "2", None)


def test_several_numbers_are_compared_by_their_spread():
    head = kt.heads.Regressor({"mean": [0.0, 0.0], "std": [1.0, 100.0]})
    part = for_numbers.section(head, np.array([[0.0, 0.0], [0.0, NAN]]), np.array([[1.0, 50.0], [3.0, 7.0]]))
    assert [(m.row, m.said) for m in part["mistakes"]] == [(1, "value 0: 3"), (0, "value 0: 1"), (0, "value 1: 50")]
    assert part["tiles"] == [] and [row[0] for row in part["values"]] == ["value 0", "value 1"]
    assert [e["count"] for e in part["errors"]] == [2, 1]


def test_no_label_at_all():
    part = for_numbers.section(kt.heads.Regressor(), np.array([NAN]), np.array([[1.0]]))
    assert part["plots"] == [] and part["tiles"][0]["value"] == "–" and part["mistakes"] == []
