"""Missing labels: by hand, against the unmasked Keras loss, and against training on the labelled rows."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.masking import MaskedMetric, split_missing

NAN = float("nan")
LOSSES = [
    (keras.losses.SparseCategoricalCrossentropy(from_logits=True), lambda r: r.integers(0, 3, 6)),
    (keras.losses.CategoricalCrossentropy(from_logits=True), lambda r: np.eye(3, dtype="f4")[r.integers(0, 3, 6)]),
    (keras.losses.BinaryCrossentropy(from_logits=True), lambda r: r.integers(0, 2, (6, 3)).astype("f4")),
    (keras.losses.MeanSquaredError(), lambda r: r.normal(size=(6, 3)).astype("f4")),
    (keras.losses.Huber(), lambda r: r.normal(size=(6, 3)).astype("f4")),
]


def test_by_hand():
    loss = kt.Masked(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert float(loss(np.array([2, -1]), np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]))) == pytest.approx(
        np.log(3), rel=1e-6
    )
    loss = kt.Masked(keras.losses.MeanSquaredError())
    assert float(loss(np.array([[1.0, NAN], [NAN, 5.0]]), np.array([[4.0, 0.0], [0.0, 4.0]]))) == pytest.approx(
        (9 + 1) / 2
    )
    assert float(loss(np.array([NAN, 2.0]), np.array([[7.0], [0.0]]), np.array([9.0, 3.0]))) == pytest.approx(3 * 4 / 1)


@pytest.mark.parametrize("loss, labels", LOSSES, ids=lambda v: getattr(v, "name", ""))
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("weighted", [False, True])
def test_with_nothing_missing_it_equals_the_unmasked_loss(loss, labels, reduction, weighted):
    random = np.random.default_rng(1)
    y, p = labels(random), random.normal(size=(6, 3)).astype("f4")
    loss = type(loss).from_config({**loss.get_config(), "reduction": reduction})
    weights = random.uniform(0.1, 2, 6).astype("f4") if weighted else None
    expected = float(loss(y, p, weights))
    factor = 3 if reduction == "sum" and kt.Masked(loss)._elementwise else 1  # a sum of elements, not of row means
    assert float(kt.Masked(loss)(y, p, weights)) == pytest.approx(factor * expected, rel=1e-5)


@pytest.mark.parametrize("loss, labels", LOSSES, ids=lambda v: getattr(v, "name", ""))
def test_a_batch_with_gaps_equals_its_labelled_rows(loss, labels):
    random = np.random.default_rng(2)
    y, p, w = labels(random), random.normal(size=(6, 3)).astype("f4"), random.uniform(0.1, 2, 6).astype("f4")
    gaps = np.array([True, False, True, True, False, True])
    holed = y.copy()
    holed[~gaps] = -1 if y.dtype.kind == "i" else NAN
    assert float(kt.Masked(loss)(holed, p, w)) == pytest.approx(float(loss(y[gaps], p[gaps], w[gaps])), rel=1e-5)
    assert float(kt.Masked(loss)(y, p, w)) != pytest.approx(float(loss(y[gaps], p[gaps], w[gaps])), rel=1e-3)


def test_one_step_on_a_batch_with_gaps_equals_one_step_on_its_labelled_rows():
    random = np.random.default_rng(3)
    x, y = random.normal(size=(8, 5)).astype("f4"), random.integers(0, 3, 8)
    seen = np.arange(8) % 3 != 0

    def step(x, y):
        keras.utils.set_random_seed(4)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
        model.compile(optimizer=keras.optimizers.SGD(0.5), loss=kt.Masked(LOSSES[0][0]))
        model.train_on_batch(x, y)
        return model.get_weights()

    holed, rows, every = step(x, np.where(seen, y, -1)), step(x[seen], y[seen]), step(x, y)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(holed, rows))
    assert not np.allclose(every[0], rows[0], atol=1e-3)


def test_a_batch_without_labels_gives_zero_and_finite_gradients():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=kt.Masked(keras.losses.MeanSquaredError()))
    assert float(model.train_on_batch(np.ones((2, 2)), np.array([NAN, NAN]))) == 0.0
    assert np.array_equal(model.get_weights()[0], np.ones((2, 1)))


@pytest.mark.parametrize("labels", [np.array([1, 0, -1]), np.array([[1], [0], [-1]])])
def test_labels_of_shape_batch_and_batch_by_one_mean_the_same(labels):
    p = np.array([[0.0, 2.0], [1.0, 0.0], [5.0, 5.0]], "f4")
    expected = float(LOSSES[0][0](np.array([1, 0]), p[:2]))
    assert float(kt.Masked(LOSSES[0][0])(labels, p)) == pytest.approx(expected, rel=1e-6)
    number = kt.Masked(keras.losses.MeanAbsoluteError())
    assert float(number(np.where(labels < 0, NAN, labels), p[:, :1])) == pytest.approx((1 + 1) / 2)


def test_the_settings_of_the_loss_inside_are_kept():
    y, p = np.array([0.0, NAN]), np.array([[2.0], [0.0]])
    assert float(kt.Masked(keras.losses.Huber(delta=0.5))(y, p)) == pytest.approx(0.5 * (2 - 0.25))


def test_a_value_of_ones_own_for_missing():
    loss = kt.Masked(keras.losses.MeanSquaredError(), missing=-999.0)
    assert float(loss(np.array([-999.0, 1.0]), np.array([[0.0], [3.0]]))) == pytest.approx(4.0)
    y, seen = split_missing(np.array([7, -1, 2]), missing=7)
    assert np.array_equal(y, [0, -1, 2]) and np.array_equal(seen, [False, True, True])


@pytest.mark.parametrize("labels", [np.array([True, False]), np.array([255, 0], "uint8"), np.array([2**32 - 1, 0], "uint32")])
def test_truth_values_and_unsigned_numbers_have_none_missing(labels):
    y, seen = split_missing(labels)
    assert np.array_equal(y, labels) and np.all(seen)
    assert np.array_equal(split_missing(labels, missing=labels[0])[1], [False, True])


def test_only_nan_missing_leaves_integers_alone():
    y, seen = split_missing(np.array([-1, 3]), missing=NAN)
    assert np.array_equal(y, [-1, 3]) and np.all(seen)


def test_metrics_count_the_labels_seen():
    accuracy = MaskedMetric(keras.metrics.SparseCategoricalAccuracy(name="accuracy"))
    accuracy.update_state(np.array([0, 1, -1, -1]), np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [1.0, 2.0]]))
    assert accuracy.name == "accuracy" and float(accuracy.result()) == 0.5
    error = MaskedMetric(keras.metrics.MeanAbsoluteError(name="mae"), elementwise=True)
    error.update_state(np.array([[1.0, NAN], [NAN, NAN]]), np.array([[4.0, 9.0], [9.0, 9.0]]))
    assert float(error.result()) == 3.0
    error.update_state(np.array([[NAN, 2.0]]), np.array([[0.0, 3.0]]), np.array([3.0]))
    assert float(error.result()) == pytest.approx((3 + 3 * 1) / 4)
    error.reset_state()
    assert float(error.result()) == 0.0


def test_saved_and_loaded_they_are_the_same():
    loss = kt.Masked(keras.losses.BinaryFocalCrossentropy(gamma=3.0, from_logits=True), missing=-5.0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    y, p = np.array([0.0, -5.0, 2.0]), np.array([[1.0], [9.0], [9.0]])
    assert isinstance(again, kt.Masked) and float(again(y, p)) == float(loss(y, p)) != 0
    metric = MaskedMetric(keras.metrics.MeanAbsoluteError(name="mae"), missing=-5.0, elementwise=True)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    again.update_state(y, p)
    assert again.name == "mae" and float(again.result()) == 4.0


def test_what_is_refused():
    with pytest.raises(ValueError, match="`loss` must be a keras.losses.Loss.*Received: <function"):
        kt.Masked(lambda y, p: y)
    with pytest.raises(ValueError, match="must have the reduction .* Received: 'none'"):
        kt.Masked(keras.losses.MeanSquaredError(reduction="none"))
    with pytest.raises(ValueError, match=r"Labels of shape \(4,\) don't fit predictions of shape \(4, 3\)"):
        kt.Masked(keras.losses.MeanSquaredError())(np.zeros(4), np.zeros((4, 3)))
