import json

import keras
import numpy as np
import pytest

import keras_transfer as kt

NAN = float("nan")


def test_outputs_and_metric_are_in_the_users_units_and_the_loss_is_standardized():
    head = kt.heads.Regressor({"mean": 10.0, "std": 2.0})
    head(np.zeros((1, 1)))
    head.set_weights([np.array([[3.0]]), np.array([0.5])])
    outputs = head(np.array([[1.0], [0.0]]))
    assert np.allclose(outputs, [[10 + 2 * 3.5], [10 + 2 * 0.5]])
    assert float(head.make_loss()(np.array([15.0, NAN]), outputs)) == pytest.approx(((17 - 15) / 2) ** 2)
    error = head.make_metrics()[0]
    error.update_state(np.array([15.0, NAN]), outputs)
    assert error.name == "mae" and float(error.result()) == 2.0


def test_several_values_each_with_its_own_scale_and_gaps():
    head = kt.heads.Regressor({"mean": [0.0, 100.0], "std": [1.0, 50.0]})
    labels, outputs = np.array([[1.0, 200.0], [NAN, 100.0]]), np.array([[3.0, 100.0], [0.0, 150.0]])
    assert float(head.make_loss()(labels, outputs)) == pytest.approx((2**2 + 2**2 + 1**2) / 3)
    assert head.units == 2


def test_a_number_alone_is_plain_mean_squared_error():
    head = kt.heads.Regressor()
    assert head.units == 1
    labels, outputs = np.array([[1.0], [2.0]]), np.array([[3.0], [2.5]])
    assert float(head.make_loss()(labels, outputs)) == pytest.approx(
        float(keras.losses.MeanSquaredError()(labels, outputs))
    )


@pytest.mark.parametrize("dtype, labels", [("int32", [-1, 2]), ("uint8", [255, 2]), ("bool", [1, 0]), ("float32", [-1, 2])])
def test_only_nan_is_missing_whatever_the_type(dtype, labels):
    """In the loss, saved and read again, and in the metric."""
    head, outputs = kt.heads.Regressor(), np.array([[3.0], [3.0]], "float32")
    errors = np.abs(np.array(labels, "float32") - 3)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(head.make_loss())))
    for loss in (head.make_loss(), keras.saving.deserialize_keras_object(config)):
        assert float(loss(np.array(labels, dtype), outputs)) == pytest.approx((errors**2).mean())
    (metric,) = head.make_metrics()
    metric.update_state(np.array(labels, dtype), outputs)
    assert float(metric.result()) == pytest.approx(errors.mean())


def test_sample_weights_reach_the_loss():
    loss = kt.heads.Regressor({"mean": 1.0, "std": 2.0}).make_loss()
    assert float(loss(np.array([1.0, 3.0]), np.array([[3.0], [3.0]]), np.array([4.0, 1.0]))) == pytest.approx(4 * 1 / 2)


@pytest.mark.parametrize(
    "target, error",
    [
        ({"mean": 1.0, "std": 0.0}, "one std over 0 for each value. Received: mean=\\[1.0\\], std=\\[0.0\\]"),
        ({"mean": [1.0, 2.0], "std": 1.0}, "for each value"),
        ({"mean": 1.0}, "must have the keys 'mean' and 'std'"),
        ({"mean": 1.0, "std": NAN}, "std over 0"),
    ],
)
def test_bad_targets(target, error):
    with pytest.raises(ValueError, match=error):
        kt.heads.Regressor(target)
