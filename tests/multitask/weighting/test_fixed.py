import re

import keras
import numpy as np
import pytest

from keras_transfer.multitask.weighting.fixed import Fixed
from multitask.weighting import laws

THREE = [1.0, 0.5, 2.0]


@pytest.mark.parametrize("law", [law for law in laws.ALL if law not in (laws.permutation, laws.absent, laws.one_task)])
def test_laws(law):
    assert law(lambda: Fixed(THREE))


def test_losses_do_not_matter():
    weighting = laws.built(lambda: Fixed(THREE))
    for losses in ([1, 2, 3], [0, -5, 1e9]):
        assert laws.weights_of(weighting, losses).tolist() == THREE


def test_scaling():
    assert laws.scaling(lambda: Fixed(THREE), degree=1)


def test_an_absent_task_leaves_the_weights_of_the_others():
    weighting = laws.built(lambda: Fixed(THREE))
    assert laws.weights_of(weighting, [1, 0, 1], present=[True, False, True]).tolist() == [1.0, 0.0, 2.0]


def test_weights_by_name_come_in_the_order_of_the_tasks():
    weighting = Fixed({"age": 0.25, "breed": 1, "species": 0})
    weighting.name_tasks(["breed", "species", "age"])
    weighting.build(3)
    assert laws.weights_of(weighting, [1, 1, 1]).tolist() == [1.0, 0.0, 0.25]


def test_weights_by_name_survive_their_config():
    weighting = Fixed({"age": 0.25, "breed": 1})
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(weighting))
    again.name_tasks(["breed", "age"])
    again.build(2)
    assert laws.weights_of(again, [1, 1]).tolist() == [1.0, 0.25] and again.get_config() == weighting.get_config()


def test_naming_the_tasks_does_nothing_to_a_list():
    weighting = Fixed(THREE)
    weighting.name_tasks(["c", "b", "a"])
    weighting.build(3)
    assert laws.weights_of(weighting, [1, 1, 1]).tolist() == THREE


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "1", True, None])
def test_weights_that_are_none(weight):
    for weights, name in ([1, weight], "1"), ({"age": weight}, "'age'"):
        expected = f"The weight of task {name} must be a number of at least 0. Received: {weight!r}"
        with pytest.raises(ValueError, match=re.escape(expected)):
            Fixed(weights)


def test_names_that_do_not_fit():
    with pytest.raises(ValueError, match="Unknown task in `Fixed`: 'brede'. Did you mean 'breed'?"):
        Fixed({"brede": 1}).name_tasks(["breed"])
    with pytest.raises(ValueError, match="`Fixed` has no weight for 'age', 'sex'. Give one for each task; 0 takes"):
        Fixed({"breed": 1}).name_tasks(["breed", "age", "sex"])


def test_a_wrong_number_of_weights():
    for weights in (THREE, {"a": 1, "b": 2, "c": 3}):
        with pytest.raises(ValueError, match="`Fixed` has 3 weights for 2 tasks. Give one for each task."):
            Fixed(weights).build(2)


@pytest.mark.parametrize("weights", [None, 1.0, "equal"])
def test_what_is_no_list_of_weights(weights):
    with pytest.raises(TypeError, match="`weights` must be a dict {task: number} or a list of numbers. Received: "):
        Fixed(weights)


def test_names_nobody_told():
    weighting = Fixed({"breed": 1})
    weighting.build(1)
    with pytest.raises(ValueError, match="was given weights by name and not told the names of the tasks"):
        laws.weights_of(weighting, [1.0])


def test_numbers_of_numpy_are_numbers():
    assert Fixed(np.array([1.0, 2.0])).get_config()["weights"] == [1.0, 2.0]
