import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.reporting.limits import limits
from keras_transfer.reporting.sections import section


def classes(truth, said, names="abcd", sure=0.99):
    outputs = np.log(np.where(np.eye(len(names))[said] > 0, sure, (1 - sure) / (len(names) - 1)))
    return section("kind", kt.heads.Classifier(list(names)), np.array(truth), outputs)


def test_a_good_model_has_none():
    truth = np.repeat(np.arange(4), 30)
    assert limits([classes(truth, truth)], {"training": {"kind": dict.fromkeys("abcd", 50)}}) == []


def test_each_one_is_found():
    truth = np.repeat([0, 1, 2], [30, 30, 4])
    said = np.where(np.arange(64) < 20, 1, truth)  # 20 of 30 of class a are missed
    found = limits(
        [classes(truth.tolist() + [-1], said.tolist() + [0])],
        {"training": {"kind": {"a": 3, "b": 90, "c": 90, "d": 90}}},
    )
    assert found == [
        "1 labels are missing here and left out of every figure.",
        "d can't be judged: there is no photo of it here.",
        "c has fewer than 10 photos here, so its figures are rough.",
        "a was learned from fewer than 20 photos.",
        "a is missed more often than found (recall below 50.0\N{NO-BREAK SPACE}%).",
        "Probabilities are badly calibrated: off by 0.303 on average, most of them too high.",
    ]


def test_many_classes_are_not_all_listed():
    part = classes(np.arange(20), np.arange(20), names=[f"c{i}" for i in range(20)])
    assert "All 20 classes have fewer than 10 photos here, so their figures are rough." in limits([part], {})
    part = classes(np.arange(15), np.arange(15), names=[f"c{i}" for i in range(20)])
    assert any(text.startswith("c0, c1") and "c7 and 7 more have fewer" in text for text in limits([part], {}))


def test_heads_are_named_where_there_are_several_and_training_photos_are_warned_of():
    number = section("age", kt.heads.Regressor(), np.array([1.0, 2.0, 3.0]), np.array([[9.0], [9.0], [9.0]]))
    other = {"name": "odd", "kind": "other", "mistakes": []}
    found = limits([number, other], {"training_photos_here": True})
    assert found[0].startswith("The photos here are, all or in part, those that the model was trained on")
    assert found[1:] == [
        "age: value is predicted no better than by always saying the median.",
        "odd: nothing is known of how to measure this head.",
    ]
    good = section("age", kt.heads.Regressor(), np.array([1.0, 2.0, 3.0]), np.array([[1.0], [2.0], [3.1]]))
    assert limits([good], {}) == []


@pytest.mark.parametrize("probability, found", [(0.95, 0), (0.6, 1)])
def test_labels_with_bad_probabilities(probability, found):
    logits = np.log(probability / (1 - probability)) * np.where(np.arange(80) % 2, 1, -1)
    part = section("tags", kt.heads.MultiLabel(["x"]), (np.arange(80) % 2)[:, None], logits[:, None])
    assert sum("off by 0.4 on average" in text for text in limits([part], {})) == found
