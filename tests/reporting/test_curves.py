import keras
import pytest

from keras_transfer.reporting import curves

LOGS = {
    "a_loss": [2.0, 1.0, 0.5],
    "val_a_loss": [2.0, 1.0, 0.7],
    "learning_rate": [1e-3, 1e-3, 1e-4],
    "a_accuracy": [0.1, 0.5, 0.9],
    "loss": [2.0, 1.0, 0.5],
    "val_loss": [2.0, 1.5, 1.0],
    "phase": ["head", "head", "tune"],
}


def test_what_counts_as_a_history():
    history = keras.callbacks.History()
    history.history = LOGS
    assert curves.as_dict(history) == curves.as_dict(LOGS) == LOGS and curves.as_dict(None) == {}
    with pytest.raises(
        TypeError, match="`history` must be what `fit` or `kt.fine_tune` returned, or a dict of lists. Received: int"
    ):
        curves.as_dict(3)
    with pytest.raises(ValueError, match=r"one value an epoch under every name. Received: loss \(2\), phase \(1\)"):
        curves.as_dict({"loss": [1, 2], "phase": ["head"]})


def test_phases_and_their_border():
    assert curves.phases(LOGS) == [("head", 2), ("tune", 1)] and curves.phases({"loss": [1]}) == []
    shown = curves.panels(LOGS)
    assert all("tune" in panel["svg"] for panel in shown)
    assert not any("tune" in panel["svg"] for panel in curves.panels({**LOGS, "phase": ["head"] * 3}))


def test_the_loss_first_then_metrics_losses_of_heads_and_the_rate():
    shown = curves.panels(LOGS)
    assert [panel["title"] for panel in shown] == ["loss", "a accuracy", "a loss", "learning rate"]
    assert shown[0]["alt"] == "loss over 3 epochs: training from 2 to 0.5; validation from 2 to 1"
    assert "validation" in shown[0]["svg"] and "validation" not in shown[1]["svg"]


def test_text_of_a_table_is_read_and_gaps_stay_gaps():
    (shown,) = curves.panels({"loss": ["2.5", "", "1.5"], "epoch": ["1", "2", "3"]})
    assert shown["alt"] == "loss over 3 epochs: training from 2.5 to 1.5" and shown["svg"].startswith("<svg")
    assert curves.panels({}) == []


def test_weights_of_tasks_come_after_metrics_and_may_be_unknown():
    logs = {"a_weight": [float("nan"), 2.0, 3.0], "loss": [3.0, 2.0, 1.0], "a_loss": [1.0, 1.0, 1.0],
            "learning_rate": [1.0] * 3, "a_accuracy": [0.1, 0.2, 0.3], "phase": ["head"] * 3}
    found = curves.panels(logs)
    assert [panel["title"] for panel in found] == ["loss", "a accuracy", "a loss", "a weight", "learning rate"]
    assert found[3]["alt"] == "a weight over 3 epochs: training from 2 to 3"
