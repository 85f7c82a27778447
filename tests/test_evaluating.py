import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer import evaluating
from keras_transfer.data.describing import Info, described
from keras_transfer.reporting.sections import section

NAN = np.nan


class Fixed:
    """Stands for a model that gives known outputs, so that the figures can be worked out by hand."""

    def __init__(self, heads, outputs):
        self.heads, self.outputs = heads, outputs

    def predict(self, dataset, verbose):
        return self.outputs


def scored(monkeypatch, heads, targets, outputs):
    import tensorflow as tf

    monkeypatch.setattr(evaluating, "heads_of", lambda model: model.heads)
    dataset = described(
        tf.data.Dataset.from_tensor_slices(np.zeros(4)), Info("", False, None, None, targets, [], (1, 1), "crop")
    )
    return evaluating.scores(Fixed(heads, outputs), dataset)


def test_scores_by_hand_leave_missing_labels_out(monkeypatch):
    heads = {
        "kind": kt.heads.Classifier(["a", "b"]),
        "size": kt.heads.Regressor(),
        "tags": kt.heads.MultiLabel(2),
        "level": kt.heads.Ordinal(3),
    }
    targets = {
        "kind": np.array([0, 1, -1, 1]),
        "size": np.array([1.0, NAN, 3.0, 4.0]),
        "tags": np.array([[1, 0], [NAN, 1], [NAN, NAN], [0, 0]]),
        "level": np.array([2, 0, 1, -1]),
    }
    outputs = {
        "kind": np.array([[2.0, 1.0], [2.0, 1.0], [9.0, 0.0], [0.0, 1.0]]),
        "size": np.array([[2.0], [9.0], [3.0], [0.0]]),
        "tags": np.array([[1.0, 1.0], [5.0, 5.0], [5.0, 5.0], [-1.0, -1.0]]),
        "level": np.array([[9.0, 8.0], [-8.0, -9.0], [9.0, 8.0], [9.0, 8.0]]),
    }
    table, confused = scored(monkeypatch, heads, targets, outputs)
    assert [(r["head"], r["metric"], r["value"], r["labels"]) for r in table] == [
        ("kind", "accuracy", pytest.approx(2 / 3), 3),
        ("size", "mae", pytest.approx((1 + 0 + 4) / 3), 3),
        ("tags", "accuracy", pytest.approx(4 / 5), 5),
        ("level", "accuracy", pytest.approx(2 / 3), 3),
    ]
    assert np.array_equal(confused["kind"], [[0, 1, 1], [0, 0, 1]])


def labels_as(dtype):
    """Labels of three heads, how many of each are there, and the same labels as floats."""
    kind, tags, count = np.array([1, 0, 1, 1]), np.array([[1, 0], [1, 1], [0, 1], [1, 0]]), np.array([1, 0, 0, 1])
    count[0] = {"bool": 1, "uint8": 255, "int32": -1}[dtype]
    if dtype == "int32":
        kind[0] = tags[0, 0] = -1
    typed = {"kind": kind.astype(dtype), "tags": tags.astype(dtype), "count": count.astype(dtype)}
    floats = {name: np.where(y < 0, NAN, y) if name != "count" else y for name, y in typed.items()}
    seen = {name: int(np.sum(~np.isnan(y.astype("float32")))) for name, y in floats.items()}
    return typed, seen, {name: y.astype("float32") for name, y in floats.items()}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32"])
def test_training_evaluating_and_reporting_see_the_same_labels(dtype):
    """Of truth values and unsigned integers none is missing, of integers -1 is, but where numbers are predicted."""
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    typed, seen, floats = labels_as(dtype)
    results = []
    for y in (typed, floats):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3,))
        heads = {"kind": kt.heads.Classifier(2), "tags": kt.heads.MultiLabel(2), "count": kt.heads.Regressor()}
        model = kt.attach(keras.Model(inputs, keras.layers.Dense(4)(inputs)), heads)
        model.compile(optimizer=keras.optimizers.SGD(1e-3), **kt.objectives(model))
        logs = model.fit(x, y, batch_size=2, epochs=2, shuffle=False, verbose=0).history
        measured = model.evaluate(x, y, verbose=0, return_dict=True)
        results.append([*(logs[name] for name in sorted(logs)), [measured[name] for name in sorted(measured)]])
        given = evaluating.answers(model, (x, y))
        for row in evaluating.scores(model, (x, y), given)[0]:
            name = row["head"]
            assert row["labels"] == seen[name] == section(name, heads[name], *given[name])["seen"]
            assert row["value"] == pytest.approx(measured[f"{name}_{row['metric']}"], rel=1e-5)
    for one, other in zip(*results):
        assert one == pytest.approx(other, rel=1e-5)


def test_classes_in_a_column_are_those_in_a_row():
    x, y = np.random.default_rng(0).normal(size=(6, 3)).astype("float32"), np.array([0, 1, 2, -1, 1, 0])
    inputs = keras.Input((3,))
    model = kt.attach(keras.Model(inputs, keras.layers.Dense(4)(inputs)), kt.heads.Classifier(3))
    flat, column = (evaluating.scores(model, (x, labels)) for labels in (y, y[:, None]))
    assert list(flat[0]) == list(column[0]) and flat[0][0]["labels"] == 5
    assert all(np.array_equal(a, b) for a, b in zip(*(next(iter(found[1].values())) for found in (flat, column))))


def test_one_head_gives_an_array(monkeypatch):
    table, _ = scored(
        monkeypatch, {"classifier": kt.heads.Classifier(2)}, {None: np.array([0, 1, 1, 1])}, np.eye(2)[[0, 1, 0, 0]]
    )
    assert table[0]["value"] == 0.5


def test_confusion_of_few_classes_is_whole_and_of_many_the_mistakes():
    small = evaluating.confusion(["a", "b"], [0, 0, 1], [0, 1, 1])
    assert small == [{"true \\ predicted": "a", "a": 1, "b": 1}, {"true \\ predicted": "b", "a": 0, "b": 1}]
    names = [str(i) for i in range(20)]
    assert evaluating.confusion(names, [1, 1, 2, 3], [5, 5, 2, 4]) == [
        {"true": "1", "predicted": "5", "photos": 2},
        {"true": "3", "predicted": "4", "photos": 1},
    ]
    assert evaluating.confusion(names, [1], [1]) == []


def test_cells_are_encoded_with_the_classes_of_the_run():
    head = kt.heads.Classifier(["a", "c"])
    assert np.array_equal(evaluating._encoded("kind", head, ["c", None, "a"]), [1, -1, 0])
    with pytest.raises(ValueError, match="Head 'kind' of the run knows no class 'b'. There is: a, c"):
        evaluating._encoded("kind", head, ["b"])
    assert np.array_equal(evaluating._encoded("n", kt.heads.Regressor(), ["1.5", None]), [1.5, NAN], equal_nan=True)
    rows = evaluating._encoded("tags", kt.heads.MultiLabel(["x", "y", "z"]), ["x|z", "[]", None])
    assert np.array_equal(rows, [[1, 0, 1], [0, 0, 0], [NAN] * 3], equal_nan=True)
