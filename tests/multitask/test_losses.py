"""The losses of the tasks are those that Keras logs, and labels are counted; wrong keys are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask.losses import TaskLosses
from multitask import small

Y = {"a": np.array([1.0, 2.0, 4.0], "float32"), "b": np.array([0, 2, -1])}
SAID = {"a": np.array([[1.0], [4.0], [1.0]], "float32"), "b": np.zeros((3, 3), "float32")}


def crossentropy():
    return kt.Masked(keras.losses.SparseCategoricalCrossentropy(from_logits=True))


def numbers(losses):
    return [float(loss) for loss in losses]


def test_loss_weight_times_loss_by_hand():
    losses = TaskLosses(["a", "b"], {"a": keras.losses.MeanSquaredError(), "b": crossentropy()}, {"b": 2, "a": 3.0})
    # squares 0, 4, 9; two labels, each of log 3
    assert numbers(losses(Y, SAID, None)) == pytest.approx([3 * 13 / 3, 2 * np.log(3)], rel=1e-6)
    plain = TaskLosses(["b", "a"], losses.losses, None)
    assert list(plain.losses) == ["b", "a"] and numbers(plain(Y, SAID, None)) == pytest.approx(
        [np.log(3), 13 / 3], rel=1e-6
    )


def test_labels_seen_are_those_that_count_in_the_loss():
    heads = {"kind": kt.heads.Classifier(2), "size": kt.heads.Regressor()}
    losses = TaskLosses(list(heads), {name: head.make_loss() for name, head in heads.items()}, None)
    for labels, seen in (([-1, 1], [1, 2]), ([True, False], [2, 2]), ([float("nan"), 1.0], [1, 1])):
        assert losses.seen(dict.fromkeys(heads, np.array(labels))).numpy().tolist() == seen


def test_sample_weights_of_each_task_or_of_all():
    losses = TaskLosses(["a", "b"], {"a": keras.losses.MeanSquaredError(), "b": crossentropy()}, None)
    one, other = np.array([0.0, 1.0, 2.0]), np.array([1.0, 4.0, 9.0])
    # (4 + 18) / 3; (1 + 4) log 3 / 2 and (0 + 1) log 3 / 2
    assert numbers(losses(Y, SAID, {"a": one, "b": other})) == pytest.approx([22 / 3, 2.5 * np.log(3)], rel=1e-6)
    assert numbers(losses(Y, SAID, one)) == pytest.approx([22 / 3, 0.5 * np.log(3)], rel=1e-6)
    assert numbers(losses(Y, SAID, {"a": None, "b": other}))[0] == pytest.approx(13 / 3, rel=1e-6)


def cubes(y_true, y_pred):
    return keras.ops.abs(y_true - y_pred) ** 3


@pytest.mark.parametrize(
    "given",
    [
        "mse",
        "mean_absolute_error",
        keras.losses.Huber(delta=0.5),
        cubes,
        keras.losses.mean_squared_error,
        keras.losses.MeanSquaredError(reduction="sum"),
    ],
)
@pytest.mark.parametrize("columns", [True, False])
def test_whatever_keras_takes_as_a_loss_gives_what_keras_logs(given, columns):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {name: keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")})
    x, y = np.random.default_rng(0).normal(size=(7, 4)), np.random.default_rng(1).normal(size=7)
    labels = {"a": y[:, None] if columns else y, "b": 2 * y}
    model.compile(loss={"a": given, "b": "mse"}, loss_weights={"a": 0.5, "b": 1.0}, run_eagerly=True)
    weights = {"a": np.linspace(0, 2, 7), "b": np.ones(7)}
    logged = model.test_on_batch(x, labels, sample_weight=weights, return_dict=True)
    losses = TaskLosses(["a", "b"], {"a": given, "b": "mse"}, {"a": 0.5, "b": 1.0})
    found = numbers(losses(labels, model(x), weights))
    assert sum(found) == pytest.approx(logged["loss"], rel=1e-5)
    assert found[1] == pytest.approx(logged["b_loss"], rel=1e-5) and min(found) > 0.01


def test_losses_are_float32_whatever_the_network_computes_in():
    losses = TaskLosses(["a"], {"a": keras.losses.MeanSquaredError(dtype="bfloat16")}, None)
    (loss,) = losses({"a": Y["a"]}, {"a": tf.cast(SAID["a"], "bfloat16")}, None)
    assert loss.dtype == tf.float32 and float(loss) == pytest.approx(13 / 3, rel=0.01)


def test_labels_are_counted_through_all_that_wraps_a_masked_loss():
    model = small.network()
    given = kt.objectives(model)
    given["loss"]["colour"] = keras.losses.SparseCategoricalCrossentropy(from_logits=True)  # knows no missing labels
    losses = TaskLosses(list(small.TASKS), given["loss"], given["loss_weights"])
    nan = np.nan
    y = {"size": np.array([1, nan, nan, 4]), "colour": np.array([0, 1, 2, 2]), "age": np.array([nan] * 4)}
    assert losses.seen(y).numpy().tolist() == [2.0, 4.0, 0.0]


def test_labels_are_counted_element_by_element_and_by_their_own_mark():
    masked = kt.Masked(keras.losses.BinaryCrossentropy(from_logits=True), missing=-9)
    losses = TaskLosses(["a", "b"], {"a": masked, "b": crossentropy()}, None)
    seen = losses.seen({"a": np.array([[1, 0, -9], [-9, -9, -1]]), "b": np.array([-1, -1, 0])})
    assert seen.numpy().tolist() == [3.0, 1.0] and seen.dtype == tf.float32


def said(loss, weights):
    with pytest.raises(ValueError) as raised:
        TaskLosses(["breed", "age"], loss, weights)
    return str(raised.value)


def test_a_loss_that_is_no_dict_is_refused():
    text = "`loss` must be a dict with a loss for each of the heads breed, age, as kt.objectives(model) gives it. "
    text += "Received: {}"
    assert said("mse", None) == text.format("'mse'")
    assert said(None, None) == text.format("None")


def test_unknown_keys_are_refused():
    both = {"breed": "mse", "age": "mse"}
    assert said({"bred": "mse", **both}, None) == "Unknown key of `loss` 'bred'. Did you mean 'breed'?"
    text = "Unknown key of `loss_weights` 'bred'. Did you mean 'breed'?"
    assert said(both, {"bred": 1.0, "breed": 1.0, "age": 1.0}) == text


def test_lacking_keys_are_refused():
    text = "`loss` and `loss_weights` must cover all heads; they lack {}. kt.objectives(model) gives them for all."
    assert said({"breed": "mse"}, None) == text.format("age")
    assert said({"breed": None, "age": "mse"}, None) == text.format("breed")
    assert said({}, None) == text.format("breed, age")
    assert said({"breed": "mse", "age": "mse"}, {"breed": 1.0}) == text.format("age")
