"""Tasks together, for the page: the method, the last weights, and who lost."""

import math

import pytest

from keras_transfer.multitask.comparing import comparison
from keras_transfer.reporting.together import change, losers, together

SECTIONS = [{"name": "breed"}, {"name": "age"}]
COLUMNS = ["task", "metric", "single-task", "multi-task", "change %", "verdict"]
GAIN = {"mean": -0.01, "by_task": {"breed": 0.02, "age": -0.04},
        "rows": [dict(zip(COLUMNS, ["breed", "accuracy", 0.5, 0.51, 2.0, "better"])),
                 dict(zip(COLUMNS, ["age", "mae", 1.0, 1.04, -4.0, "worse"]))]}


def test_nothing_is_said_where_nothing_is_known():
    assert together(SECTIONS, {"loss": [1.0]}, {}) is None
    assert together(SECTIONS, {}, {"together": {"weighting": None, "at": None, "sharing": None}, "gain": None}) is None


def test_the_method_and_its_last_weights():
    logs = {"breed_weight": ["1.0", "0.25"], "age_weight": [2.0, math.nan], "loss": [1.0, 0.5]}
    known = {"weighting": "PCGrad", "at": "features", "sharing": "MMoE"}
    found = together(SECTIONS, logs, {"together": known})
    assert found["facts"] == [("How losses come together", "by PCGrad at the layer features"), ("Sharing layer", "MMoE")]
    assert found["weights"] == [["breed", "0.25"], ["age", "2"]] and found["gain"] == [] and found["verdict"] == ""
    plain = together(SECTIONS, {}, {"together": {"sharing": "MMoE"}})
    assert plain["facts"][0][1] == "by the plain sum" and plain["weights"] == []
    assert together(SECTIONS, logs, {})["facts"] == []  # a history alone doesn't say which method it was


def test_losers_are_named():
    found = together(SECTIONS, {}, {"gain": GAIN})
    assert found["verdict"].replace("\N{NO-BREAK SPACE}", " ") == (
        "Training together harmed age (-4.0 %): this task does better alone. On average over the tasks: -1.0 %. "
        "With one run of each, small changes may be chance.")
    assert found["gain"][1] == ["age", "mae", "1", "1.04", "-4.0\N{NO-BREAK SPACE}%", "worse"]
    both = {**GAIN, "by_task": {"breed": -0.02, "age": -0.04}}
    said = together(SECTIONS, {}, {"gain": both})["verdict"].replace("\N{NO-BREAK SPACE}", " ")
    assert "harmed age (-4.0 %), breed (-2.0 %): these tasks do better alone" in said
    assert losers(both) == [("age", -0.04), ("breed", -0.02)]


def test_the_spread_over_seeds_is_shown_where_there_is_one():
    runs = [[{"breed": {"accuracy": a}, "age": {"mae": m}} for a, m in pairs]
            for pairs in ([(0.5, 1.0), (0.6, 1.2)], [(0.7, 1.4), (0.9, 1.4)])]
    found = together(SECTIONS, {}, {"gain": comparison(*runs).as_dict()})
    assert found["gain"][0][2:4] == ["0.55 ± 0.0707", "0.8 ± 0.141"] and found["gain"][1][3] == "1.4 ± 0"
    assert found["verdict"].endswith("± is the standard deviation over seeds.") and "one run" not in found["verdict"]
    alone = together(SECTIONS, {}, {"gain": comparison(runs[0][0], runs[1][0]).as_dict()})
    assert alone["gain"][0][2:4] == ["0.5", "0.7"] and alone["verdict"].endswith("small changes may be chance.")


def test_no_loser_no_harm():
    good = {**GAIN, "mean": 0.03, "by_task": {"breed": 0.02, "age": 0.04}}
    assert together(SECTIONS, {}, {"gain": good})["verdict"].startswith("No task does worse than alone. On average")
    unknown = {**GAIN, "mean": math.nan, "by_task": {"breed": math.nan, "age": 0.04}}
    assert together(SECTIONS, {}, {"gain": unknown})["verdict"].startswith("On average over the tasks: –. ")
    assert losers(None) == losers(unknown) == []


@pytest.mark.parametrize("share, said", [(0.0, "+0.0"), (0.0213, "+2.1"), (-1.5, "-150.0")])
def test_changes_are_percent(share, said):
    assert change(share) == f"{said}\N{NO-BREAK SPACE}%"
