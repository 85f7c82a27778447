import numpy as np

import keras_transfer as kt
from keras_transfer.reporting import tables
from keras_transfer.reporting.sections import section


def parts():
    names = [f"c{i:02}" for i in range(14)]
    truth, said = np.arange(14), np.where(np.arange(14) == 5, 6, np.arange(14))
    return [
        section("kind", kt.heads.Classifier(names), truth, np.eye(14)[said] * 9),
        section("box", kt.heads.Regressor(2), np.array([[1.0, 2.0]]), np.array([[1.5, 2.0]])),
        {"name": "odd", "kind": "other", "mistakes": []},
    ]


def test_a_row_for_each_head():
    assert tables.summary(parts()) == [
        ["kind", "Accuracy", "92.9\N{NO-BREAK SPACE}%", "14", "0"],
        ["box", "Mean absolute error", "0.5 / 0", "2", "0"],
        ["odd", "none known", "–", "–", "–"],
    ]


def test_training_photos_become_a_column_and_the_weakest_come_first():
    known, unknown = parts(), parts()
    tables.complete(known, {"kind": {"c05": 7}})
    tables.complete(unknown, {})
    assert (
        known[0]["weakest_rows"][0][0] == "c05" and known[0]["weakest_rows"][0][-1] == "7" and known[0]["has_training"]
    )
    assert len(known[0]["weakest_rows"]) == 10 and known[0]["classes"][0][-1] == "0"
    assert not unknown[0]["has_training"] and len(unknown[0]["classes"][0]) == len(known[0]["classes"][0]) - 1
