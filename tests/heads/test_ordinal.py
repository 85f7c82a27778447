import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.heads.ordinal import level_accuracy, level_error


def test_loss_by_hand():
    """Label 1 of 3: [label > 0] = 1, [label > 1] = 0."""
    loss = kt.heads.Ordinal(3).make_loss()
    logits = np.array([[np.log(3), -np.log(3)], [0.0, 0.0]], "float32")
    assert float(loss(np.array([1, -1]), logits)) == pytest.approx(2 * np.log(4 / 3), rel=1e-5)
    assert float(loss(np.array([[2], [0]]), logits)) == pytest.approx(
        (np.log(4 / 3) + np.log(4) + 2 * np.log(2)) / 2, rel=1e-5
    )


def test_probabilities_sum_to_one_and_are_never_negative():
    head = kt.heads.Ordinal(["none", "mild", "severe"])
    features = np.random.default_rng(0).normal(size=(50, 4)).astype("float32") * 5
    head(features)
    head.set_weights([np.random.default_rng(1).normal(size=w.shape) * 3 for w in head.get_weights()])
    logits = np.asarray(head(features))
    p = np.asarray(head.probabilities(logits))
    assert p.shape == (50, 3) and p.min() >= 0 and np.allclose(p.sum(1), 1, atol=1e-6)
    assert (np.diff(logits, axis=1) < 0).all()
    sigmoid = 1 / (1 + np.exp(-logits))
    assert np.allclose(p[:, 1], sigmoid[:, 0] - sigmoid[:, 1], atol=1e-6)


def test_thresholds_start_evenly_around_zero():
    head = kt.heads.Ordinal(4)
    assert np.allclose(head(np.zeros((1, 3))), [[1.0, 0.0, -1.0]], atol=1e-3)


def test_metrics_by_hand():
    logits = np.array([[2.0, 1.0, -1.0], [-1.0, -2.0, -3.0], [1.0, 1.0, 1.0]], "float32")  # levels 2, 0, 3
    assert np.array_equal(level_accuracy(np.array([2, 1, 0]), logits), [1, 0, 0])
    assert np.array_equal(level_error(np.array([[2], [1], [0]]), logits), [0, 1, 3])
    accuracy, error = kt.heads.Ordinal(4).make_metrics()
    for metric in (accuracy, error):
        metric.update_state(np.array([2, -1, 0]), logits)
    assert (accuracy.name, float(accuracy.result()), error.name, float(error.result())) == ("accuracy", 0.5, "mae", 1.5)


def test_it_learns_an_order():
    import keras

    x = np.random.default_rng(0).uniform(-2, 2, (256, 1)).astype("float32")
    y = np.digitize(x[:, 0], [-1, 0, 1])
    head = kt.heads.Ordinal(4)
    model = keras.Sequential([keras.Input((1,)), head])
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss=head.make_loss(), metrics=head.make_metrics())
    before = model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
    model.fit(x, y, epochs=40, verbose=0)
    assert model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] > 0.95 > 0.6 > before
