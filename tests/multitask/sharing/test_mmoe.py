import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask.sharing.mmoe import MMoE
from multitask.sharing.laws import FEATURES, TASKS, check_layer, dense_backbone, heads, numbers, trained


def test_by_hand():
    layer = MMoE(experts=2, units=1, tasks=["a", "b"])
    layer(np.zeros((1, 1)))
    layer.f.kernel.assign([[[1.0]], [[3.0]]])
    layer.f.bias.assign([[[0.0]], [[-1.0]]])
    layer.g[0].kernel.assign([[0.0, np.log(3) / 2]])
    layer.g[1].kernel.assign([[0.0, 0.0]])
    said = layer(np.array([[2.0]]))
    # experts: 2 and 3 * 2 - 1 = 5; gates: softmax(0, log 3) = (1/4, 3/4) and (1/2, 1/2)
    assert np.allclose(said["a"], 0.25 * 2 + 0.75 * 5) and np.allclose(said["b"], 3.5)


def test_one_expert_is_hard_sharing():
    said = MMoE(experts=1, units=7, tasks=TASKS)(FEATURES)
    assert said["colour"].shape == (6, 7) and np.array_equal(said["colour"], said["light"])
    two = MMoE(experts=2, units=7, tasks=TASKS)(FEATURES)
    assert not np.allclose(two["colour"], two["light"])


def test_equal_experts_make_the_gates_idle():
    layer = MMoE(experts=3, units=4, tasks=TASKS)
    layer(FEATURES)
    layer.f.kernel.assign(np.repeat(layer.f.kernel.numpy()[:1], 3, 0))
    assert np.allclose(layer(FEATURES)["colour"], layer.f(FEATURES[None])[0], atol=1e-6)


def test_gradients_config_and_xla():
    check_layer(MMoE(experts=3, units=4, tasks=TASKS))


def test_a_task_moves_all_experts_and_its_own_gate_only():
    layer = MMoE(experts=3, units=4, tasks=TASKS)
    layer(FEATURES)
    with tf.GradientTape() as tape:
        said = tf.reduce_sum(layer(FEATURES)["colour"] ** 2)
    kernel, mine, other = tape.gradient(said, [layer.f.kernel.value, layer.g[0].kernel.value, layer.g[1].kernel.value])
    assert np.all(np.abs(kernel).max((1, 2)) > 0) and np.abs(mine).max() > 0 and other is None


def test_it_trains_under_the_heads_and_always():
    model = kt.attach(dense_backbone(), heads(), sharing=MMoE(experts=3, units=4))
    kt.freeze(model)
    moved = trained(model, *numbers())
    assert {path.split("/")[0] for path in moved} == {"sharing", "colour", "light"}
    assert {"sharing/experts/kernel", "sharing/gate_colour/kernel", "sharing/gate_light/kernel"} <= moved


def test_what_is_exported_is_what_was_trained(small_backbone, tmp_path):
    model = kt.attach(small_backbone(), heads(), sharing=MMoE(experts=2, units=4))
    differences = kt.export(model, tmp_path / "1")
    assert set(differences) == {"serving_default", "pixels", "pixels_uint8", "features"}
    assert max(differences.values()) < 1e-5


@pytest.mark.parametrize("options", [{"experts": 0}, {"units": 0}, {"experts": 1.5}])
def test_bad_numbers(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be a whole number of at least 1"):
        MMoE(**options)
