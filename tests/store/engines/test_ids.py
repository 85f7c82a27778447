"""Ids that an embedding doesn't have are refused, and no others."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.store.engines.ids import Ids


def ids(*numbers, dtype="int32"):
    return np.array(numbers, dtype).reshape(-1, 1)


def network(layer, dtype="int32", shape=(1,)):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
def test_what_keras_refuses_is_refused_and_named(dtype):
    prefix = network(keras.layers.Embedding(100, 4, name="tokens"), dtype)
    checked = Ids(prefix)
    checked.check([ids(0, 99, dtype=dtype)])
    checked.check([ids(dtype=dtype)])
    with pytest.raises(tf.errors.InvalidArgumentError):
        prefix(ids(150, dtype=dtype))
    for x in (ids(0, 150, 1, dtype=dtype), ids(0, 100, dtype=dtype)):
        with pytest.raises(ValueError, match=f"hold the id {x.max():.0f}, and the embedding 'tokens' has 100, numbered from 0"):
            checked.check([x])


def test_negative_ids_count_from_the_end_as_in_keras():
    prefix = network(keras.layers.Embedding(100, 4, name="tokens"))
    np.testing.assert_array_equal(prefix(ids(-1, -100)), prefix(ids(99, 0)))
    checked = Ids(prefix)
    checked.check([ids(-1, -100)])
    with pytest.raises(ValueError, match="hold the id -101, and the embedding 'tokens' has 100"):
        checked.check([ids(5, -101)])


def test_an_embedding_among_others_and_in_other_layers():
    words, kinds = keras.Input((3,), dtype="int32"), keras.Input((3,), dtype="int32")
    inner = keras.Input((3,), dtype="int32")
    nested = keras.Model(inner, keras.layers.Embedding(20, 4, name="words")(inner))
    both = nested(words, training=False) + keras.layers.Embedding(3, 4, name="kinds")(kinds)
    checked = Ids(keras.Model([words, kinds], both))
    one = np.ones((2, 3), "int32")
    checked.check([one * 19, one * 2])
    with pytest.raises(ValueError, match="the id 20, and the embedding 'words' has 20"):
        checked.check([one * 20, one])
    with pytest.raises(ValueError, match="the id 19, and the embedding 'kinds' has 3"):
        checked.check([one, one * 19])


def modulo(x):
    return x % 5


class Counted(keras.layers.Layer):
    """Changes ids before it looks them up, and counts how often it's called."""

    def __init__(self, change):
        super().__init__()
        self.small, self.large = keras.layers.Embedding(5, 4, name="small"), keras.layers.Embedding(50, 4, name="large")
        self.change, self.calls = change, 0

    def call(self, x):
        self.calls += 1
        return self.small(self.change(x)) + self.large(x % 50 if self.change is modulo else x)


def test_what_a_layer_makes_of_ids_itself_is_no_fault():
    layer = Counted(modulo)
    prefix = network(layer)
    checked, before = Ids(prefix), layer.calls
    for k in range(10):
        checked.check([ids(1000, -1000, k, 20 * k)])
    assert layer.calls == before + 2  # once for each end


def test_the_embedding_that_refuses_is_named():
    checked = Ids(network(Counted(lambda x: x // 100)))
    checked.check([ids(3, 49)])
    with pytest.raises(ValueError, match="the id 50, and the embedding 'large' has 50"):
        checked.check([ids(3, 50)])


def test_photos_cost_nothing():
    """Also beside embeddings within a layer that are read by something else."""

    class Placed(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.places = keras.layers.Embedding(3, 4)

        def call(self, x):
            return x + self.places(keras.ops.arange(3))

    assert Ids(network(Placed(), "float32", (3, 4))).sizes == {}
    assert Ids(network(keras.layers.Conv2D(2, 3), "float32", (8, 8, 3))).sizes == {}
    assert Ids(network(keras.layers.CategoryEncoding(5, "one_hot"))).sizes == {}


def test_a_network_that_takes_no_single_row_is_not_taken_for_one_that_refuses_ids():
    class Pairs(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.find = keras.layers.Embedding(5, 4)

        def call(self, x):
            if x.shape[0] == 1:
                raise ValueError("one row alone")
            return self.find(x % 5)

    checked = Ids(network(Pairs()))
    checked.check([ids(7, 8)])
    assert checked.right == {0: (-5, 8)}
