import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask.sharing.mtan import MTAN, Attention, Normed, resized
from multitask.sharing.laws import dense_backbone, heads, missing, numbers, rise, trained
from support import pixels

STILL = (1 + 1e-3) ** -0.5  # what a fresh batch norm multiplies by in inference


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_a_mask_by_hand():
    layer = Attention()
    p = np.array([[2.0, -1.0]])
    layer([p])
    layer.g.linear.kernel.assign([[1.0], [-1.0]])
    layer.h.linear.kernel.assign([[0.5, -1.0]])
    # g: relu(2 + 1) = 3; h: sigmoid(1.5), sigmoid(-3), but for the norms
    assert np.allclose(layer([p]), [[2 * sigmoid(1.5), -sigmoid(-3)]], atol=2e-3)
    assert np.allclose(layer([p]), p * sigmoid(np.array([1.5, -3]) * STILL**2), atol=1e-5)


def test_a_mask_reads_what_the_task_had_before():
    layer = Attention()
    before, p = np.array([[1.0, 4.0]]), np.array([[2.0, -1.0]])
    layer([before, p])
    layer.f.linear.kernel.assign([[0.0], [1.0]])
    layer.g.linear.kernel.assign([[0.0], [0.0], [1.0]])
    layer.h.linear.kernel.assign([[1.0, 0.0]])
    # f: 4, g: 4, h: sigmoid(4) and sigmoid(0), but for the norms
    assert np.allclose(layer([before, p]), p * [[sigmoid(4 * STILL**3), 0.5]], atol=1e-5)
    assert not np.allclose(layer([0 * before, p]), layer([before, p]))


def test_open_masks_are_hard_sharing_and_shut_ones_nothing(small_backbone):
    backbone, x = small_backbone(), pixels(4)
    model = kt.attach(backbone, heads(), sharing=MTAN(["block_1", "block_3"]))
    part = keras.Model(model.input, {k: model.get_layer(f"features_{k}").output for k in ("colour", "light")})
    for chain in model.get_layer("sharing").attention:
        for layer in chain:
            layer.h.norm.beta.assign(layer.h.norm.beta * 0 + 30)
    assert all(np.allclose(y, backbone(x), atol=1e-5) for y in part(x).values()) and np.std(backbone(x)) > 0.01
    model.get_layer("sharing").attention[1][-1].h.norm.beta.assign(np.full(12, -30))
    assert np.allclose(part(x)["colour"], backbone(x), atol=1e-5) and np.allclose(part(x)["light"], 0, atol=1e-8)


def test_the_output_of_a_task_is_a_part_of_the_features(small_backbone):
    backbone, x = small_backbone(), pixels(4)
    model = kt.attach(backbone, heads(), sharing=MTAN(["block_2"]))
    rise(model.get_layer("sharing"))
    part = keras.Model(model.input, model.get_layer("features_colour").output)(x)
    assert np.all(np.abs(part) <= np.abs(backbone(x))) and np.all(np.sign(part) == np.sign(backbone(x)))


def test_the_backbone_keeps_its_layers_and_flags_and_runs_once(small_backbone):
    backbone = small_backbone()
    model = kt.attach(backbone, heads(), sharing=MTAN(["block_1", "block_2"]))
    inside = model.get_layer("backbone")
    assert [layer.name for layer in inside.layers] == [layer.name for layer in backbone.layers]
    assert inside.get_layer("block_2_conv") is backbone.get_layer("block_2_conv")
    kt.freeze(model)
    assert not backbone.trainable_weights and {w.path.split("/")[0] for w in model.trainable_weights} == {
        "sharing", "colour", "light"}  # fmt: skip
    kt.unfreeze(model, last="block_3")
    assert [w.path for w in inside.trainable_weights] == ["block_3_conv/kernel", "block_3_conv/bias"]


@pytest.mark.parametrize("conv", [True, False])
def test_every_weight_trains_and_a_task_leaves_the_masks_of_another(conv, small_backbone):
    x, labels = (pixels(8), numbers()[1]) if conv else numbers()
    model = kt.attach(small_backbone() if conv else dense_backbone(), heads(), sharing=MTAN(["block_1", "block_2"]))
    kt.unfreeze(model, norms=True)
    moved = trained(model, x, labels)
    # a bias before a batch norm has no effect
    assert {w.path for w in model.trainable_weights} - moved <= {f"block_{i}_conv/bias" for i in (1, 2, 3)}
    moved = trained(model, x, {**missing(labels), "colour": labels["colour"]})
    alone = {path for path in moved if "moving" not in path}
    assert any("attention_colour_0/h/linear" in path for path in alone)
    assert not any("attention_light" in path for path in alone)


def test_frozen_masks_keep_their_statistics():
    x, labels = numbers()
    model = kt.attach(dense_backbone(), heads(), sharing=MTAN(["block_1"]))
    kt.freeze(model)
    assert any("moving_mean" in path for path in trained(model, x, labels))
    model.get_layer("sharing").trainable = False
    assert not any(path.startswith("sharing") for path in trained(model, x, labels))


def test_a_layer_from_its_config_and_under_xla():
    random = np.random.default_rng(0)
    stages = [random.normal(size=s).astype("float32") for s in [(2, 6, 6, 4), (2, 3, 3, 8), (2, 8)]]
    layer = MTAN(["a", "b"], tasks=["x", "y"])
    layer(stages)
    rise(layer, 0.05)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again(stages)
    again.set_weights(layer.get_weights())
    compiled = tf.function(lambda x: layer(x), jit_compile=True)(stages)
    for task, said in layer(stages).items():
        assert said.shape == (2, 8) and np.array_equal(again(stages)[task], said)
        assert np.allclose(compiled[task], said, atol=1e-5)


def test_normed_layers():
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    dense, wide = Normed(5), Normed(5, convolves=True)
    assert dense(x).shape == wide(x).shape == (2, 4, 4, 5)
    assert dense.linear.kernel.shape == (3, 5) and wide.linear.kernel.shape == (3, 3, 3, 5)
    convolution = keras.layers.Conv2D(5, 1, use_bias=False)
    convolution(x)
    convolution.set_weights([dense.linear.kernel.numpy()[None, None]])
    assert np.allclose(dense(x), np.maximum(convolution(x) * STILL, 0), atol=1e-5)


def test_sizes():
    x = np.arange(2 * 5 * 4, dtype="float32").reshape(1, 5, 4, 2)
    assert np.allclose(resized(x, (None, 2)), x.mean((1, 2)))
    assert resized(x, (None, 5, 4, 9)) is x
    said = resized(x, (None, 2, 2, 9))
    assert np.allclose(said[0, 1, 0], x[0, 2:4, 0:2].mean((0, 1))) and said.shape == (1, 2, 2, 2)
    sequence = np.ones((1, 7, 2), "float32")
    assert resized(sequence, (None, 7, 3)) is sequence and np.array_equal(resized(sequence, (None, 2)), [[1, 1]])


@pytest.mark.parametrize("shapes, error", [
    ([(None, 4, 4, 3), (None, 8, 8, 3)], "to 'b' (None, 8, 8, 3): maps may shrink, not grow"),
    ([(None, 6), (None, 8, 8, 3)], "can't go from 'a' (None, 6) to 'b' (None, 8, 8, 3). Name stages in the order"),
    ([(None, None, None, 3), (None, 8, 8, 3)], "needs stages of a known size"),
    ([(None, 8, 3), (None, 4, 3)], "maps may shrink, not grow"),
])  # fmt: skip
def test_stages_that_do_not_follow_each_other(shapes, error):
    with pytest.raises(ValueError) as raised:
        MTAN(["a", "b"], tasks=["x", "y"]).build([*shapes, (None, 5)])
    assert error in str(raised.value)


def test_stages_in_the_wrong_order_and_unknown_ones(small_backbone):
    with pytest.raises(ValueError, match="from 'block_2' .* to 'block_1' .*Name stages in the order of depth"):
        kt.attach(small_backbone(), heads(), sharing=MTAN(["block_2", "block_1"]))
    with pytest.raises(ValueError, match="names no layer or block of the backbone: 'blok_1'. Did you mean"):
        kt.attach(small_backbone(), heads(), sharing=MTAN(["blok_1"]))
    with pytest.raises(ValueError, match="is for the tasks a, b, and the heads are colour, light"):
        kt.attach(small_backbone(), heads(), sharing=MTAN(["block_1"], tasks=["a", "b"]))
