import numpy as np
import pytest

import keras_transfer as kt

NAN = float("nan")


def test_loss_and_metrics_by_hand_with_gaps_element_by_element():
    head = kt.heads.MultiLabel(["a", "b"])
    logits = np.array([[np.log(3), 0.0], [-np.log(3), 9.0]], "float32")  # probabilities 3/4, 1/2; 1/4, ~1
    labels = np.array([[1.0, 0.0], [1.0, NAN]], "float32")
    assert float(head.make_loss()(labels, logits)) == pytest.approx(
        (np.log(4 / 3) + np.log(2) + np.log(4)) / 3, rel=1e-5
    )
    accuracy, auc = head.make_metrics()
    accuracy.update_state(labels, logits)
    assert float(accuracy.result()) == pytest.approx(2 / 3)  # a logit of 0 is not over the threshold
    auc.update_state(np.array([[1.0, 0.0], [0.0, NAN]]), logits)
    assert float(auc.result()) == pytest.approx(1.0, abs=1e-3)
    assert np.allclose(head.probabilities(logits)[0], [0.75, 0.5])
    assert kt.heads.MultiLabel(1).units == 1


def test_integer_labels_have_minus_one_for_missing():
    loss = kt.heads.MultiLabel(2).make_loss()
    logits = np.array([[1.0, 2.0]], "float32")
    assert float(loss(np.array([[1, -1]]), logits)) == pytest.approx(np.log(1 + np.exp(-1)), rel=1e-5)
