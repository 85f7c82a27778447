"""tail(prefix(x)) == model(x), weights shared, everything that trains in the tail."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.network import Network
from keras_transfer.store import split
from support import colour_task, pixels, values


@pytest.fixture
def model(small_backbone):
    return kt.attach(small_backbone(), {"colour": kt.heads.Classifier(3, dropout=0.5), "light": kt.heads.Regressor()})


@pytest.mark.parametrize(
    "last, boundary", [(0, [(None, 12)]), ("block_3", [(None, 4, 4, 8)]), ("block_2", [(None, 8, 8, 6)])]
)
def test_the_cut_is_exact_and_where_training_begins(model, last, boundary):
    kt.unfreeze(model, last)
    prefix, tail = split(model)
    assert [t.shape for t in prefix.outputs] == boundary
    assert prefix.trainable_weights == []
    assert {id(w) for w in tail.trainable_weights} == {id(w) for w in model.trainable_weights}
    x = pixels(5)
    expected, got = model(x, training=False), tail(prefix(x, training=False), training=False)
    assert all(np.array_equal(expected[k], got[k]) for k in expected)
    assert not np.array_equal(expected["colour"], tail(prefix(x[::-1], training=False), training=False)["colour"])


def test_with_nothing_frozen_there_is_no_prefix(model):
    kt.unfreeze(model, norms=True)
    assert split(model) == (None, model)


def test_a_random_layer_at_the_input_that_draws_is_not_cut_away():
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.RandomFlip(name="flip")(x))
    backbone = keras.Model(inputs, keras.layers.Dense(4, trainable=False)(x))
    model = kt.attach(backbone, kt.heads.Classifier(2))
    assert split(model)[0] is None
    kt.freeze(model)
    assert split(model)[0].output.shape == (None, 4)


def test_residual_connections_cross_as_two_tensors():
    inputs = keras.Input((8,))
    first = keras.layers.Dense(6, activation="relu", name="block_1_dense")(inputs)
    second = keras.layers.Dense(6, name="block_2_dense")(first)
    backbone = keras.Model(inputs, keras.layers.Dense(3, name="block_3_dense")(keras.layers.Add()([first, second])))
    model = kt.attach(backbone, kt.heads.Classifier(2))
    kt.unfreeze(model, "block_3")
    assert [t.shape for t in split(model)[0].outputs] == [(None, 6)]
    backbone.get_layer("block_2_dense").trainable = True
    prefix, tail = split(model)
    x = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    assert np.array_equal(tail(prefix(x)), model(x))


@pytest.mark.parametrize(
    "name, last",
    [
        ("MobileNetV2", "block_16"),
        ("EfficientNetB0", "block7a"),
        ("ResNet50", "conv5_block3"),
        ("DenseNet121", "conv5_block16"),
        ("ConvNeXtTiny", 8),
        ("VGG16", "block5_conv2"),
    ],
)
def test_real_networks(name, last):
    model = kt.attach(kt.backbone(name, input_shape=(32, 32, 3), weights=None), kt.heads.Classifier(3))
    x = pixels(4, size=32)
    backbone = model.get_layer("backbone")
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    kt.unfreeze(model, norms=True)
    model(x, training=True)  # norms that fit the photos, so that features are of ordinary size
    kt.unfreeze(model, last)
    prefix, tail = split(model)
    expected = np.asarray(model(x, training=False))
    assert len(prefix.outputs) <= 2 and np.array_equal(tail(prefix(x, training=False), training=False), expected)
    assert np.abs(expected - expected[::-1]).max() > 1e-4
    assert 0 < len(tail.layers) < len(backbone.layers) / 2


def test_the_cut_falls_inside_a_nested_model_of_keras_that_was_called_in_inference_mode():
    """The usual form of Keras's guides; `fit` overrides that `training=False`, so the flags alone decide."""
    def build():
        keras.utils.set_random_seed(0)
        inputs = x = keras.Input((8,))
        for k in range(4):
            x = keras.layers.Dense(6, activation="tanh", name=f"dense_{k}")(x)
            x = keras.layers.BatchNormalization(name=f"norm_{k}", momentum=0.5)(x)
        base = keras.Model(inputs, x, name="base")
        for layer in base.layers[:-4]:
            layer.trainable = False
        outer = keras.Input((8,))
        return keras.Model(outer, keras.layers.Dense(1, name="out")(base(outer, training=False)))

    x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    y, (model, other) = x[:, :1] ** 2, (build() for _ in range(2))
    prefix, tail = split(model)
    assert {w.path.split("/")[0] for w in tail.trainable_weights} == {"dense_2", "norm_2", "dense_3", "norm_3", "out"}
    assert {w.path.split("/")[0] for w in prefix.weights} == {"dense_0", "norm_0", "dense_1", "norm_1"}
    for learner, given in ((tail, prefix.predict(x, verbose=0)), (other, x)):
        learner.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        learner.fit(given, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for one, another in zip(model.weights, other.weights, strict=True):
        np.testing.assert_allclose(one, another, rtol=1e-4, atol=1e-5, err_msg=one.path)
    assert np.abs(other.get_layer("base").get_layer("norm_3").moving_mean).max() > 0.01, "it ran in training mode"


def test_training_the_tail_trains_the_model(model):
    kt.unfreeze(model, "block_3")
    prefix, tail = split(model)
    x, y = colour_task(16)
    labels = {"colour": y, "light": x.mean((1, 2, 3))}
    before = values(model)
    tail.compile(optimizer="sgd", **kt.objectives(tail))
    tail.fit(prefix.predict(x, verbose=0), labels, verbose=0)
    moved = [w.path for w, b in zip(model.weights, before) if not np.array_equal(w.numpy(), b)]
    assert moved and all(p.split("/")[0] in ("block_3_conv", "colour", "light") for p in moved)
    got = tail(prefix(x, training=False), training=False)
    assert np.array_equal(got["colour"], model(x, training=False)["colour"])


# --- an earlier cut, where it takes less space


def widening(factor=4, trainable_width=4):
    """16 numbers, then a frozen layer that makes `factor` times as many of them and an activation; then what trains."""
    inputs = keras.Input((64,))
    x = keras.layers.Dense(256, activation="relu", trainable=False)(inputs)  # nearly all of the work
    x = keras.layers.Dense(16, trainable=False, name="narrow")(x)
    x = keras.layers.Rescaling(2.0)(x)
    x = keras.layers.RepeatVector(factor)(x)
    x = keras.layers.ReLU(name="wide")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(trainable_width, name="top")(x))


def test_the_cut_is_earlier_where_that_is_smaller_and_little_work():
    model = widening()
    prefix, tail = split(model)
    assert [t.shape for t in prefix.outputs] == [(None, 16)]
    assert [layer.name for layer in tail.layers if layer.weights] == ["top"]
    x = np.random.default_rng(0).normal(size=(5, 64)).astype("float32")
    assert np.array_equal(tail(prefix(x)), model(x))
    assert not np.array_equal(tail(prefix(x[::-1])), model(x))


def test_it_is_not_where_it_saves_too_little_or_costs_too_much(monkeypatch):
    assert [t.shape for t in split(widening(factor=1))[0].outputs] == [(None, 16)]  # the same size: the longest prefix
    model = widening()
    monkeypatch.setattr("keras_transfer.store.splitting._COST", 0.0)
    assert [t.shape for t in split(model)[0].outputs] == [(None, 64)]
    monkeypatch.setattr("keras_transfer.store.splitting._COST", 1.0)  # all the work may be left to the tail
    monkeypatch.setattr("keras_transfer.store.splitting._SAVING", 0.2)
    assert [t.shape for t in split(model)[0].outputs] == [(None, 64)]


def test_no_layer_that_differs_in_training_comes_into_the_tail():
    inputs = keras.Input((64,))
    x = keras.layers.Dense(256, activation="relu", trainable=False)(inputs)
    x = keras.layers.Dense(8, trainable=False)(x)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.Flatten()(keras.layers.RepeatVector(8)(x))
    prefix, tail = split(Network(inputs, keras.layers.Dense(3)(x)))
    assert any(isinstance(layer, keras.layers.Dropout) for layer in prefix.layers)
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in tail.layers)


def test_a_block_that_first_widens_its_input_is_cut_before_that(calibrated):
    """MobileNetV2's blocks make six times as many channels; the narrow input of one is what crosses."""
    model = calibrated("MobileNetV2")
    kt.unfreeze(model, "block_16_depthwise")
    prefix, tail = split(model)
    longest = 960
    assert sum(t.shape[-1] for t in prefix.outputs) < longest / 2
    x = pixels(4, size=32)
    expected = np.asarray(model(x, training=False))
    np.testing.assert_allclose(tail(prefix(x, training=False), training=False), expected, rtol=1e-5, atol=1e-6)


def test_a_layer_that_adds_to_the_loss_stays_in_the_tail():
    x = inputs = keras.Input((6,))
    for number, penalty in ((1, None), (2, keras.regularizers.L2(1.0))):
        x = keras.layers.Dense(4, activity_regularizer=penalty, name=f"block_{number}_dense")(x)
    model = kt.attach(keras.Model(inputs, x), kt.heads.Classifier(2))
    kt.freeze(model)
    prefix, tail = split(model)
    assert [layer.name for layer in prefix.layers][1:] == ["block_1_dense"]
    data = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    tail(prefix(data))
    added = float(sum(tail.losses))
    model(data)
    assert added == pytest.approx(float(sum(model.losses))) and added > 0


class Penalty(keras.layers.Layer):
    """Adds to the loss, as given, in each call or in training only."""

    def __init__(self, in_training=False, **options):
        super().__init__(**options)
        self.in_training, self.scale = in_training, self.add_weight(shape=(), initializer="ones")

    def call(self, x, training=None):
        if training or not self.in_training:
            self.add_loss(keras.ops.mean(x**2))
        return x * self.scale


class Shaped(Penalty):
    """Keras doesn't call it to know the shape of its outputs."""

    def compute_output_shape(self, shape):
        return shape


class Around(keras.layers.Layer):
    """A layer that holds another one, and takes no argument `training`."""

    def __init__(self, layer, **options):
        super().__init__(**options)
        self.layer = layer

    def call(self, x):
        return self.layer(x)


class Noise(keras.layers.Layer):
    """Draws in every call."""

    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seed)


def above_frozen(make, kind=Network):
    """A frozen layer, the one that `make` makes, another frozen one, and what trains."""
    keras.utils.set_random_seed(0)
    inputs, layer = keras.Input((6,)), make()
    layer.trainable = False
    x = layer(keras.layers.Dense(4, trainable=False, name="below")(inputs))
    x = keras.layers.Dense(4, trainable=False, name="above")(x)
    return kind(inputs, keras.layers.Dense(1, name="out")(x))


@pytest.mark.parametrize(
    "make, kind, fixed",
    [
        (Penalty, Network, False),
        (Shaped, Network, False),
        (lambda: Around(Penalty()), Network, False),
        (lambda: Around(keras.layers.Dense(4, activity_regularizer="l2")), Network, False),
        (lambda: keras.Sequential([keras.Input((4,)), Penalty()]), Network, False),
        (lambda: Penalty(in_training=True), keras.Model, False),
        (Noise, Network, False),
        (lambda: Around(Noise()), Network, False),
        (lambda: keras.Sequential([keras.Input((4,)), Noise()]), Network, False),
        (lambda: Around(keras.layers.Dropout(0.5, seed=1)), keras.Model, False),
        (lambda: Around(keras.layers.Dropout(0.5, seed=1)), Network, True),
        (lambda: keras.layers.Dropout(0.5), Network, True),
        (lambda: Around(keras.layers.Dense(4)), Network, True),
    ],
)
def test_a_frozen_layer_that_adds_to_the_loss_or_draws_in_each_call_stays_in_the_tail(make, kind, fixed):
    x, y = normal(32, 6), normal(32, 1, seed=1)
    model, other = (above_frozen(make, kind) for _ in range(2))
    before = [set(vars(each)) for each in model.layers]
    prefix, tail = split(model)
    assert ("above" in [each.name for each in prefix.layers]) == fixed
    assert [set(vars(each)) for each in model.layers] == before
    losses = []
    for learner, given in ((tail, prefix.predict(x, verbose=0)), (other, x)):
        learner.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        losses.append(learner.fit(given, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


# --- graphs that Keras makes no model of as they are


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def check_exact(model, *x):
    """Compares the two parts, one after the other, with `model`, for which rows have to make a difference."""
    prefix, tail = split(model)
    x = x[0] if len(x) == 1 else list(x)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(tail.predict(prefix.predict(x, verbose=0), verbose=0), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected - expected[::-1]).max() > 1e-4
    assert {id(w) for w in tail.trainable_weights} == {id(w) for w in model.trainable_weights}
    return prefix, tail


@pytest.mark.parametrize("trains", [None, "features", "dense"])
def test_layers_in_and_around_a_nested_model_may_have_one_name(trains):
    x = inputs = keras.Input((8,))
    for name in ("dense", "features", "top"):
        x = keras.layers.Dense(6, activation="tanh", name=name)(x)
    backbone = keras.Model(inputs, x)
    model = kt.attach(backbone, {"top": kt.heads.Classifier(2)})
    kt.freeze(model) if trains is None else kt.unfreeze(model, trains)
    names = [layer.name for layer in [*backbone.layers, *model.layers]]
    prefix, tail = split(model)
    assert [layer.name for layer in [*backbone.layers, *model.layers]] == names and tail.output_names == ["top"]
    if trains == "dense":
        assert prefix is None
        return
    x, y = normal(16, 8), {"top": np.arange(16) % 2}
    assert np.array_equal(tail(prefix(x))["top"], model(x)["top"])
    before = values(model)
    tail.compile(optimizer="sgd", **kt.objectives(tail))
    assert "accuracy" in tail.fit(prefix.predict(x, verbose=0), y, verbose=0).history
    moved = [w.path.split("/")[0] for w, b in zip(model.weights, before) if not np.array_equal(w, b)]
    assert moved == (2 * ["top"] if trains is None else 2 * ["features"] + 4 * ["top"])


@pytest.mark.parametrize("trains", [False, True])
def test_two_towers_of_a_kind_have_the_same_names(trains):
    def tower(name):
        x = inputs = keras.Input((8,))
        for layer in ("block_1_dense", "block_2_dense"):
            x = keras.layers.Dense(4, activation="tanh", name=layer)(x)
        return keras.Model(inputs, x, name=name)

    towers, inputs = [tower("left"), tower("right")], [keras.Input((8,)), keras.Input((8,))]
    x = keras.layers.Concatenate()([one(x) for one, x in zip(towers, inputs)])
    model = kt.attach(keras.Model(inputs, x), kt.heads.Classifier(2))
    kt.freeze(model)
    for one in towers:
        one.get_layer("block_2_dense").trainable = trains
    prefix, _ = check_exact(model, normal(5, 8), normal(5, 8, seed=1))
    assert [t.shape for t in prefix.outputs] == ([(None, 4)] * 2 if trains else [(None, 8)])


def test_a_layer_without_weights_may_be_used_on_both_sides_of_the_cut():
    relu, inputs = keras.layers.ReLU(), keras.Input((8,))
    x = relu(keras.layers.Dense(6, name="block_1_dense")(inputs))
    x = relu(keras.layers.Dense(6, name="block_2_dense")(x))
    model = kt.attach(keras.Model(inputs, x), kt.heads.Classifier(2))
    kt.unfreeze(model, "block_2")
    prefix, tail = check_exact(model, normal(5, 8))
    assert relu in prefix.layers and relu in tail.layers


def test_a_layer_with_weights_may_be_used_on_both_sides_of_the_cut():
    shared, inputs = keras.layers.Dense(8, activation="tanh", name="shared"), keras.Input((8,))
    shared.trainable = False
    x = shared(keras.layers.Dense(8, name="open")(shared(shared(inputs))))
    prefix, tail = check_exact(kt.attach(keras.Model(inputs, x), kt.heads.Classifier(2)), normal(5, 8))
    assert shared in prefix.layers and shared in tail.layers


def test_a_dict_goes_to_the_inputs_of_a_nested_model_by_their_names():
    b, a = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    inner = keras.Model([b, a], keras.layers.Subtract()([b, keras.layers.Dense(3)(a)]))
    p, q = keras.Input((3,), name="p"), keras.Input((3,), name="q")
    model = kt.attach(keras.Model([p, q], inner({"b": p, "a": q})), kt.heads.Classifier(2))
    kt.freeze(model)
    check_exact(model, normal(5, 3), normal(5, 3, seed=1))


# --- masks, which layers that aren't given them read off the tensor itself


def reading(make, then=keras.layers.GlobalAveragePooling1D):
    """A model of token numbers, padded with 0, whose second layer trains and is called by `make` on the masked first."""
    inputs = keras.Input((10,), dtype="int32")
    table = keras.layers.Embedding(20, 8, keras.initializers.RandomNormal(stddev=1.0), mask_zero=True, name="block_1_table")
    model = kt.attach(keras.Model(inputs, then()(make(table(inputs)))), kt.heads.Classifier(2))
    kt.unfreeze(model, "block_2")
    return model


def test_no_tensor_crosses_whose_mask_would_be_lost():
    attention = keras.layers.MultiHeadAttention(2, 4, name="block_2_attention")
    model = reading(lambda x: attention(x, x))
    assert split(model) == (None, model)
    kt.freeze(model)  # then all that reads the mask is in the prefix
    assert [t.shape for t in split(model)[0].outputs] == [(None, 8)]


def test_an_output_whose_mask_weighs_the_loss_is_not_cut_off():
    inputs = keras.Input((10,), dtype="int32")
    x = keras.layers.Embedding(20, 8, mask_zero=True, trainable=False)(inputs)
    trained = keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Embedding(20, 3)(inputs)))
    model = keras.Model(inputs, [x, trained])
    assert split(model) == (None, model)


def test_a_mask_that_the_next_layer_is_given_crosses_as_a_tensor():
    recurrent = keras.layers.LSTM(6, return_sequences=True, name="block_2_recurrent")
    model = reading(recurrent)
    padded = np.random.default_rng(0).integers(1, 20, (16, 10)) * (np.arange(10) <= np.arange(16)[:, None] % 9)
    prefix, _ = check_exact(model, padded)
    assert sorted(t.dtype for t in prefix.outputs) == ["bool", "float32"]


# --- plain Keras models, of which `fit` runs frozen parts in training mode


def plain(training=None, inner=0.0, kind=keras.Model):
    """The form of Keras's guides: a frozen base, dropout and a layer that trains."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = keras.layers.Dense(6, activation="tanh", name="first")(inputs)
    x = keras.layers.Dropout(inner, seed=1, name="inner")(x) if inner else x
    base = kind(inputs, keras.layers.Dense(6, name="second")(x), name="base")
    base.trainable = False
    outer = keras.Input((8,))
    x = keras.layers.Dropout(0.5, seed=2, name="outer")(base(outer, training=training))
    return keras.Model(outer, keras.layers.Dense(1, name="out")(keras.layers.Dropout(0.5, seed=3, name="again")(x)))


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, ["first", "second"]),
        ({"training": False}, ["first", "second"]),
        ({"inner": 0.5}, ["first"]),
        ({"inner": 0.5, "kind": Network}, ["first", "inner", "second"]),
    ],
)
def test_dropout_of_a_plain_keras_model_draws_in_the_tail_as_in_fit(options, expected):
    x, y = normal(32, 8), normal(32, 1, seed=1)
    model, other = plain(**options), plain(**options)
    prefix, tail = split(model)
    assert [layer.name for layer in prefix.layers][1:] == expected
    losses = []
    for learner, given in ((tail, prefix.predict(x, verbose=0)), (other, x)):
        learner.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        losses.append(learner.fit(given, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), other.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


def test_dropout_in_a_part_that_was_called_in_inference_mode_rests():
    prefix, tail = split(plain(training=False, inner=0.5))
    assert [layer.name for layer in prefix.layers][1:] == ["first", "inner", "second"]
    assert [layer.name for layer in tail.layers][1:] == ["outer", "again", "out"]


@pytest.mark.parametrize(
    "layer, fixed",
    [
        (lambda: keras.layers.LSTM(3), True),
        (lambda: keras.layers.GRU(3, recurrent_dropout=0.5), False),
        (lambda: keras.layers.BatchNormalization(), True),
        (lambda: keras.layers.GaussianNoise(0.1), False),
    ],
    ids=["LSTM", "GRU with dropout", "BatchNormalization", "GaussianNoise"],
)
def test_what_of_a_plain_keras_model_is_the_same_in_training(layer, fixed):
    inputs, layer = keras.Input((4, 8)), layer()
    x = layer(keras.layers.Dense(8, trainable=False)(inputs))
    layer.trainable = False
    prefix, _ = split(keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x))))
    assert (layer in prefix.layers) == fixed


def test_a_tail_is_not_taken_for_a_backbone(model):
    kt.unfreeze(model, "block_3")
    _, tail = split(model)
    for refused in (lambda: kt.layerwise("adam", tail), lambda: kt.freeze(tail), lambda: kt.unfreeze(tail)):
        with pytest.raises(ValueError, match="rest of a model that was cut.*Give the model that was cut"):
            refused()
    tail.compile(optimizer=kt.layerwise("sgd", model, decay=0.5), **kt.objectives(tail))
    kernel = model.get_layer("colour").trainable_weights[0]
    before = kernel.numpy()
    tail.train_on_batch(np.ones((4, 4, 4, 8), "float32"), {"colour": np.arange(4) % 3, "light": np.ones(4)})
    assert not np.array_equal(kernel, before)


def video(trains):
    """Clips of 4 frames: the frames are rows of their own for the network, and then features of their clip."""
    inputs = keras.Input((4, 8, 8, 3))
    x = keras.ops.reshape(inputs, (-1, 8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3, name="block_1_conv")(x))
    x = keras.layers.Dense(5, name="block_2_dense")(x)
    x = keras.ops.reshape(x, (-1, 4, 5))
    model = kt.attach(keras.Model(inputs, keras.layers.LSTM(3, name="block_3_lstm")(x)), kt.heads.Classifier(2))
    kt.unfreeze(model, trains)
    return model


def test_frames_that_are_rows_of_their_own_do_not_cross():
    """One reshape earlier there would be a quarter of the numbers a row, and four times the rows."""
    prefix, tail = split(video("block_3"))
    assert prefix.output.shape == (None, 4, 5)
    model, x = video("block_3"), np.random.default_rng(0).normal(size=(12, 4, 8, 8, 3)).astype("float32")
    features, tail = kt.cache_features(model, (x, np.arange(12) % 2), store=kt.Store(engine="tensorflow"), verbose=0)
    got = np.concatenate([tail(f, training=False) for f, _ in features.as_numpy_iterator()])
    np.testing.assert_allclose(got, model(x, training=False), rtol=1e-4, atol=1e-5)


def test_where_nothing_but_frames_could_cross_there_is_no_prefix():
    model = video("block_2")
    assert split(model) == (None, model)


def test_an_earlier_cut_is_taken_where_rows_are_whole():
    """As in networks that cut maps into windows: what trains begins within one."""
    inputs = keras.Input((8, 6))
    x = keras.layers.Dense(6, name="block_1_dense")(inputs)
    windows = keras.ops.reshape(x, (-1, 2, 6))
    windows = keras.layers.Dense(4, name="block_2_dense")(keras.layers.Dense(6, name="block_2_first")(windows))
    x = keras.layers.GlobalAveragePooling1D()(keras.ops.reshape(windows, (-1, 8, 4)))
    model = kt.attach(keras.Model(inputs, x), kt.heads.Classifier(2))
    kt.freeze(model)
    model.get_layer("backbone").get_layer("block_2_dense").trainable = True
    prefix, tail = split(model)
    assert prefix.output.shape == (None, 8, 6)
    x = np.random.default_rng(0).normal(size=(5, 8, 6)).astype("float32")
    np.testing.assert_allclose(tail(prefix(x)), model(x), rtol=1e-5, atol=1e-6)


def test_what_normalizes_its_kernel_in_every_step_is_not_cached_in_a_plain_model():
    inputs = keras.Input((6,))
    first = keras.layers.Dense(5)(inputs)
    x = keras.layers.SpectralNormalization(keras.layers.Dense(4))(first)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    for layer in model.layers[:-1]:
        layer.trainable = False
    prefix, _ = split(model)
    assert prefix.output.shape == (None, 5)


def test_a_state_that_goes_from_batch_to_batch_is_not_cached():
    inputs = keras.Input((4, 3), batch_size=2)
    first = keras.layers.Dense(5)(inputs)
    model = kt.attach(keras.Model(inputs, keras.layers.LSTM(4, stateful=True)(first)), kt.heads.Classifier(2))
    kt.freeze(model)
    assert split(model)[0].output.shape == (2, 4, 5)


def test_augmentation_within_a_layer_that_takes_no_training_is_at_rest_in_features_and_below_no_prefix_where_it_draws():
    class Augment(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.flip = keras.layers.RandomFlip("horizontal", seed=1)

        def call(self, x):
            return self.flip(x)

    x = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
    inputs = keras.Input((8, 8, 3))
    augmented = Augment()(inputs)
    backbone = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(augmented)))
    for engine in ("tensorflow", "openvino"):
        features, = kt.features(backbone, (x,), store=kt.Store(engine=engine))
        assert np.allclose(features, backbone.predict(x, verbose=0), atol=1e-4)
    model = kt.attach(backbone, kt.heads.Classifier(2))
    kt.freeze(model)  # its flag is off
    prefix, tail = split(model)
    assert np.allclose(tail(prefix(x, training=False)), model(x), atol=1e-5) and np.array_equal(model(x, training=True), model(x))
    model.get_layer("backbone").layers[1].trainable = True
    assert split(model)[0] is None and not np.allclose(model(x, training=True), model(x))
