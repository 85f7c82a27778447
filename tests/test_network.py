"""Frozen means inference; a forgotten compile raises; keys are checked."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from support import colour_task, pixels, run_python, values
from keras_transfer.network import Network, check_methods, own_method, own_state, told_apart, trainable_flags


@pytest.fixture
def network(small_backbone):
    inner = small_backbone()
    return Network(inner.input, inner.output, name="backbone")


def test_it_is_a_functional_model_with_nothing_added(network):
    public = {name for name in vars(Network) if not name.startswith("_")}
    assert public == {"call", "compile", "compile_from_config", "from_config", "get_config", "make_train_function"}
    plain = keras.Model(network.input, network.output)
    x = pixels(4)
    assert np.array_equal(network.predict(x, verbose=0), plain.predict(x, verbose=0))
    assert [layer.name for layer in network.layers] == [layer.name for layer in plain.layers]


def test_frozen_network_gives_the_same_under_training_and_a_live_one_does_not(network):
    x = pixels(8)
    network.trainable = False
    still = network(x, training=False)
    assert np.array_equal(network(x, training=True), still)
    network.trainable = True
    assert not np.allclose(network(x, training=True), still)


def test_dropout_follows_the_weights_below_it(network):
    """With the first two blocks frozen, the dropout of block 3 draws and those of blocks 1 and 2 don't."""
    kt.unfreeze(network, "block_3")
    seen = {}

    class Spy(keras.layers.Dropout):
        def call(self, inputs, training=False):
            seen[self.name] = training
            return inputs

    x = inputs = keras.Input((16, 16, 3))
    for layer in network.layers[1:]:
        x = (
            Spy(0.5, name=layer.name, trainable=layer.trainable)(x)
            if isinstance(layer, keras.layers.Dropout)
            else layer(x)
        )
    Network(inputs, x)(pixels(2), training=True)
    assert seen == {"block_1_dropout": False, "block_2_dropout": False, "block_3_dropout": True}


def test_augmentation_at_the_input_draws_unless_its_flag_is_off():
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.RandomFlip("horizontal", name="flip")(x)
    network = Network(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    photos = pixels(16, size=8)
    still = network(photos, training=False)
    assert not np.allclose(network(photos, training=True), still)
    network.get_layer("flip").trainable = False
    assert np.array_equal(network(photos, training=True), still)


def test_statistics_of_a_frozen_norm_stay_and_of_a_live_one_move_inside_nested_models(small_backbone):
    middle = keras.Sequential([keras.Input((16, 16, 3)), small_backbone("inner")])
    network = Network(middle.inputs[0], middle(middle.inputs[0]))
    norm = middle.layers[-1].get_layer("block_2_bn")
    norm.trainable = False
    before = [norm.moving_mean.numpy(), middle.layers[-1].get_layer("block_3_bn").moving_mean.numpy()]
    network(pixels(32), training=True)
    assert np.array_equal(norm.moving_mean.numpy(), before[0])
    assert not np.array_equal(middle.layers[-1].get_layer("block_3_bn").moving_mean.numpy(), before[1])


def test_training_false_at_the_call_of_a_nested_model_is_honoured(small_backbone):
    """Keras overrides it in `fit`; here it holds, which is what its author meant."""
    inner = small_backbone()
    inputs = keras.Input((16, 16, 3))
    x = pixels(8)
    held, plain = Network(inputs, inner(inputs, training=False)), keras.Model(inputs, inner(inputs, training=False))
    still = inner(x, training=False)
    assert np.array_equal(held(x, training=True), still)
    assert not np.allclose(plain(x, training=True), still)


def test_own_state_of_layers_with_frozen_and_without_weights():
    dense = keras.layers.Dense(2)
    dense.build((None, 3))
    assert own_state(dense) is True
    dense.trainable = False
    assert own_state(dense) is False
    assert own_state(keras.layers.ReLU()) is None
    normalization = keras.layers.Normalization(mean=[0.0], variance=[1.0])
    normalization.build((None, 1))
    assert own_state(normalization) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda m: kt.freeze(m),
        lambda m: kt.unfreeze(m, 2),
        lambda m: setattr(m.get_layer("backbone").get_layer("block_3_conv"), "trainable", False),
    ],
)
@pytest.mark.parametrize("fitted", [True, False])
def test_a_forgotten_compile_raises_and_trains_nothing(small_backbone, change, fitted):
    x, y = colour_task(8)
    model = kt.attach(small_backbone(), kt.heads.Classifier(3))
    kt.unfreeze(model, "block_2")
    model.compile(optimizer="sgd", **kt.objectives(model))
    if fitted:
        model.fit(x, y, verbose=0)
    change(model)
    before = values(model)
    with pytest.raises(ValueError, match="What trains has changed since `compile`.*Call `model.compile"):
        model.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="has changed since"):
        model.train_on_batch(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(before, values(model)))
    assert np.isfinite(model.evaluate(x, y, verbose=0)[0])
    model.compile(optimizer="sgd", **kt.objectives(model))
    model.fit(x, y, verbose=0)


def test_flags_that_return_to_what_they_were_do_not_raise(small_backbone):
    x, y = colour_task(8)
    model = kt.attach(small_backbone(), kt.heads.Classifier(3))
    kt.freeze(model)
    model.compile(optimizer="sgd", **kt.objectives(model))
    flags = trainable_flags(model)
    kt.unfreeze(model)
    assert trainable_flags(model) != flags
    kt.freeze(model)
    assert trainable_flags(model) == flags
    assert len(model.fit(x, y, verbose=0).history["loss"]) == 1


@pytest.mark.parametrize("argument", ["loss", "loss_weights", "metrics", "weighted_metrics"])
def test_a_key_that_is_no_output_is_refused_by_compile(small_backbone, argument):
    model = kt.attach(small_backbone(), {"breed": kt.heads.Classifier(3), "age": kt.heads.Regressor()})
    given = {**kt.objectives(model), argument: {"bred": None}}
    with pytest.raises(ValueError, match=f"Unknown key of `{argument}` 'bred'. Did you mean 'breed'"):
        model.compile(optimizer="adam", **given)


def test_left_out_loss_weights_are_one(small_backbone):
    x, y = colour_task(8)
    model = kt.attach(small_backbone(), {"a": kt.heads.Classifier(3), "b": kt.heads.Classifier(3)})
    model.compile(optimizer="sgd", **{**kt.objectives(model), "loss_weights": {"b": 0.5}})
    logs = model.evaluate(x, {"a": y, "b": y}, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(logs["a_loss"] + 0.5 * logs["b_loss"], rel=1e-6)


@pytest.mark.slow
def test_saved_compiled_and_loaded_in_a_fresh_process_it_trains_on_the_same(small_backbone, tmp_path):
    """Flags, compile state, layer-wise optimizer and its moments survive, and the next step is the same."""
    x, y = colour_task(12)
    model = kt.attach(small_backbone(), {"colour": kt.heads.Classifier(["r", "g", "b"])})
    kt.unfreeze(model, "block_3")
    model.compile(optimizer=kt.layerwise("adam", model, decay=0.5), **kt.objectives(model))
    model.fit(x, {"colour": y}, verbose=0, shuffle=False)
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    code = """if 1:
        import sys, numpy as np, keras, keras_transfer as kt
        load = kt.load if sys.argv[2] == "kt" else keras.models.load_model
        model = load(sys.argv[1] + "/m.keras")
        data = np.load(sys.argv[1] + "/data.npz")
        assert type(model.optimizer).__name__ == "LayerwiseAdam", model.optimizer
        assert [w.path for w in model.get_layer("backbone").trainable_weights] == ["block_3_conv/kernel", "block_3_conv/bias"]
        keras.utils.set_random_seed(5)
        before = [w.numpy() for w in model.non_trainable_weights]
        print(repr(model.evaluate(data["x"], {"colour": data["y"]}, verbose=0)))
        model.fit(data["x"], {"colour": data["y"]}, verbose=0, shuffle=False)
        assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.non_trainable_weights))
        print(int(model.optimizer.iterations.numpy()))
        try:
            kt.freeze(model); model.fit(data["x"], {"colour": data["y"]}, verbose=0)
        except ValueError as error:
            print("refused" if "has changed since" in str(error) else error)
    """
    expected = repr(model.evaluate(x, {"colour": y}, verbose=0))
    for how in ("kt", "keras"):
        assert run_python(code, tmp_path, how).stdout.split("\n")[:3] == [expected, "2", "refused"]


def test_float16_scales_the_loss_in_a_process_of_another_policy(small_backbone, tmp_path):
    x, y = colour_task(8)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = kt.attach(small_backbone(), kt.heads.Classifier(3))
        model.compile(keras.optimizers.SGD(0.01), **kt.objectives(model))
        model.fit(x, y, verbose=0)
        model.save(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    loaded = kt.load(tmp_path / "model.keras")
    assert loaded.dtype_policy.name == "mixed_float16"
    assert all(np.array_equal(a, b) for a, b in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True))
    assert loaded.predict(x, verbose=0).tolist() == model.predict(x, verbose=0).tolist()
    loaded.compile("sgd", **kt.objectives(loaded))
    assert isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)


def test_a_config_without_a_policy_makes_a_network_of_that_of_the_process(network):
    config = network.get_config()
    del config["dtype"]
    again = Network.from_config(config)
    assert again.dtype_policy == keras.config.dtype_policy() and len(again.weights) == len(network.weights)


def test_told_apart_gives_each_a_name_until_all_have_their_own_again():
    layers = [keras.layers.Dense(2, name=name) for name in ("a", "b", "a", "a_1", "a")]
    names = [layer.name for layer in layers]
    with pytest.raises(RuntimeError), told_apart([*layers, layers[1]]):
        assert len({layer.name for layer in layers}) == 5 and layers[-1].name == "a"
        assert layers[1].name == "b" and layers[3].name == "a_1"
        raise RuntimeError
    assert [layer.name for layer in layers] == names


# --- methods of its own


def joined(small_backbone):
    return kt.attach(small_backbone(), {"a": kt.heads.Regressor(), "b": kt.heads.Regressor()})


MAKE = {
    keras.Model: lambda kind, model: kind(model.input, model.output),
    keras.Sequential: lambda kind, model: kind([keras.Input((2,)), keras.layers.Dense(1)]),
    Network: lambda kind, model: kind(model.input, model.output),
    kt.MultiTask: lambda kind, model: kind(model),
}


@pytest.mark.parametrize("name", ["call", "train_step", "test_step", "compute_loss", "compute_metrics"])
@pytest.mark.parametrize("kind", MAKE)
def test_a_method_of_training_that_a_class_brings_is_found(name, kind, small_backbone):
    model, mixin = joined(small_backbone), type("Mixin", (), {name: lambda self, *args, **options: None})
    own, ours = MAKE[kind](type("Own", (mixin, kind), {}), model), MAKE[kind](kind, model)
    assert own_method(own) == name and own_method(ours) is None
    check_methods(ours)
    with pytest.raises(ValueError, match=f"The model has a method `{name}` of its own, .* that is cache=False"):
        check_methods(own)


def test_a_method_of_the_model_that_a_learner_trains_is_found(small_backbone):
    own = type("Own", (Network,), {"call": lambda self, x, training=None, mask=None: Network.call(self, x, training, mask)})
    model = joined(small_backbone)
    assert own_method(kt.MultiTask(own(model.input, model.output))) == "call"


class Block(keras.layers.Layer):
    """A layer that takes no `training`, with layers in it that do: Keras tells them what the outer one was called with."""

    def __init__(self, *inner):
        super().__init__()
        self.inner = list(inner)

    def call(self, x):
        for layer in self.inner:
            x = layer(x)
        return x


def test_layers_within_ones_own_follow_its_weights_whether_it_takes_training_or_not():
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    inputs, below, norm = keras.Input((4,)), keras.layers.Dense(4), keras.layers.BatchNormalization()
    drawing, live = Block(keras.layers.Dense(8), keras.layers.Dropout(0.5)), Block(norm)
    network = Network(inputs, live(below(drawing(inputs))))
    assert not np.allclose(network(x, training=True), network(x, training=True))
    drawing.trainable = below.trainable = False
    first, before = network(x, training=True), norm.moving_mean.numpy()
    assert np.array_equal(network(x, training=True), first)  # frozen, it draws no dropout
    assert not np.array_equal(norm.moving_mean.numpy(), before)  # live above a frozen one, its statistics move
    norm.trainable = False
    assert np.array_equal(network(x, training=True), network(x, training=False))


@pytest.mark.parametrize("by_name", [False, True])
def test_what_a_nested_model_is_called_with_reaches_it(by_name):
    x, mask = np.random.default_rng(0).normal(size=(3, 10, 4)).astype("float32"), np.arange(10) < [[4], [7], [10]]
    inner = keras.Input((10, 4))
    means = keras.Model(inner, keras.layers.GlobalAveragePooling1D()(inner))
    inputs, its_mask = keras.Input((10, 4)), keras.Input((10,), dtype="bool")
    called = means(inputs=inputs, mask=its_mask) if by_name else means(inputs, mask=its_mask)
    network = Network([inputs, its_mask], called)
    wanted = np.stack([row[kept].mean(0) for row, kept in zip(x, mask)])
    assert np.allclose(network([x, mask]), wanted, atol=1e-6) and not np.allclose(x.mean(1), wanted, atol=1e-2)
    model = kt.attach(keras.Model([inputs, its_mask], called), kt.heads.Classifier(2))
    kernel, bias = model.get_layer("classifier").get_weights()
    assert np.allclose(model.predict([x, mask], verbose=0), wanted @ kernel + bias, atol=1e-5)
    assert np.allclose(kt.features(model, ([x, mask],))[0], wanted, atol=1e-5)


@keras.saving.register_keras_serializable("test_network")
class Unit(keras.Model):
    """A Functional model whose graph doesn't tell all that it does."""

    def call(self, x, training=None, mask=None):
        return keras.ops.normalize(super().call(x, training=training), axis=-1)


def test_a_functional_model_with_a_call_of_its_own_is_called_whole_or_refused():
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    inputs = keras.Input((4,))
    unit = Unit(inputs, keras.layers.Dense(3)(inputs))
    for refused in (lambda: kt.attach(unit, kt.heads.Classifier(2)), lambda: kt.features(unit, (x,))):
        with pytest.raises(ValueError, match="a `call` of its own"):
            refused()
    model = kt.attach(keras.Model(inputs, unit(inputs)), kt.heads.Classifier(2))
    features, = kt.features(model, (x,))
    assert np.allclose(np.linalg.norm(features, axis=-1), 1, atol=1e-5)
    kernel, bias = model.get_layer("classifier").get_weights()
    assert np.allclose(model.predict(x, verbose=0), features @ kernel + bias, atol=1e-5)
    kt.freeze(model)
    cached, tail = kt.cache_features(model, (x, np.zeros(5, int)), verbose=0)
    assert np.allclose(np.concatenate([tail(z) for z, _ in cached]), model(x), atol=1e-5)
