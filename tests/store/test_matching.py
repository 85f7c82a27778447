"""Whether x fits the network that reads it, by order or by name, and what a store keeps of a row."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.store import matching
from keras_transfer.store.sources import source_of


def network(**inputs):
    given = [keras.Input(shape, name=name) for name, shape in inputs.items()]
    return keras.Model(given, keras.layers.Concatenate()([keras.layers.Flatten()(x) for x in given]))


def source(x, y=None):
    return source_of((x, np.arange(6) if y is None else y))


def test_a_last_axis_of_one_and_batches_of_any_size_fit():
    matching.check_inputs(network(a=(4, 1)), source(np.zeros((6, 4))))
    matching.check_inputs(network(a=(4, 1), b=(2,)), source((np.zeros((6, 4)), np.zeros((6, 2)))))
    with pytest.raises(ValueError, match=r"takes inputs of shape \[\(4, 1\)\], a row, but the data set gives \[\(5,\)\]"):
        matching.check_inputs(network(a=(4, 1)), source(np.zeros((6, 5))))
    unknown = tf.data.Dataset.from_generator(lambda: iter([np.zeros((6, 4), "float32")]), tf.float32)
    with pytest.raises(ValueError, match="doesn't tell the number of dimensions of x"):
        matching.check_inputs(network(a=(4,)), source_of(unknown))


def test_names_count_where_tensors_go_by_them():
    x = {"b": np.zeros((6, 4)), "a": np.zeros((6, 2))}
    assert matching.names_for(network(b=(4,), a=(2,)), source(x)) == ("b", "a")
    assert matching.names_for(network(b=(4,)), source(np.zeros((6, 4)))) is None
    by_name = {name: keras.Input(shape) for name, shape in (("a", (2,)), ("b", (4,)))}
    assert matching.names_for(keras.Model(by_name, by_name["a"] * 2.0), source(x)) is None
    with pytest.raises(ValueError, match="The model takes the inputs c, but the data set gives a, b. Name them alike"):
        matching.check_inputs(network(c=(4,)), source({k: x[k] for k in "ab"}))
    with pytest.raises(ValueError, match="The model takes the inputs a, b, but the data set gives a, c. Name them alike"):
        matching.check_inputs(keras.Model(by_name, by_name["a"] * 2.0), source({"a": x["a"], "c": x["b"]}))


def test_the_columns_of_a_row():
    columns = matching.columns_of(network(a=(4,)), source(np.zeros((6, 4))), kt.Store(dtype="bfloat16"))
    assert {name: (shape, dtype.name) for name, (shape, dtype) in columns.items()} == {
        "x0": ((4,), "bfloat16"), "y0": ((), "int64"), "id": ((), "int64")}
    with pytest.raises(ValueError, match="The labels have the shape .*only numbers of one fixed shape can be kept"):
        matching.columns_of(network(a=(4,)), source(np.zeros((6, 4)), np.array(["cat"] * 6, object)), kt.Store())
