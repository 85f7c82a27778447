import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.multitask.sharing.residualadapter import ResidualAdapter
from multitask.sharing.laws import FEATURES, TASKS, check_layer, dense_backbone, heads, numbers, rise, trained


def test_by_hand():
    layer = ResidualAdapter(units=1, tasks=["a", "b"])
    layer(np.zeros((1, 2)))
    layer.down.kernel.assign([[[1.0], [1.0]], [[0.0], [-1.0]]])
    layer.down.bias.assign([[[-1.0]], [[0.0]]])
    layer.up.kernel.assign([[[0.5, -1.0]], [[7.0, 7.0]]])
    layer.up.bias.assign([[[0.0, 0.25]], [[1.0, 0.0]]])
    said = layer(np.array([[1.0, 2.0]]))
    # a: relu(1 + 2 - 1) = 2, so [1 + 1, 2 - 2 + 0.25]; b: relu(-2) = 0, so [1 + 1, 2]
    assert np.allclose(said["a"], [[2, 0.25]]) and np.allclose(said["b"], [[2, 2]])


def test_at_the_start_every_task_has_the_features_themselves():
    layer = ResidualAdapter(units=2, tasks=TASKS)
    assert all(np.array_equal(y, FEATURES) for y in layer(FEATURES).values())
    rise(layer)
    assert not any(np.allclose(y, FEATURES) for y in layer(FEATURES).values())


def test_both_halves_train_the_lower_one_from_the_second_step_on():
    x, labels = numbers()
    model = kt.attach(dense_backbone(), heads(), sharing=ResidualAdapter(units=2))
    kt.freeze(model)
    first = trained(model, x, labels)
    assert {"sharing/up/kernel", "sharing/up/bias"} <= first and "sharing/down/kernel" not in first
    assert "sharing/down/kernel" in trained(model, x, labels, epochs=2)


def test_gradients_config_and_xla():
    layer = ResidualAdapter(units=3, tasks=TASKS)
    layer(FEATURES)
    rise(layer)
    check_layer(layer)


def test_bad_numbers():
    with pytest.raises(ValueError, match="`units` must be a whole number of at least 1. Received: 0"):
        ResidualAdapter(0)
