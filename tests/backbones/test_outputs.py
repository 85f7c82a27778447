import keras
import numpy as np
import pytest

from keras_transfer.backbones import outputs
from keras_transfer.network import Network


@pytest.fixture
def model():
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="one")(x)
    y = keras.layers.Conv2D(5, 3, name="two")(x)
    y = keras.layers.Conv2D(6, 3, name="three")(y)
    return keras.Model(inputs, y)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")


def test_the_last_layer_pooled(model, pixels):
    maps = np.asarray(model(pixels))
    assert isinstance(outputs.network(model, "avg", None), Network)
    np.testing.assert_allclose(outputs.network(model, "avg", None)(pixels), maps.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(outputs.network(model, None, None)(pixels), maps)


def test_an_inner_layer_and_nothing_above_it(model, pixels):
    network = outputs.network(model, "max", "two")
    wanted = np.asarray(keras.Model(model.input, model.get_layer("two").output)(pixels)).max((1, 2))
    np.testing.assert_array_equal(network(pixels), wanted)
    assert [layer.name for layer in network.layers][1:] == ["one", "two", "max_pool"]
    assert network.layers[1] is model.get_layer("one")


def test_several_layers_in_the_order_asked_for(model, pixels):
    network = outputs.network(model, "both", ["three", "one"])
    assert [tuple(o.shape) for o in network.outputs] == [(None, 12), (None, 8)]
    for features, name in zip(network(pixels), ("three", "one")):
        maps = np.asarray(keras.Model(model.input, model.get_layer(name).output)(pixels))
        np.testing.assert_allclose(
            features, np.concatenate([maps.mean((1, 2)), maps.max((1, 2))], 1), rtol=1e-4, atol=1e-6
        )
    assert outputs.network(model, "avg", ["two"]).output_shape == (None, 5)


def test_vectors_and_taken_names():
    inputs = keras.Input((4, 4, 2))
    maps = keras.layers.Conv2D(3, 1, name="avg_pool")(inputs)
    model = keras.Model(inputs, keras.layers.Flatten(name="flat")(maps))
    assert outputs.network(model, "avg", None).output_shape == (None, 48)
    inner = outputs.network(model, "avg", "avg_pool")
    assert inner.layers[-1].name == "avg_pool_1" and inner.output_shape == (None, 3)


def test_unknown_and_shared_layers(model):
    with pytest.raises(ValueError, match=r"Unknown layer 'thre'\. Did you mean 'three'"):
        outputs.network(model, "avg", "thre")
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4, name="shared")
    twice = keras.Model(inputs, shared(shared(inputs)))
    with pytest.raises(ValueError, match="The layer 'shared' is used 2 times and has no one output"):
        outputs.network(twice, "avg", "shared")


def test_a_layer_that_another_model_used_first(pixels):
    layer = keras.layers.Conv2D(2, 1, name="layer")
    keras.Model(other := keras.Input((8, 8, 3)), layer(other))
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(layer(keras.layers.ReLU()(inputs))))
    wanted = np.asarray(layer(np.maximum(pixels, 0)))
    np.testing.assert_allclose(outputs.network(model, None, "layer")(pixels), wanted, rtol=1e-6)


def test_a_layer_with_several_outputs():
    inputs = keras.Input((5, 4))
    sequence, state = keras.layers.GRU(3, return_sequences=True, return_state=True, name="gru")(inputs)
    model = keras.Model(inputs, keras.layers.Flatten()(sequence))
    with pytest.raises(ValueError, match="The layer 'gru' has several outputs"):
        outputs.network(model, "avg", "gru")


@pytest.mark.parametrize(
    "pooling, at, error, said",
    [
        ("mean", None, ValueError, '`pooling` must be "avg", "max", "both" or None. Received: \'mean\''),
        (True, None, ValueError, "Received: True"),
        (["avg"], None, ValueError, "Received: .'avg'."),
        ("avg", 3, TypeError, "`at` must be the name of a layer or a list of names. Received: 3"),
        ("avg", [], TypeError, "Received: .."),
        ("avg", ["a", 1], TypeError, "a list of names"),
    ],
)
def test_arguments_of_the_wrong_kind(pooling, at, error, said):
    with pytest.raises(error, match=said):
        outputs.check(pooling, at)
