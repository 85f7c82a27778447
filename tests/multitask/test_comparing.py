import pandas
import pytest

from keras_transfer.multitask.comparing import changes, comparison, means, mode_of

SINGLE = {"breed": {"accuracy": 0.8}, "age": {"mae": 2.0, "mse": 5.0}}
MULTI = {"breed": {"accuracy": 0.88}, "age": {"mae": 2.4, "mse": 4.5}}


def test_changes_by_hand_have_the_sign_of_their_metric():
    # accuracy: +0.08 / 0.8; mae: -(0.4 / 2); mse: +0.5 / 5; the mean over the metrics of age: (-0.2 + 0.1) / 2
    assert changes(SINGLE, MULTI) == pytest.approx({"breed": 0.1, "age": -0.05})
    table = comparison(SINGLE, MULTI)
    assert table.mean == pytest.approx((0.1 - 0.05) / 2) and table.lost == ["age"]
    assert [row["change %"] for row in table] == pytest.approx([10, -20, 10])
    assert [row["verdict"] for row in table] == ["better", "worse", "better"]


def test_equal_results_gain_nothing_and_lose_nothing():
    table = comparison(SINGLE, SINGLE)
    assert table.mean == 0 and table.lost == [] and {row["verdict"] for row in table} == {"same"}
    assert str(table).endswith("Mean gain: +0.0%; no task lost.")


def test_a_negative_baseline_keeps_the_sign():
    assert changes({"t": {"r2": -0.5}}, {"t": {"r2": 0.0}}) == {"t": 1.0}


def test_a_scaled_metric_gives_the_same_change():
    hundredfold = [{"age": {"mae": 100 * run["age"]["mae"]}} for run in (SINGLE, MULTI)]
    assert changes(*hundredfold)["age"] == pytest.approx(-0.2)


@pytest.mark.parametrize(
    "metric, mode",
    [
        ("accuracy", "max"),
        ("sparse_top_k_categorical_accuracy", "max"),
        ("auc", "max"),
        ("pr_auc", "max"),
        ("loss", "min"),
        ("mae", "min"),
        ("mse", "min"),
        ("rmse", "min"),
        ("root_mean_squared_error", "min"),
        ("sparse_categorical_crossentropy", "min"),
    ],
)
def test_known_directions(metric, mode):
    assert mode_of(metric) == mode


def test_an_unknown_metric_is_refused_until_its_direction_is_said():
    with pytest.raises(ValueError, match="Nothing is known of the metric 'kappa': whether higher is better"):
        mode_of("kappa")
    with pytest.raises(ValueError, match="'inaccuracy'"):  # which only sounds like one
        mode_of("inaccuracy")
    assert mode_of("kappa", {"kappa": "max"}) == "max" and mode_of("accuracy", {"accuracy": "min"}) == "min"
    with pytest.raises(ValueError, match="Unknown mode of metric 'kappa' 'up'"):
        mode_of("kappa", {"kappa": "up"})


def test_means_and_spreads_over_seeds_by_hand():
    singles = [{"age": {"mae": value}} for value in (1.0, 2.0, 3.0)]
    assert means(singles) == {"age": {"mae": 2.0}}
    (row,) = comparison(singles, [{"age": {"mae": 2.9}}, {"age": {"mae": 3.1}}])
    assert (row["single-task"], row["multi-task"], row["± single"]) == (2.0, 3.0, 1.0)
    assert row["± multi"] == pytest.approx(0.02**0.5)  # ((-0.1)^2 + 0.1^2) / (2 - 1)
    assert row["change %"] == pytest.approx(-50)
    assert row["verdict"] == "worse, within the spread"  # 1.0 <= 1.0 + 0.14


def test_a_difference_beyond_the_spread_is_plain():
    singles = [{"age": {"mae": value}} for value in (1.9, 2.1)]
    assert comparison(singles, [{"age": {"mae": 3.0}}])[0]["verdict"] == "worse"


def test_the_table_reads_well_and_goes_into_pandas():
    table = comparison(SINGLE, MULTI)
    assert str(table).splitlines() == [
        "task   metric    single-task  multi-task  change %  verdict",
        "breed  accuracy          0.8        0.88        10  better",
        "age    mae                 2         2.4       -20  worse",
        "age    mse                 5         4.5        10  better",
        "Mean gain: +2.5%; negative transfer: age (-5.0%).",
    ]
    assert repr(table) == str(table)
    assert list(pandas.DataFrame(table)["verdict"]) == ["better", "worse", "better"]


def test_the_worst_task_comes_first():
    worse = {"breed": {"accuracy": 0.4}, "age": MULTI["age"]}
    assert comparison(SINGLE, worse).lost == ["breed", "age"]


def test_a_figure_that_is_no_number_is_not_called_a_gain():
    table = comparison(SINGLE, {**MULTI, "breed": {"accuracy": float("nan")}})
    assert table[0]["verdict"] == "unknown" and table.mean != table.mean
    assert str(comparison({"t": {"mae": 1.0}}, {"t": {"mae": float("nan")}})).endswith("not all is known.")


@pytest.mark.parametrize(
    "baselines, results, error",
    [
        ({"bread": {"accuracy": 1.0}}, MULTI, "Unknown task of `baselines` 'bread'. Did you mean 'breed'?"),
        ({"age": {"mape": 1.0}}, MULTI, "Unknown metric of task 'age' in `baselines` 'mape'. Did you mean 'mae'"),
        ({"age": {"mae": 0.0}}, MULTI, "The single-task mae of task 'age' is 0, so no change relative to it"),
        ({}, MULTI, "`baselines` must be {task: {metric: value}} with at least one of each"),
        (None, MULTI, "`baselines` must be {task: {metric: value}} with at least one of each"),
        ({"age": 2.0}, MULTI, "`baselines` must be {task: {metric: value}} with at least one of each"),
        (SINGLE, [], "`results` must be {task: {metric: value}} with at least one of each"),
        ([SINGLE, {"age": {"mae": 1.0}}], MULTI, "same tasks and metrics for every seed. Some lack those of 'breed'"),
    ],
)
def test_what_cannot_be_compared(baselines, results, error):
    with pytest.raises(ValueError) as raised:
        comparison(baselines, results)
    assert error in str(raised.value)
