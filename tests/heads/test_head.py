import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.heads.head import Head, class_names

FEATURES = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
HEADS = [
    lambda **o: kt.heads.Classifier(["a", "b", "c"], **o),
    lambda **o: kt.heads.MultiLabel(3, **o),
    lambda **o: kt.heads.Regressor({"mean": [1.0, 2.0], "std": [3.0, 4.0]}, **o),
    lambda **o: kt.heads.Ordinal(4, **o),
]


@pytest.mark.parametrize("make", HEADS)
def test_config_round_trip_with_hidden_layers_loss_and_metrics(make):
    head = make(
        hidden=[6, 5],
        dropout=0.2,
        loss_weight=0.5,
        loss=keras.losses.BinaryFocalCrossentropy(gamma=0.1),
        metrics=[keras.metrics.MeanSquaredError(name="mine")],
        name="task",
    )
    head(FEATURES)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    again(FEATURES)
    again.set_weights(head.get_weights())
    assert np.array_equal(head(FEATURES), again(FEATURES))
    assert again.get_config() == head.get_config()
    assert (again.loss_weight, again.make_loss().get_config()["gamma"], again.make_metrics()[0].name) == (
        0.5,
        0.1,
        "mine",
    )


@pytest.mark.parametrize("make", HEADS)
def test_losses_and_metrics_are_new_at_every_call(make):
    head = make()
    assert head.make_loss() is not head.make_loss()
    assert head.make_metrics()[0] is not head.make_metrics()[0]
    given = keras.metrics.MeanSquaredError()
    assert make(metrics=[given]).make_metrics()[0] is not given


@pytest.mark.parametrize("make", HEADS)
def test_outputs_are_float32_under_mixed_precision(make):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert keras.backend.standardize_dtype(make(hidden=3)(FEATURES).dtype) == "float32"
    finally:
        keras.config.set_dtype_policy("float32")


def test_hidden_layers_by_hand():
    head = kt.heads.Classifier(2, hidden=2)
    head(np.zeros((1, 2)))
    head.set_weights(
        [
            np.array([[1.0, -1.0], [0.0, 2.0]]),
            np.array([0.5, 0.0]),
            np.array([[1.0, 0.0], [3.0, 1.0]]),
            np.array([0.0, 1.0]),
        ]
    )
    # hidden = relu([1*2 + 0.5, -2 + 2*3]) = [2.5, 4]; outputs = [2.5 + 12, 4 + 1]
    assert np.allclose(head(np.array([[2.0, 3.0]])), [[14.5, 5.0]])


def test_dropout_draws_in_training_only():
    head = kt.heads.Classifier(2, dropout=0.5)
    still = head(FEATURES)
    assert np.array_equal(still, head(FEATURES, training=False)) and not np.allclose(
        still, head(FEATURES, training=True)
    )


def test_names_do_not_count_up():
    assert [kt.heads.Classifier(2).name for _ in range(2)] == ["classifier", "classifier"]
    assert kt.heads.MultiLabel(2).name == "multi_label"


@pytest.mark.parametrize(
    "options, error",
    [
        ({"dropout": 1.0}, "`dropout` must be a share: at least 0 and less than 1. Received: 1.0"),
        ({"hidden": [0]}, "`hidden` must be a whole number of at least 1. Received: 0"),
        ({"loss_weight": -1}, "`loss_weight` must be a number of at least 0. Received: -1"),
    ],
)
def test_arguments_out_of_range(options, error):
    with pytest.raises(ValueError, match=error):
        kt.heads.Classifier(2, **options)


@pytest.mark.parametrize("classes", [1, 0, ["only"], "cats", True])
def test_too_few_classes(classes):
    with pytest.raises(ValueError, match="`classes` must be a number of at least 2, or a list of that many names"):
        class_names(classes)


def test_class_names_must_differ():
    with pytest.raises(ValueError, match="occur twice: a. Each class"):
        kt.heads.Classifier(["a", "b", "a"])
    assert class_names(3) == ["0", "1", "2"]


def test_a_head_of_ones_own_needs_a_loss():
    class Mine(Head):
        pass

    with pytest.raises(NotImplementedError, match="Mine has no default loss; give `loss=`"):
        Mine(2).make_loss()
    assert Mine(2).make_metrics() == [] and Mine(2, loss=keras.losses.Huber()).make_loss().name == "huber_loss"


def test_metrics_given_are_logged_once():
    model = keras.Sequential(
        [keras.Input((4,)), kt.heads.Classifier(3, metrics=[keras.metrics.SparseCategoricalAccuracy(name="mine")])]
    )
    head = model.layers[-1]
    model.compile(optimizer="sgd", loss=head.make_loss(), metrics=head.make_metrics())
    assert list(model.evaluate(FEATURES, np.array([0, 1, 2, 0, 1]), verbose=0, return_dict=True)) == ["loss", "mine"]
