"""Data that doesn't fit the heads is refused before training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.fitting import check_data, check_loss, count_batches

X = np.zeros((4, 16, 16, 3), "float32")
GOOD = {
    "colour": np.array([0, 1, 2, -1]),
    "light": np.array([0.5, np.nan, 1, 2], "float32"),
    "tags": np.zeros((4, 2), "float32"),
}


@pytest.fixture
def model(small_backbone):
    return kt.attach(
        small_backbone(),
        {"colour": kt.heads.Classifier(3), "light": kt.heads.Regressor(), "tags": kt.heads.MultiLabel(2)},
    )


def test_what_fits_is_taken(model, small_backbone):
    for data in ((X, GOOD), tf.data.Dataset.from_tensor_slices((X, GOOD)).batch(2), None):
        check_data(model, data, "train")
    weights = {name: np.ones(4, "float32") for name in GOOD}
    check_data(model, (X, GOOD, weights), "train")
    assert len(check_data(model, (X, GOOD, None), "train")) == 2
    check_data(kt.attach(small_backbone(), kt.heads.Classifier(3)), (X, GOOD["colour"]), "train")


@pytest.mark.parametrize("dtype", ["U", "S", object])
def test_texts_come_out_as_objects_whatever_they_were(dtype):
    text = keras.Input((), dtype="string")
    model = kt.attach(keras.Model(text, keras.layers.TextVectorization(vocabulary=["a", "b"], output_mode="count")(text)),
                      {"one": kt.heads.Classifier(2), "other": kt.heads.Regressor()})
    x = np.array(["a b", "b", "a"]).astype(dtype)
    y = {"one": np.array([0, 1, 0]), "other": np.ones(3, "float32")}
    found, labels = check_data(model, (x, y), "train")
    assert found.dtype == object and found.tolist() == ["a b", "b", "a"] and labels["one"] is y["one"]
    learner = kt.MultiTask(model)
    learner.compile(**kt.objectives(model))
    assert learner.fit(x, y, validation_data=(x, y), epochs=2, verbose=0).epoch == [0, 1]
    assert kt.fine_tune(model, (x, y), (x, y), head_epochs=1, epochs=0, cache=False, verbose=0).epoch == [0]


@pytest.mark.parametrize("x, what", [([1.0, 2.0, 3.0, 4.0], "a float among them: 1.0"), (["a", "b"], "a str among them: 'a'")])
def test_lists_of_numbers_or_texts_are_told_from_arrays(model, x, what):
    with pytest.raises(TypeError, match=f"`train` must hold arrays, and there is {what}. Lists of numbers or texts become one by"):
        check_data(model, (x, GOOD), "train")


@pytest.mark.parametrize(
    "labels, error",
    [
        (
            {**GOOD, "color": GOOD["colour"]},
            "labels of `train` have the key 'color', which is no head of the model. Did you mean 'colour'",
        ),
        ({"colour": GOOD["colour"]}, "labels of `train` lack the heads light, tags. Give every head its own"),
        (
            GOOD["colour"],
            "labels of `train` are one array, but the model has the heads colour, light, tags. Give a dict",
        ),
        (
            {**GOOD, "colour": np.array([0, 1, 2, 3])},
            "head 'colour' run from 0 to 3, but the head has the classes 0 to 2",
        ),
        ({**GOOD, "colour": np.array([0, 1, -2, 3])}, "run from -2 to 3"),
        ({**GOOD, "colour": np.array([0.5, 1, 0, 0])}, "run from 0 to 1"),
        ({**GOOD, "colour": np.array(["red", "blue", "red", "red"])}, "for head 'colour' are text. Give class numbers"),
        ({**GOOD, "tags": np.zeros((4, 3))}, "head 'tags' have 3 columns, but the head has 2 labels"),
    ],
)
def test_labels_that_do_not_fit(model, labels, error):
    with pytest.raises(ValueError, match=error):
        check_data(model, (X, labels), "train")


def test_text_in_a_dataset_is_seen_too(small_backbone):
    model = kt.attach(small_backbone(), kt.heads.Classifier(3))
    with pytest.raises(ValueError, match="are text"):
        check_data(model, tf.data.Dataset.from_tensor_slices((X, ["a", "b", "a", "b"])).batch(2), "validation")


def test_weights_need_every_head(model):
    with pytest.raises(ValueError, match="sample weights of `train` lack the heads light, tags"):
        check_data(model, (X, GOOD, {"colour": np.ones(4)}), "train")


def test_numbers_of_minus_one_are_no_missing_labels(model):
    check_data(model, (X, {**GOOD, "light": np.full(4, -1)}), "train", labelled=True)
    with pytest.raises(ValueError, match="All labels of `train` for head 'colour' are missing"):
        check_data(model, (X, {**GOOD, "colour": np.full(4, -1)}), "train", labelled=True)


def test_no_labels_and_other_types(model):
    with pytest.raises(ValueError, match="`train` must give .* it has no labels"):
        check_data(model, tf.data.Dataset.from_tensor_slices(X).batch(2), "train")
    with pytest.raises(TypeError, match="`train` must be a tf.data.Dataset, .* Received: list"):
        check_data(model, [X], "train")


def test_fine_tune_asks_before_training(model):
    before = [w.numpy() for w in model.weights]
    with pytest.raises(ValueError, match="labels of `validation` lack"):
        kt.fine_tune(model, (X, GOOD), (X, {"colour": GOOD["colour"]}), verbose=0)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights))


def test_classes_of_a_set_of_kt_data_are_known_without_a_pass(photo_folder, small_backbone):
    train, _, labels = kt.data.photos(photo_folder, size=16)
    check_data(kt.attach(small_backbone(), kt.heads.Classifier(labels)), train, "train")
    with pytest.raises(ValueError, match="run from 0 to 2, but the head has the classes 0 to 1"):
        check_data(kt.attach(small_backbone(), kt.heads.Classifier(2)), train, "train")


def test_inputs_of_another_shape_and_empty_data(model):
    with pytest.raises(ValueError, match=r"takes inputs of shape \(16, 16, 3\), but those of `train` have \(8, 8, 3\)"):
        check_data(model, (np.zeros((4, 8, 8, 3)), GOOD), "train")
    with pytest.raises(ValueError, match="`train` is empty"):
        check_data(model, (X[:0], {name: y[:0] for name, y in GOOD.items()}), "train")
    with pytest.raises(ValueError, match="`train` is empty"):
        check_data(model, tf.data.Dataset.from_tensor_slices((X, GOOD)).batch(2).take(0), "train")


def test_class_names_in_another_order(small_backbone, photo_folder):
    train, _, labels = kt.data.photos(photo_folder, size=16, batch_size=8)
    for classes in (labels, 3):
        check_data(kt.attach(small_backbone(), kt.heads.Classifier(classes)), train, "train")
    with pytest.raises(
        ValueError, match="are blue, green, red, but the head has red, green, blue, another list or order"
    ):
        check_data(kt.attach(small_backbone(), kt.heads.Classifier(labels[::-1])), train, "train")
    with pytest.raises(ValueError, match="are classes, but the head gives numbers"):
        check_data(kt.attach(small_backbone(), kt.heads.Regressor()), train, "train")


def test_heads_without_any_label_for_training(model, photo_folder, small_backbone):
    for name in GOOD:
        gone = {**GOOD, name: np.full_like(GOOD[name], -1 if GOOD[name].dtype.kind in "iu" else np.nan)}
        check_data(model, (X, gone), "validation")
        with pytest.raises(ValueError, match=f"All labels of `train` for head '{name}' are missing. Give it some, or leave"):
            check_data(model, (X, gone), "train", labelled=True)
        one = {**gone, name: np.concatenate([GOOD[name][:1], gone[name][1:]])}
        check_data(model, (X, one), "train", labelled=True)
    loss = kt.Masked(keras.losses.MeanSquaredError(), missing=7.0)
    other = kt.attach(small_backbone(), kt.heads.Regressor(loss=loss))
    check_data(other, (X, np.full(4, np.nan)), "train", labelled=True)
    with pytest.raises(ValueError, match="All labels of `train` for head 'regressor' are missing"):
        check_data(other, (X, np.full(4, 7.0)), "train", labelled=True)


def test_a_loss_that_is_no_number_is_told_with_its_head():
    check_loss({}, 0)
    with pytest.raises(ValueError, match="^The loss of head 'light' is NaN or infinite after epoch 3, and nothing"):
        check_loss({"colour_loss": 1.0, "light_loss": np.inf, "loss": np.inf}, 2)
    with pytest.raises(ValueError, match="^The loss is NaN or infinite after epoch 1"):
        check_loss({"loss": np.nan, "val_loss": np.nan}, 0)


def test_batches_are_counted():
    data = (X, GOOD)
    assert count_batches(data) == 1 and count_batches((np.zeros((33, 2)),)) == 2
    assert count_batches(tf.data.Dataset.from_tensor_slices(data).batch(3)) == 2


def test_class_numbers_are_told_from_one_hot_rows(model, small_backbone):
    with pytest.raises(ValueError, match=r"head 'colour' have the shape \(4, 3\), but the head takes a class number a row. Of one-hot"):
        check_data(model, (X, {**GOOD, "colour": np.eye(4, 3)}), "train")
    own = kt.heads.Classifier(3, loss=keras.losses.CategoricalCrossentropy(from_logits=True), metrics=[])
    check_data(kt.attach(small_backbone(), own), (X, np.eye(4, 3)), "train")
    check_data(model, (X, {**GOOD, "colour": GOOD["colour"][:, None]}), "train")


def test_heads_that_need_labels_and_data_without_any(model):
    none = {"colour": np.full(4, -1), "light": np.full(4, np.nan), "tags": np.full((4, 2), np.nan)}
    check_data(model, (X, {**GOOD, "light": none["light"]}), "validation")
    for labelled in (True, {"light"}):
        with pytest.raises(ValueError, match="All labels of `validation` for head 'light' are missing. Give it some, or leave that"):
            check_data(model, (X, {**GOOD, "light": none["light"]}), "validation", labelled)
    with pytest.raises(ValueError, match="All labels of `validation` are missing, so there is nothing to measure."):
        check_data(model, (X, none), "validation")


def test_a_validation_loss_that_is_nan_is_told_at_the_first_epoch():
    check_loss({"loss": 1.0, "val_loss": 2.0, "val_colour_loss": 1.0}, 0)
    with pytest.raises(ValueError, match="The validation loss of head 'colour' is NaN or infinite after epoch 1, so that no epoch is"):
        check_loss({"loss": 1.0, "val_loss": np.nan, "val_light_loss": 1.0, "val_colour_loss": np.nan}, 0)
    with pytest.raises(ValueError, match="The validation loss is NaN or infinite after epoch 3"):
        check_loss({"loss": 1.0, "val_loss": np.inf}, 2)


def test_none_at_the_end_of_a_dataset_is_no_sample_weight(model):
    data = tf.data.Dataset.from_tensor_slices((X, GOOD)).batch(2)
    check_data(model, data.map(lambda x, y: (x, y, None)), "train")
    with pytest.raises(ValueError, match="it has no labels"):
        check_data(model, data.map(lambda x, y: (x, None)), "train")


def test_a_distributed_data_set_is_refused_in_a_sentence(model):
    distributed = tf.distribute.OneDeviceStrategy("cpu").experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices((X, GOOD)).batch(2))

    class Distributed:  # those of several devices have properties where a `tf.data.Dataset` has methods
        element_spec, cardinality = (None, None), tf.constant(2)

    for data in (Distributed(), *([] if callable(getattr(distributed, "cardinality", None)) else [distributed])):
        with pytest.raises(TypeError, match="must be a tf.data.Dataset.*what distributes it is the strategy of the model"):
            check_data(model, data, "train")
