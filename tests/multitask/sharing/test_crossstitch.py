import numpy as np

from keras_transfer.multitask.sharing.crossstitch import CrossStitchUnit
from multitask.sharing.laws import rise


def test_by_hand():
    unit = CrossStitchUnit()
    x = [np.array([[1.0, 2.0]]), np.array([[10.0, 20.0]])]
    assert np.allclose(unit(x)[0], [[1.9, 3.8]]) and np.allclose(unit(x)[1], [[9.1, 18.2]])
    unit.alpha.assign([[2.0, -1.0], [0.0, 0.5]])
    assert np.allclose(unit(x)[0], [[-8, -16]]) and np.allclose(unit(x)[1], [[5, 10]])


def test_three_tasks_and_maps_are_one_matrix_over_the_tasks():
    unit, x = CrossStitchUnit(), np.random.default_rng(0).normal(size=(3, 2, 4, 5, 6)).astype("float32")
    unit(list(x))
    assert unit.alpha.shape == (3, 3) and np.allclose(unit.alpha, 0.05 + 0.85 * np.eye(3))
    rise(unit)
    assert np.allclose(np.stack(unit(list(x))), np.einsum("ts,s...->t...", unit.alpha.numpy(), x), atol=1e-5)


def test_config_and_weights():
    unit, x = CrossStitchUnit(own=0.6, name="block_1_stitch"), [np.ones((1, 2)), np.zeros((1, 2))]
    unit(x)
    rise(unit)
    again = CrossStitchUnit.from_config(unit.get_config())
    assert np.allclose(again(x)[0], 0.6)
    again.set_weights(unit.get_weights())
    assert np.array_equal(again(x)[0], unit(x)[0]) and again.get_config() == unit.get_config()
