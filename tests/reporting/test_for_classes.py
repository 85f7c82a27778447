import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.reporting import for_classes

P = np.array([[0.9, 0.1, 0.0], [0.3, 0.7, 0.0], [0.6, 0.2, 0.2], [0.05, 0.15, 0.8], [0.5, 0.3, 0.2]])


def made(truth, head=None):
    return for_classes.section(head or kt.heads.Classifier(["a", "b", "c"], name="kind"), np.array(truth), P)


def test_missing_labels_are_left_out_and_counted():
    part = made([0, 1, -1, 2, 1])
    assert (part["seen"], part["missing"], part["wrong"]) == (4, 1, 1)
    assert part["tiles"][0]["value"].startswith("75.0") and part["each"]["support"].tolist() == [1, 2, 1]
    assert part["confusion"]["cells"][1] == [(1, 0.5), (1, 0.5), (0, 0.0)]
    floats = made([0, 1, float("nan"), 2, 1])
    assert (floats["seen"], floats["missing"]) == (4, 1)


def test_the_most_confident_mistake_comes_first_with_its_row_in_the_data():
    part = made([-1, 2, 1, 2, 1])
    assert [(m.row, m.truth, m.said, m.probability, m.unit) for m in part["mistakes"]] == [
        (1, "c", "b", 0.7, 1),
        (2, "b", "a", 0.6, 0),
        (4, "b", "a", 0.5, 0),
    ]


def test_ordered_classes_have_an_error_in_ranks():
    part = made([2, 1, 0, 0, -1], kt.heads.Ordinal(["a", "b", "c"]))
    (tile,) = [t for t in part["tiles"] if t["label"] == "Mean error in ranks"]
    assert tile["value"] == "1" and part["about"] == "one of 3 classes, in order"  # (2 + 0 + 0 + 2) / 4
    assert "Mean error in ranks" not in [t["label"] for t in made([0, 1, 0, 2, 0])["tiles"]]


def test_labels_in_other_shapes_and_those_of_other_data():
    column = for_classes.class_numbers(np.array([[0], [2], [-1]]), 3, "kind")
    one_hot = for_classes.class_numbers(np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0]]), 3, "kind")
    assert column.tolist() == one_hot.tolist() == [0, 2, -1]
    with pytest.raises(ValueError, match=r"The labels of head 'kind' run from 0 to 3, but it has the classes 0 to 2"):
        for_classes.class_numbers(np.array([0, 3]), 3, "kind")


def test_few_classes_make_a_table_many_a_picture_and_the_frequent_mistakes():
    few = for_classes.confusion(list("ab"), np.array([[3, 1], [0, 2]]))
    assert few["picture"] is None and few["cells"] == [[(3, 0.75), (1, 0.25)], [(0, 0), (2, 1)]]
    counts = np.diag(np.full(200, 5))
    counts[3, 7], counts[9, 1] = 2, 1
    many = for_classes.confusion([f"c{i}" for i in range(200)], counts)
    assert many["cells"] is None and many["picture"].startswith("data:image/png")
    assert [row[:3] for row in many["pairs"]] == [["c3", "c7", "2"], ["c9", "c1", "1"]] and many["more"] == 0
    counts[10, :40] += 1
    assert for_classes.confusion([f"c{i}" for i in range(200)], counts)["more"] == 41 - for_classes.PAIRS


def test_no_label_at_all():
    part = made([-1] * 5)
    assert (part["seen"], part["missing"], part["wrong"], part["calibration"]) == (0, 5, 0, None)
    assert part["tiles"][0]["value"] == "–" and part["mistakes"] == []
