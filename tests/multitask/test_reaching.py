"""Which variables several tasks depend on, at any depth of nesting; what a tape says is the second derivation."""

import keras
import numpy as np

import keras_transfer as kt
from keras_transfer.multitask.reaching import shared_variables
from multitask import small

MMoE = kt.multitask.MMoE


def paths(model):
    return [v.path for v in shared_variables(model)]


def by_tape(model, x, y):
    return small.split(small.task_gradients(model, x, y)[0])[0]


def dense(name):
    return keras.layers.Dense(3, name=name)


def test_the_backbone_is_shared_and_heads_are_not_as_the_tape_says():
    model = small.network(norms=True)
    found = paths(model)
    assert found == by_tape(model, *small.data())
    assert "block_1/kernel" in found and not any(path.split("/")[0] in small.TASKS for path in found)
    assert len(found) == 8 and len(model.trainable_variables) == 16  # the control


def test_what_two_of_three_reach_is_shared_and_what_one_reaches_is_not():
    inputs = keras.Input((2,))
    stem = dense("stem")(inputs)
    two, one = dense("two")(stem), dense("one")(stem)
    model = keras.Model(inputs, {"a": dense("a")(two), "b": dense("b")(two), "c": dense("c")(one)})
    assert paths(model) == ["stem/kernel", "stem/bias", "two/kernel", "two/bias"]


def test_nested_models_are_looked_into_output_by_output():
    """A model of two outputs inside of another: only what lies below both is shared."""
    inner_inputs = keras.Input((3,))
    stem = dense("stem")(inner_inputs)
    inner = keras.Model(inner_inputs, [dense("left")(stem), dense("right")(stem)], name="inner")
    middle_inputs = keras.Input((2,))
    middle = keras.Model(middle_inputs, inner(dense("first")(middle_inputs)), name="middle")
    inputs = keras.Input((2,))
    left, right = middle(inputs)
    model = keras.Model(inputs, {"a": dense("a")(left), "b": dense("b")(right)})
    assert paths(model) == [f"{name}/{part}" for name in ("first", "stem") for part in ("kernel", "bias")]
    model = keras.Model(inputs, {"a": dense("a")(left), "b": dense("b")(left)})
    assert "left/kernel" in paths(model) and "right/kernel" not in paths(model)


def test_a_layer_or_model_that_is_used_twice_is_shared_though_its_inputs_are_not():
    twice, tower = dense("twice"), keras.Sequential([keras.Input((3,)), dense("in_tower")], name="tower")
    first, second = keras.Input((2,), name="first"), keras.Input((2,), name="second")
    model = keras.Model([first, second], {"a": tower(twice(dense("a")(first))), "b": tower(twice(dense("b")(second)))})
    assert sorted(paths(model)) == [
        f"{name}/{part}" for name in ("tower/in_tower", "twice") for part in ("bias", "kernel")
    ]


def test_operations_without_weights_and_several_inputs_of_a_layer_pass_it_on():
    inputs = keras.Input((3,))
    left, right = dense("left")(inputs), dense("right")(inputs)
    joined = keras.layers.Concatenate()([left, keras.ops.tanh(right * 2.0)])
    model = keras.Model(inputs, {"a": dense("a")(joined), "b": dense("b")(right + 1.0)})
    assert paths(model) == ["right/kernel", "right/bias"]


def test_frozen_variables_are_left_out():
    model = small.network()
    model.get_layer("backbone").get_layer("block_1").trainable = False
    assert paths(model) == ["block_2/kernel", "block_2/bias"] == by_tape(model, *small.data())
    kt.freeze(model)
    assert paths(model) == []


def test_a_layer_that_gives_tasks_something_of_their_own_counts_in_all_its_parts():
    model = small.network(sharing=MMoE(experts=2, units=3))
    x, y = small.data()
    found, taped = paths(model), by_tape(model, x, y)
    gates = [path for path in found if "gate" in path]
    assert len(gates) == 3 and sorted(set(found) - set(taped)) == sorted(gates)
    assert all(np.any(v) for v in small.task_gradients(model, x, y)[0]["age"].values() if v is not None)


def test_a_nested_model_with_a_list_of_inputs_may_be_called_with_a_dict():
    """Its inputs go by their names, and not by the alphabet."""
    b, a = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    inner = keras.Model([b, a], [keras.layers.Dense(2)(b), keras.layers.Dense(2)(a)])
    inputs, layer = keras.Input((4,)), keras.layers.Dense
    first, second = layer(3, name="first")(inputs), layer(3, name="second")(inputs)
    left, right = inner({"b": first, "a": second})
    model = keras.Model(inputs, {"y": left, "z": layer(1)(second), "u": right})
    assert {v.path.split("/")[0] for v in shared_variables(model)} == {"second"}
    again = inner(inputs={"b": first, "a": second})
    assert {v.path.split("/")[0] for v in shared_variables(keras.Model(inputs, {"y": again[0], "z": second}))} == set()
