import numpy as np
import pytest

import keras_transfer as kt


def test_loss_and_accuracy_by_hand():
    head = kt.heads.Classifier(["cat", "dog"])
    logits = np.array([[0.0, np.log(3)], [0.0, np.log(3)], [5.0, 0.0]], "float32")  # probabilities 1/4, 3/4 twice
    assert float(head.make_loss()(np.array([1, 0, -1]), logits)) == pytest.approx(
        (np.log(4 / 3) + np.log(4)) / 2, rel=1e-6
    )
    accuracy = head.make_metrics()[0]
    accuracy.update_state(np.array([1, 0, -1]), logits)
    assert accuracy.name == "accuracy" and float(accuracy.result()) == 0.5
    assert np.allclose(head.probabilities(logits)[:2], [[0.25, 0.75]] * 2)
    assert head.class_names == ["cat", "dog"] and head.units == 2
