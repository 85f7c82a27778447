import keras
import pytest

from keras_transfer import blocks


@pytest.mark.parametrize(
    "name, block",
    [
        ("block_16_expand_BN", "block_16"),
        ("conv5_block3_2_relu", "conv5_block3"),
        ("block7a_se_reduce", "block7a"),
        ("convnext_tiny_stage_3_block_2_layer_scale", "convnext_tiny_stage_3_block_2"),
        ("block35_7_mixed", "block35_7"),
        ("expanded_conv_10_squeeze_excite_mul", "expanded_conv_10"),
        ("expanded_conv_project", "expanded_conv"),
        ("conv_pw_13_bn", "conv_13"),
        ("conv_dw_13", "conv_13"),
        ("block5_conv3", "block5"),
        ("fire2_squeeze1x1", "fire2"),
        ("block14_sepconv2_act", "block14"),
        ("activation_7", None),
        ("conv2d_7", None),
        ("top_conv", None),
        ("separable_conv_1", None),
    ],
)
def test_block_read_from_a_layer_name(name, block):
    assert blocks._block_name(name) == block


def test_every_layer_is_in_one_block_and_in_depth_order(small_backbone):
    backbone = small_backbone()
    found = blocks.blocks(backbone)
    assert [name for name, _ in found] == ["block_1", "block_2", "block_3"]
    assert [layer for _, layers in found for layer in layers] == backbone.layers
    assert [layer.name for layer in found[0][1]][:3] == ["pixels", "rescaling", "block_1_conv"]


def test_real_families():
    def names(model):
        return [name for name, _ in blocks.blocks(model)]

    mobile = keras.applications.MobileNetV3Small(weights=None, include_top=False, input_shape=(32, 32, 3))
    assert names(mobile) == ["conv", "expanded_conv", *[f"expanded_conv_{i}" for i in range(1, 11)], "conv_1"]
    efficient = names(keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3)))
    assert efficient[:3] == ["stem_conv", "block1a", "block2a"] and efficient[-2:] == ["block7a", "top_conv"]
    inception = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(75, 75, 3))
    assert len(names(inception)) == 10
    assert sum(len(layers) for _, layers in blocks.blocks(inception)) == len(inception.layers)


def test_nested_models_are_replaced_by_their_layers(small_backbone):
    inner = small_backbone()
    outer = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.RandomFlip(name="flip"), inner])
    layers = blocks.depth_layers(outer)
    assert layers[0].name == "flip" and layers[1:] == inner.layers


def test_position_by_name_number_and_share(small_backbone):
    backbone = small_backbone()
    count = len(backbone.layers)
    assert blocks.position(backbone, "block_2", "last") == (6, 10)
    assert blocks.position(backbone, "block_2_bn", "last") == (7, 8)
    assert blocks.position(backbone, 4, "last") == (4, 4)
    assert blocks.position(backbone, 1.0, "last") == (count, count)
    assert blocks.position(backbone, 0.5, "last") == (round(count / 2),) * 2


@pytest.mark.parametrize(
    "where, error",
    [
        ("block_4", "`last` names no layer or block of the backbone: 'block_4'. Did you mean 'block_"),
        (99, "`last` must be a number of layers from 0 to 15, a share from 0.0 to 1.0, or the name"),
        (-1, "Received: -1"),
        (1.5, "Received: 1.5"),
        (True, "Received: True"),
        ([1], "Received: \\[1\\]"),
    ],
)
def test_positions_that_are_none(small_backbone, where, error):
    with pytest.raises(ValueError, match=error):
        blocks.position(small_backbone(), where, "last")
