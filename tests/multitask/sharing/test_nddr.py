import keras
import numpy as np

from keras_transfer.multitask.sharing.crossstitch import CrossStitchUnit
from keras_transfer.multitask.sharing.nddr import NDDRUnit
from multitask.sharing.laws import rise


def test_by_hand():
    unit = NDDRUnit()
    x = [np.array([[1.0, 2.0]]), np.array([[10.0, 20.0]])]
    assert np.allclose(unit(x)[0], [[1.9, 3.8]]) and np.allclose(unit(x)[1], [[9.1, 18.2]])
    # columns: channels 1, 2 of a, then of b; rows: those that are read
    unit.kernel.assign([[1, 0, 0, 0], [0, 0, 0, 3], [0, 2, 0, 0], [0, 0, 1, 0]])
    assert np.allclose(unit(x)[0], [[1, 20]]) and np.allclose(unit(x)[1], [[20, 6]])


def test_on_maps_it_is_a_convolution_of_one_place_for_each_task():
    unit, x = NDDRUnit(), np.random.default_rng(0).normal(size=(3, 2, 4, 5, 6)).astype("float32")
    unit(list(x))
    rise(unit)
    for task, said in enumerate(unit(list(x))):
        convolution = keras.layers.Conv2D(6, 1, use_bias=False)
        joined = np.concatenate(x, -1)
        convolution(joined)
        convolution.set_weights([unit.kernel.numpy()[None, None, :, 6 * task : 6 * task + 6]])
        assert np.allclose(convolution(joined), said, atol=1e-5)


def test_blocks_that_are_multiples_of_the_identity_are_cross_stitch():
    nddr, stitch = NDDRUnit(), CrossStitchUnit()
    x = list(np.random.default_rng(1).normal(size=(2, 3, 4)).astype("float32"))
    nddr(x), stitch(x)
    rise(stitch)
    nddr.kernel.assign(np.kron(stitch.alpha.numpy().T, np.eye(4)))
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(nddr(x), stitch(x)))


def test_config_and_weights():
    unit, x = NDDRUnit(own=0.6, name="block_1_nddr"), [np.ones((1, 2)), np.zeros((1, 2))]
    unit(x)
    rise(unit)
    again = NDDRUnit.from_config(unit.get_config())
    assert np.allclose(again(x)[0], 0.6)
    again.set_weights(unit.get_weights())
    assert np.array_equal(again(x)[0], unit(x)[0]) and again.get_config() == unit.get_config()
