import numpy as np

import keras_transfer as kt
from keras_transfer.multitask.sharing.film import FiLM
from multitask.sharing.laws import FEATURES, TASKS, check_layer, dense_backbone, heads, numbers, rise, trained


def test_by_hand():
    layer = FiLM(tasks=["a", "b"])
    layer(np.zeros((1, 2)))
    layer.gamma.assign([[1.0, 0.0], [-1.0, 0.5]])
    layer.beta.assign([[0.0, 2.0], [3.0, 0.0]])
    said = layer(np.array([[2.0, 4.0]]))
    assert np.allclose(said["a"], [[4, 6]]) and np.allclose(said["b"], [[3, 6]])


def test_at_the_start_every_task_has_the_features_themselves():
    layer = FiLM(tasks=TASKS)
    assert all(np.array_equal(y, FEATURES) for y in layer(FEATURES).values())
    rise(layer)
    assert not any(np.allclose(y, FEATURES) for y in layer(FEATURES).values())


def test_it_costs_two_numbers_a_unit_and_task_and_all_of_them_train():
    model = kt.attach(dense_backbone(), heads(), sharing=FiLM())
    kt.freeze(model)
    assert model.get_layer("sharing").count_params() == 2 * 6 * 2
    assert {"sharing/gamma", "sharing/beta"} <= trained(model, *numbers())


def test_gradients_config_and_xla():
    layer = FiLM(tasks=TASKS)
    layer(FEATURES)
    rise(layer)
    check_layer(layer)
