"""Weights worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.data import balance, info, photos, table
from keras_transfer.data.balancing import balanced


def weights(dataset):
    parts = [element[2] for element in dataset]
    if isinstance(parts[0], dict):
        return {head: np.concatenate([part[head] for part in parts]) for head in parts[0]}
    return np.concatenate(parts)


def foreign(y, w=None, batch=2):
    x = np.zeros((len(y if not isinstance(y, dict) else next(iter(y.values()))), 1), "float32")
    return tf.data.Dataset.from_tensor_slices((x, y) if w is None else (x, y, w)).batch(batch)


LABELS = np.array([0, 0, 0, 1, -1], "int32")


def test_the_formula_by_hand():
    # 4 labelled, 2 classes seen: 4 / (2 * 3) and 4 / (2 * 1); class 1 of the second row of labels is never seen
    np.testing.assert_allclose(balanced(LABELS), [2 / 3, 2])
    np.testing.assert_allclose(balanced([0, 2, 2, 2]), [2, 1, 2 / 3], rtol=1e-6)
    assert balanced(np.zeros(0, int)).size == 0 and balanced([-1, -1]).size == 0


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_foreign_sets_are_counted_and_missing_labels_get_one(shape):
    result = weights(balance(foreign(LABELS.reshape(shape))))
    assert result.dtype == "float32"
    np.testing.assert_allclose(result, [2 / 3, 2 / 3, 2 / 3, 2, 1], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64"])
def test_class_numbers_of_any_dtype(dtype):
    result = weights(balance(foreign(np.array([0, 0, 0, 1], dtype))))
    np.testing.assert_allclose(result, [2 / 3, 2 / 3, 2 / 3, 2], rtol=1e-6)


def test_every_class_weighs_the_same_and_the_mean_is_one():
    labels = np.random.default_rng(0).choice(4, 200, p=[0.6, 0.2, 0.15, 0.05])
    result = weights(balance(foreign(labels, batch=64)))
    np.testing.assert_allclose([result[labels == k].sum() for k in range(4)], 50, rtol=1e-5)


def test_our_sets_are_weighed_by_what_they_know(pets):
    train, _, _ = photos(pets, size=4, validation=0)
    result = balance(train)
    assert info(train).epoch.numpy() == 0, "the set wasn't read"
    seen = {(int(label), round(float(w), 4)) for _, y, ws in result for label, w in zip(y, ws)}
    assert seen == {(0, 0.75), (1, 1.5)}  # 30 / (2 * 20) and 30 / (2 * 10)
    assert result.cardinality() == train.cardinality()


def test_info_is_carried_over_with_another_fingerprint(pets):
    train, _, _ = photos(pets, size=4)
    first, known = info(balance(train)), info(train)
    assert first.epoch is known.epoch and first.files == known.files
    others = {known.fingerprint, first.fingerprint, info(balance(train, {0: 2.0})).fingerprint}
    assert len(others) == 3 and info(balance(train)).fingerprint == first.fingerprint
    assert info(balance(foreign(LABELS))) is None


HEADS = {"kind": LABELS, "age": np.arange(5, dtype="float32"), "tags": np.ones((5, 3), "float32")}


def test_heads_that_have_no_classes_or_arent_named_get_ones():
    result = weights(balance(foreign(HEADS)))
    assert set(result) == set(HEADS)
    np.testing.assert_allclose(result["kind"], [2 / 3, 2 / 3, 2 / 3, 2, 1], rtol=1e-6)
    np.testing.assert_array_equal(result["age"], np.ones(5))
    np.testing.assert_array_equal(result["tags"], np.ones(5))
    result = weights(balance(foreign({**HEADS, "other": LABELS}), {"other": {1: 3}, "age": "balanced"}))
    np.testing.assert_array_equal(result["kind"], np.ones(5))
    np.testing.assert_array_equal(result["other"], [1, 1, 1, 3, 1])


def test_given_weights_by_name_and_by_number(rows, pets):
    targets = {"kind": "class", "age": "number"}
    train, _, _ = table(rows, targets=targets, folder=pets, size=4, validation=0, batch_size=30)
    for rule in {"dog": 5, "cat": 0.5}, {1: 5, 0: 0.5}:
        _, y, w = next(iter(balance(train, {"kind": rule})))
        np.testing.assert_array_equal(w["kind"], np.select([y["kind"] == 1, y["kind"] == 0], [5, 0.5], 1))
        np.testing.assert_array_equal(w["age"], np.ones(30))
    train, _, _ = table(rows, targets={"kind": "class"}, folder=pets, size=4, validation=0)
    assert set(weights(balance(train, {"dog": 2}))) == {1, 2}


def test_weights_there_already_are_multiplied():
    np.testing.assert_allclose(
        weights(balance(foreign(LABELS, np.arange(5, dtype="float32")))), [0, 2 / 3, 4 / 3, 6, 4], rtol=1e-6
    )
    heads = {"kind": LABELS, "age": HEADS["age"]}
    half = np.full(5, 0.5, "float32")
    np.testing.assert_allclose(weights(balance(foreign(heads, half)))["age"], half)
    result = weights(balance(foreign(heads, {"kind": half, "age": 2 * half})))
    np.testing.assert_allclose(result["kind"], [1 / 3, 1 / 3, 1 / 3, 1, 0.5], rtol=1e-6)
    np.testing.assert_allclose(result["age"], 2 * half)


def test_fit_with_several_heads_uses_them():
    # the second derivation: Keras's own class_weight, which one output allows
    x, y = np.random.default_rng(0).normal(size=(40, 3)).astype("float32"), np.repeat([0, 1], [30, 10])

    def model():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3,))
        model = keras.Model(inputs, {"kind": keras.layers.Dense(2, name="kind")(inputs)})
        model.compile("sgd", {"kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
        return model

    dataset, ours, plain = tf.data.Dataset.from_tensor_slices((x, {"kind": y})).batch(40), model(), model()
    ours.fit(balance(dataset), verbose=0)
    single = keras.Model(plain.inputs, plain.outputs[0])
    single.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    single.fit(x, y, batch_size=40, class_weight={0: 2 / 3, 1: 2.0}, verbose=0)
    np.testing.assert_allclose(ours.get_weights()[0], single.get_weights()[0], atol=1e-6)
    assert not np.allclose(ours.get_weights()[0], model().get_weights()[0], atol=1e-4)


@pytest.mark.parametrize(
    "y, rule, words",
    [
        (HEADS, {"knd": "balanced"}, "Unknown head of `weights` 'knd'. Did you mean 'kind'?"),
        (
            HEADS,
            {"tags": "balanced"},
            "The head 'tags' has several labels a sample, and so no one class to weigh it by",
        ),
        (
            HEADS,
            {"kind": "even"},
            "The weights of head 'kind' must be \"balanced\" or a dict .class: weight.. Received: 'even'",
        ),
        (HEADS, {"kind": {"dog": 1}}, "The head 'kind' has no class 'dog'. This dataset knows class numbers only"),
        (HEADS, {"kind": {-1: 1}}, "has no class -1"),
        (LABELS, {0: -1}, "weight of class 0 must be a number of at least 0"),
        (LABELS, {0: np.nan}, "must be a number of at least 0. Received: nan"),
        (LABELS, {True: 1}, "The target has no class T"),
        (LABELS, "even", "`weights` must be \"balanced\" or a dict. Received: 'even'"),
        (HEADS["age"], "balanced", "There are no classes to balance: class labels are whole numbers, one a sample"),
        (HEADS["tags"], "balanced", "The target has several labels a sample"),
    ],
)
def test_bad_weights(y, rule, words):
    with pytest.raises(ValueError, match=words):
        balance(foreign(y), rule)


def test_unknown_class_names_get_the_nearest(pets):
    train, _, _ = photos(pets, size=4)
    with pytest.raises(ValueError, match="The target has no class 'dgo'. Did you mean 'dog'?"):
        balance(train, {"dgo": 2})
    with pytest.raises(ValueError, match="The target has no class 2. There is: cat, dog"):
        balance(train, {2: 2})


def test_sets_that_cant_be_counted():
    with pytest.raises(ValueError, match="A dataset without an end can't be counted; give the weights"):
        balance(foreign(LABELS).repeat())
    with pytest.raises(ValueError, match="`dataset` must yield .x, y. or .x, y, sample_weight."):
        balance(tf.data.Dataset.range(3))


def test_arrays_are_told_how_to_become_a_dataset():
    with pytest.raises(TypeError, match=r"from_tensor_slices\(\(x, y\)\).batch\(32\). Received: tuple"):
        balance((np.zeros((4, 2)), np.zeros(4, int)))
