"""One graph without variables that gives what the network gives in inference mode."""

import keras
import numpy as np
import pytest
import saved_models
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.store.engines.tracing import constant_function, fitted, inputs_of
from support import pixels


def check_close(prefix, *inputs, structure=lambda x: x[0]):
    function = constant_function(prefix)
    assert not function.variables
    expected = keras.tree.flatten(prefix(structure(inputs), training=False))
    got = function(*map(tf.constant, inputs))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert np.abs(b).max() > 1e-3
    return function


def test_a_backbone_with_norms_and_dropout(small_backbone):
    backbone = small_backbone()
    function = check_close(backbone, pixels(5))
    kinds = [node.op for node in function.graph.as_graph_def().node]
    assert kinds.count("BiasAdd") == 6 and "Mul" not in [k for k in kinds if k == "Rsqrt"]  # norms are a shift each
    assert not {"Rsqrt", "ReadVariableOp", "FusedBatchNormV3"} & set(kinds)


def test_later_changes_of_the_weights_play_no_part(small_backbone):
    backbone = small_backbone()
    function, x = constant_function(backbone), tf.constant(pixels(3))
    before = function(x)[0].numpy()
    backbone.layers[2].kernel.assign(backbone.layers[2].kernel * 0)
    assert np.array_equal(function(x)[0], before) and not np.allclose(backbone(x), before)


def test_any_number_of_rows_where_the_input_says_one():
    """As in converted models: Keras runs them all the same."""
    inputs = keras.Input((2, 3), batch_size=4)
    prefix = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(inputs)))
    check_close(prefix, np.random.default_rng(0).normal(size=(6, 2, 3)).astype("float32"))


def test_several_inputs_and_outputs_in_their_order():
    b, a = keras.Input((3,), name="b"), keras.Input((4,), name="a")
    first, second = keras.layers.Dense(5)(a), keras.layers.Dense(5)(b)
    prefix = keras.Model({"b": b, "a": a}, [keras.layers.Subtract()([first, second]), second, b])
    random = np.random.default_rng(0)
    check_close(prefix, *(random.normal(size=(6, n)).astype("float32") for n in (4, 3)),
          structure=lambda x: {"a": x[0], "b": x[1]})


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_quantized_layers_below_norms(mode):
    inputs, norm = keras.Input((8,)), keras.layers.BatchNormalization()
    prefix = keras.Model(inputs, norm(keras.layers.Dense(6)(inputs)))
    norm.moving_variance.assign(np.full(6, 0.01))
    prefix.quantize(mode)
    check_close(prefix, np.random.default_rng(0).normal(size=(5, 8)).astype("float32"))


def test_a_norm_that_is_called_by_the_name_of_its_argument():
    inputs = keras.Input((3,))
    prefix = keras.Model(inputs, keras.layers.BatchNormalization()(inputs=keras.layers.Dense(5)(inputs)))
    check_close(prefix, np.random.default_rng(0).normal(size=(6, 3)).astype("float32"))


@pytest.mark.parametrize("make", [saved_models.reusable, saved_models.plain, saved_models.signature_only])
def test_variables_of_a_saved_model_become_constants_too(make, tmp_path):
    backbone = kt.backbone(f"hub:{make(tmp_path / 'hub')}")
    check_close(backbone, np.random.default_rng(0).normal(size=(4, 6)).astype("float32"))


def test_inputs_in_the_dtypes_of_the_network():
    a, b = keras.Input((2,)), keras.Input((2,), dtype="int32")
    prefix = keras.Model([a, b], a)
    got = inputs_of(prefix, (np.zeros((1, 2)), np.ones((1, 2), "uint8")))
    assert [g.dtype.name for g in got] == ["float32", "int32"]
    text = keras.Input((), dtype="string")
    assert inputs_of(keras.Model(text, text), np.array([b"a"], object))[0].dtype == object


def test_columns_get_the_rank_that_the_network_takes():
    """With a last axis of 1 more or less, as Keras has it, and no other."""
    prefix = keras.Model(*[[keras.Input(shape) for shape in ((1,), (), (2, 1), (2,))]] * 2)
    given = (np.zeros(4), np.zeros((4, 1)), np.zeros((4, 2)), np.zeros((4, 2)))
    assert [array.shape for array in inputs_of(prefix, given)] == [(4, 1), (4,), (4, 2, 1), (4, 2)]
    assert fitted((4, 3), (None,)) == (4, 3) and fitted((4,), (None, 3)) == (4,)
