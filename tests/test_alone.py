"""Each task alone, by the recipe that trains them together."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer import alone
from keras_transfer.data.describing import info
from keras_transfer.multitask import gaining


@pytest.fixture(scope="module")
def table(photo_folder):
    """Sets of photos with two targets, some labels missing."""
    rows = [{"file": f"{c}/{i:02d}.png", "colour": "" if i == 3 else c, "place": "" if i == 4 else i}
            for c in ("blue", "green", "red") for i in range(14)]
    targets = {"colour": "class", "place": "number"}
    return kt.data.table(rows, folder=photo_folder, targets=targets, size=16, batch_size=8)


@pytest.fixture
def model(small_backbone, table):
    labels = table[2]
    return kt.attach(small_backbone(), {"colour": kt.heads.Classifier(labels["colour"]),
                                        "place": kt.heads.Regressor(labels["place"])})


def test_a_set_of_one_task_knows_what_is_known_of_it(table):
    train, valid, labels = table
    one = alone.only(valid, "place")
    assert info(one).labels == {"place": labels["place"]} and list(info(one).targets) == ["place"]
    assert info(one).fingerprint != info(valid).fingerprint != info(alone.only(valid, "colour")).fingerprint
    for (x, y), (same, labels) in zip(valid, one, strict=True):
        assert np.array_equal(x, same) and list(labels) == ["place"]
        np.testing.assert_array_equal(y["place"], labels["place"])
    some, y = next(iter(info(one).reader(np.arange(3), 2)))
    assert list(y) == ["place"] and some.shape == (2, 16, 16, 3)
    assert alone.only(None, "place") is None


def test_sample_weights_are_the_tasks_own(table):
    x, y, weights = next(iter(alone.only(kt.data.balance(table[0]), "colour")))
    assert list(y) == list(weights) == ["colour"]
    plain = table[1].map(lambda x, y: (x, y, 2.0 * y["place"]))
    assert list(next(iter(alone.only(plain, "colour")))[2]) == ["colour"] and info(alone.only(plain, "colour")) is None


def test_each_task_is_trained_by_the_same_recipe(model, table, tmp_path, capsys):
    train, valid, _ = table
    before = [w.numpy() for w in model.weights]
    how = {"optimizer": keras.optimizers.Adam(0.01), "directory": tmp_path, "head_epochs": 3, "epochs": 1, "seed": 1}
    found = alone.trained(model, train, valid, ("validation", valid), **how, verbose=2)
    said = capsys.readouterr().out
    assert set(found) == {"colour", "place"} and set(found["colour"]) == {"accuracy"} and set(found["place"]) == {"mae"}
    assert "colour alone:" in said and said.count("Phase 'tune'") == 2 and said.count("computed once") == 4
    assert all(np.array_equal(a, w.numpy()) for a, w in zip(before, model.weights))
    rows = info(valid).targets["colour"]
    hits = found["colour"]["accuracy"] * (rows >= 0).sum()  # of the photos held out, and of no others
    assert hits == pytest.approx(round(hits), abs=1e-4)
    again = alone.trained(model, train, valid, ("validation", valid), **how, verbose=0)
    assert all(again[task] == pytest.approx(found[task]) for task in found)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alone_colour", "alone_place"]


def test_what_is_compared_is_in_the_config(model, table, capsys):
    valid = table[1]
    figures = gaining.gain(model, {"colour": {"accuracy": 1.0}, "place": {"mae": 1.0}}, valid).results
    colour, place = figures["colour"]["accuracy"], figures["place"]["mae"]
    half = {"colour": {"accuracy": colour / 2 or 0.5}, "place": {"mae": place / 2}}
    found = alone.gain(model, half, valid)
    assert found["by_task"]["place"] == pytest.approx(-1.0)
    assert {row["task"] for row in found["rows"]} == {"colour", "place"}
    assert "Against a model for each target alone:" in capsys.readouterr().out


def test_a_comparison_that_can_not_be_made_does_not_cost_the_model(model, table, capsys):
    assert alone.gain(model, {"colour": {"accuracy": 0.0}, "place": {"mae": 1.0}}, table[1]) is None
    said = "No comparison with each target alone: The single-task accuracy of task 'colour' is 0"
    assert said in capsys.readouterr().out
    with pytest.raises(ValueError, match="A comparison needs photos that were held out, and there are none"):
        alone.trained(model, *table[:2], None, optimizer=keras.optimizers.Adam())


def test_a_task_without_labels_for_validation_trains_without_it(model, photo_folder):
    rows = [{"file": f"{c}/{i:02d}.png", "colour": c, "place": i if i < 9 else "", "split": "train" if i < 10 else "validation"}
            for c in ("blue", "green", "red") for i in range(14)]
    train, valid, _ = kt.data.table(rows, folder=photo_folder, targets={"colour": "class", "place": "number"}, size=16,
                                    batch_size=8, split="split")
    assert np.isnan(info(valid).targets["place"]).all()
    how = {"optimizer": keras.optimizers.Adam(0.01), "head_epochs": 1, "epochs": 0, "seed": 1, "verbose": 0}
    found = alone.trained(model, train, valid, ("training", train), **how)
    assert np.isfinite(found["place"]["mae"]) and 0 <= found["colour"]["accuracy"] <= 1
