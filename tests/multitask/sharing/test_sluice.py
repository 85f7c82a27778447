import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.multitask.sharing.sluice import Sluice, SluiceUnit, overlap
from multitask.sharing.laws import dense_backbone, heads, missing, numbers, rise, trained


def test_by_hand():
    unit = SluiceUnit()
    x = [np.array([[1.0, 2.0]]), np.array([[10.0, 20.0]])]  # halves 1, 2 and 10, 20
    assert np.allclose(unit(x)[0], [[1.9, 3.8]]) and np.allclose(unit(x)[1], [[9.1, 18.2]])
    # rows and columns: (a, 1), (a, 2), (b, 1), (b, 2)
    unit.alpha.assign([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [0.5, 0, 0, 0]])
    assert np.allclose(unit(x)[0], [[1, 10]]) and np.allclose(unit(x)[1], [[22, 0.5]])


def test_a_task_can_share_one_half_and_keep_the_other():
    unit, random = SluiceUnit(own=1.0), np.random.default_rng(0)
    x = list(random.normal(size=(2, 3, 4, 4, 6)).astype("float32"))
    assert np.allclose(unit(x)[0], x[0]) and unit.alpha.shape == (4, 4)
    unit.alpha.assign([[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1]])
    first, second = (np.asarray(y) for y in unit(x))
    assert np.array_equal(first[..., :3], second[..., :3]) and np.allclose(first[..., 3:], x[0][..., 3:])


def test_overlap_by_hand_and_by_einsum():
    a, b = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[3.0, 0.0], [0.0, 1.0]])
    assert np.isclose(overlap(a, b), (9 + 4) / 4)  # A'B = diag(3, 2) over two rows
    assert float(overlap(a, np.array([[0.0, 1.0], [1.0, 0.0]])[::-1] * 0)) == 0
    a, b = np.random.default_rng(1).normal(size=(2, 3, 4, 5, 6)).astype("float32")
    products = np.einsum("nhwc,nhwd->cd", a, b) / (3 * 4 * 5)
    assert np.isclose(overlap(a, b), np.sum(products**2), rtol=1e-4)


def test_halves_that_never_fire_together_cost_nothing():
    unit = SluiceUnit(orthogonality=1.0)
    apart = np.array([[1.0, 0.0], [0.0, 5.0], [-2.0, 0.0]])
    unit([apart, apart])
    assert float(unit.losses[0]) == 0
    unit([apart + 1, apart])
    assert np.isclose(unit.losses[0], (np.mean((apart[:, 0] + 1) * (apart[:, 1] + 1))) ** 2)


def test_the_penalty_alone_moves_the_layers_below_in_fit():
    x, labels = numbers()
    for strength, expected in [(1.0, True), (0.0, False)]:
        model = kt.attach(dense_backbone(), heads(), sharing=Sluice(["block_2"], orthogonality=strength))
        kt.unfreeze(model)
        moved = trained(model, x, missing(labels))
        assert bool(moved) == expected and not any("block_3" in path for path in moved)
        assert not expected or {f"block_1_dense_{k}/kernel" for k in ("colour", "light")} <= moved


def test_a_frozen_unit_adds_no_penalty():
    unit, x = SluiceUnit(), [np.ones((2, 4)), np.ones((2, 4))]
    unit(x)
    assert len(unit.losses) == 1
    unit.trainable = False
    unit(x)
    assert unit.losses == []


def test_config_and_weights():
    unit, x = SluiceUnit(own=0.6, orthogonality=0.5, name="block_1_sluice"), [np.ones((1, 2)), np.zeros((1, 2))]
    unit(x)
    rise(unit)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(unit))
    assert np.allclose(again(x)[0], 0.6)
    again.set_weights(unit.get_weights())
    assert np.array_equal(again(x)[0], unit(x)[0]) and again.get_config() == unit.get_config()


def test_bad_stages_and_numbers():
    inputs = keras.Input((4,))
    odd = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Dense(5, name="odd")(inputs)))
    with pytest.raises(ValueError, match="needs an even number of channels, and 'odd_sluice' is behind one of 5"):
        kt.attach(odd, heads(), sharing=Sluice(["odd"]))
    with pytest.raises(ValueError, match="`orthogonality` must be a number at least 0. Received: -1"):
        Sluice(["odd"], orthogonality=-1)
