import keras
import numpy as np
import pytest

from keras_transfer.multitask.sharing import stages
from keras_transfer.multitask.sharing.crossstitch import CrossStitchUnit
from keras_transfer.network import Network
from multitask.sharing.laws import dense_backbone, numbers
from support import pixels


def unit(stage):
    return CrossStitchUnit(own=1.0, name=f"{stage}_unit")


def nested():
    """A model in a model, where both have a layer of the same name."""
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, keras.layers.Dense(5, activation="tanh", name="dense")(inner_input), name="inner")
    inputs = keras.Input((4,), name="numbers")
    return keras.Model(inputs, keras.layers.Dense(3, name="dense")(inner(inputs) * 2.0), name="outer")


def test_taps_are_the_outputs_of_the_last_layers_of_blocks(small_backbone):
    backbone, x = small_backbone(), pixels(3)
    tapped = stages.tapped(backbone, ["block_1", "block_2_bn"])
    said = tapped(x)
    assert isinstance(tapped, Network) and tapped.name == "backbone" and [y.shape[1:] for y in said] == [
        (8, 8, 6), (4, 4, 8), (12,)]  # fmt: skip
    for name, y in zip(["block_1_dropout", "block_2_bn", "pool"], said):
        assert np.allclose(keras.Model(backbone.input, backbone.get_layer(name).output)(x), y, atol=1e-6)


def test_a_tapped_backbone_has_the_layers_themselves(small_backbone):
    backbone = small_backbone("mine")
    tapped = stages.tapped(backbone, ["block_1"])
    assert [a is b for a, b in zip(tapped.layers[1:], backbone.layers[1:])] == [True] * 14 and backbone.name == "mine"


def test_stages_inside_models_inside(small_backbone):
    with pytest.raises(ValueError, match="`at` names no layer or block of the backbone: 'inner'"):
        stages.tapped(nested(), ["inner"])  # its layers are the backbone's
    inputs = keras.Input((16, 16, 3), name="pixels")
    outer = keras.Model(inputs, keras.layers.Dense(2, name="top")(small_backbone()(inputs)))
    tapped, towers = stages.tapped(outer, ["block_2"]), stages.towers(outer, ["a", "b"], ["block_2"], unit)
    x = pixels(2)
    assert tapped(x)[0].shape == (2, 4, 4, 8) and np.allclose(tapped(x)[1], outer(x), atol=1e-6)
    assert np.allclose(towers(x)["b"], outer(x), atol=1e-6)


def test_towers_begin_as_copies_that_share_no_weight():
    backbone, x = dense_backbone(), numbers()[0]
    towers = stages.towers(backbone, ["a", "b", "c"], ["block_2"], unit)
    said = towers(x)
    assert list(said) == ["a", "b", "c"] and all(np.allclose(y, backbone(x), atol=1e-6) for y in said.values())
    assert len(towers.weights) == 3 * len(backbone.weights) + 1
    assert not {id(w) for w in towers.weights} & {id(w) for w in backbone.weights}
    towers.get_layer("block_1_dense_b").kernel.assign(np.zeros((4, 6)))
    moved = towers(x)
    assert [bool(np.allclose(moved[k], said[k])) for k in "abc"] == [True, False, True]


def test_names_and_order_let_blocks_speak_of_all_copies(small_backbone):
    towers = stages.towers(small_backbone(), ["a", "b"], ["block_1", "block_3_conv"], unit)
    names = [layer.name for layer in towers.layers]
    assert names[:4] == ["pixels", "rescaling", "block_1_conv_a", "block_1_conv_b"]  # once before the first weights
    assert names.index("block_1_unit") + 1 == names.index("block_2_conv_a")
    found = dict(stages.blocks.blocks(towers))
    assert list(found) == ["block_1", "block_2", "block_3"]
    assert len(found["block_1"]) == 3 + 2 * 4 and len(found["block_2"]) == 2 * 4  # with input, scaling and unit


def test_flags_and_settings_are_copied(small_backbone):
    backbone = small_backbone()
    backbone.get_layer("block_2_conv").trainable = False
    towers = stages.towers(backbone, ["a", "b"], ["block_1"], unit)
    assert [towers.get_layer(f"block_{i}_conv_b").trainable for i in (1, 2, 3)] == [True, False, True]
    assert towers.get_layer("block_1_bn_a").momentum == 0.5 and towers.get_layer("block_1_dropout_a").rate == 0.3


def test_a_layer_used_twice_is_one_layer_in_each_copy():
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4, activation="tanh", name="again")
    first = keras.layers.Dense(4, name="first")(inputs)
    backbone = keras.Model(inputs, shared(shared(first)) + first)
    towers, x = stages.towers(backbone, ["a", "b"], ["first"], unit), numbers()[0]
    assert len(towers.weights) == 2 * 4 + 1 and np.allclose(towers(x)["b"], backbone(x), atol=1e-6)
    error = "The stage 'again' is used 2 times and has no one output"
    with pytest.raises(ValueError, match=error):
        stages.tapped(backbone, ["again"])
    with pytest.raises(ValueError, match=error):
        stages.towers(backbone, ["a", "b"], ["again"], unit)


def test_layers_of_the_same_name_in_two_models_stay_apart():
    model, x = nested(), numbers()[0]
    towers = stages.towers(model, ["a", "b"], ["dense"], unit)
    assert {"dense_a", "dense_a_", "dense_b", "dense_b_"} <= {layer.name for layer in towers.layers}
    assert np.allclose(towers(x)["b"], model(x), atol=1e-6)


def test_a_model_called_in_inference_mode_stays_whole():
    inner = dense_backbone()
    inputs = keras.Input((4,), name="numbers")
    model = keras.Model(inputs, keras.layers.Dense(2, name="top")(inner(inputs, training=False)))
    with pytest.raises(ValueError, match="'block_2' is an input, or lies in a model that is called with training=False"):
        stages.tapped(model, ["block_2"])
    towers, x = stages.towers(model, ["a", "b"], ["top"], unit), numbers()[0]
    assert np.allclose(towers(x)["b"], model(x), atol=1e-6) and "dense_b" in [layer.name for layer in towers.layers]


def test_unknown_stages_are_refused_with_the_nearest():
    error = "`at` names no layer or block of the backbone: 'blok_2'. Did you mean .*'block_2'"
    with pytest.raises(ValueError, match=error):
        stages.tapped(dense_backbone(), ["blok_2"])


@pytest.mark.parametrize("at, kind, error", [
    ([], TypeError, "`at` must be the name of a layer or block of the backbone, or a list of names. Received: \\[\\]"),
    (3, TypeError, "Received: 3"),
    (["a", 3], TypeError, "Received: \\['a', 3\\]"),
    (["a", "a"], ValueError, "`at` names the same stage twice: 'a' and 'a'"),
])  # fmt: skip
def test_bad_names(at, kind, error):
    with pytest.raises(kind, match=error):
        stages.stage_names(at)
    assert stages.stage_names("a") == ["a"] and stages.stage_names(("a", "b")) == ["a", "b"]


def test_two_names_of_one_stage():
    with pytest.raises(ValueError, match="names the same stage twice: 'block_2' and 'block_2_dense'"):
        stages.tapped(dense_backbone(), ["block_2", "block_2_dense"])


def test_a_stage_has_one_output():
    inputs = keras.Input((4, 3))
    sequence, *_ = keras.layers.LSTM(2, return_state=True, name="both")(inputs)
    backbone = keras.Model(inputs, keras.layers.Dense(2)(sequence))
    error = "The stage 'both' has 3 outputs"
    with pytest.raises(ValueError, match=error):
        stages.tapped(backbone, ["both"])
    with pytest.raises(ValueError, match=error):
        stages.towers(backbone, ["a", "b"], ["both"], unit)
