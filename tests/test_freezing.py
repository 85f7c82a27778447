"""What trains, bit for bit: flags, `fit`, nested models, save and load, unfreezing during `fit`."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.freezing import flags_kept
from keras_transfer.network import model_of, trainable_flags
from support import colour_task, values


@pytest.fixture
def model(small_backbone):
    return kt.attach(small_backbone(), kt.heads.Classifier(3))


def training(model):
    return [layer.name for layer in model.get_layer("backbone").layers if any(w.trainable for w in layer.weights)]


def moved(model, x, y, **options):
    """Trains for two epochs and returns the names of the layers whose weights moved at all."""
    model.compile(optimizer=keras.optimizers.SGD(0.1), **kt.objectives(model))
    before = {id(w): w.numpy() for w in model.weights}
    model.fit(x, y, epochs=2, verbose=0, **options)
    layers = [*model.get_layer("backbone").layers, *[l for l in model.layers if l.name != "backbone"]]
    return {
        l.name: [w.path.split("/")[-1] for w in l.weights if not np.array_equal(before[id(w)], w.numpy())]
        for l in layers
        if any(not np.array_equal(before[id(w)], w.numpy()) for w in l.weights)
    }


def test_a_frozen_backbone_is_bit_identical_after_fit_and_the_head_moves(model):
    kt.freeze(model)
    assert training(model) == []
    assert moved(model, *colour_task(32)) == {"classifier": ["kernel", "bias"]}


def test_unfrozen_layers_move_and_their_norms_stay(model):
    kt.unfreeze(model, "block_3")
    assert training(model) == ["block_3_conv"]
    assert moved(model, *colour_task(32)) == {"block_3_conv": ["kernel", "bias"], "classifier": ["kernel", "bias"]}


def test_norms_move_only_where_declared(model):
    kt.unfreeze(model, "block_3", norms=True)
    everything = ["gamma", "beta", "moving_mean", "moving_variance"]
    assert moved(model, *colour_task(32)) == {
        "block_3_conv": ["kernel", "bias"],
        "block_3_bn": everything,
        "classifier": ["kernel", "bias"],
    }


def test_the_control_without_freezing_everything_moves(model):
    kt.unfreeze(model, norms=True)
    assert set(moved(model, *colour_task(32))) == {"classifier"} | {
        f"block_{i}_{what}" for i in (1, 2, 3) for what in ("conv", "bn")
    }


@pytest.mark.parametrize(
    "call, expected",
    [
        (lambda m: kt.freeze(m), []),
        (lambda m: kt.freeze(m, "block_1"), ["block_2_conv", "block_3_conv"]),
        (lambda m: kt.freeze(m, "block_2_conv"), ["block_3_conv"]),
        (lambda m: kt.freeze(m, 6), ["block_2_conv", "block_3_conv"]),
        (lambda m: kt.freeze(m, 7), ["block_3_conv"]),
        (lambda m: kt.freeze(m, 0), ["block_1_conv", "block_2_conv", "block_3_conv"]),
        (lambda m: kt.freeze(m, 0.5), ["block_3_conv"]),
        (lambda m: kt.freeze(m, 1.0), []),
        (lambda m: kt.unfreeze(m), ["block_1_conv", "block_2_conv", "block_3_conv"]),
        (lambda m: kt.unfreeze(m, 5), ["block_3_conv"]),
        (lambda m: kt.unfreeze(m, 4), []),
        (lambda m: kt.unfreeze(m, 0.34), ["block_3_conv"]),
        (lambda m: kt.unfreeze(m, "block_2"), ["block_2_conv", "block_3_conv"]),
        (lambda m: kt.unfreeze(m, "block_2_relu"), ["block_3_conv"]),
        (lambda m: kt.unfreeze(m, 0), []),
    ],
)
@pytest.mark.parametrize("start", [True, False])
def test_state_is_set_whatever_it_was(model, call, expected, start):
    model.trainable = start
    call(model)
    assert training(model) == expected
    assert all(w.trainable for w in model.get_layer("classifier").weights)


def test_inner_flags_set_by_hand_under_an_outer_one_are_overwritten(model):
    """Keras ignores `outer.trainable = False` where the outer flag is False already."""
    kt.freeze(model)
    model.get_layer("backbone").get_layer("block_2_conv").trainable = True
    kt.freeze(model)
    assert training(model) == []
    kt.unfreeze(model)
    model.get_layer("backbone").get_layer("block_2_conv").trainable = False
    kt.unfreeze(model)
    assert training(model) == ["block_1_conv", "block_2_conv", "block_3_conv"]


def test_a_bare_backbone_is_treated_the_same_way(small_backbone):
    backbone = small_backbone()
    kt.unfreeze(backbone, "block_3")
    assert [w.path for w in backbone.trainable_weights] == ["block_3_conv/kernel", "block_3_conv/bias"]
    kt.freeze(backbone)
    assert backbone.trainable_weights == []


def test_inside_a_nested_model(small_backbone):
    inner = small_backbone("inner")
    outer = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.RandomFlip(), inner])
    model = kt.attach(outer, kt.heads.Classifier(3))
    kt.unfreeze(model, "block_3")
    model.compile(optimizer="sgd", **kt.objectives(model))
    before = values(inner)
    model.fit(*colour_task(16), verbose=0)
    changed = [w.path for w, b in zip(inner.weights, before) if not np.array_equal(w.numpy(), b)]
    assert changed == ["block_3_conv/kernel", "block_3_conv/bias"]


@pytest.mark.slow
def test_a_frozen_efficientnet_gives_the_same_loss_twice_under_training(tmp_path):
    """Its stochastic depth draws in plain Keras, frozen or not."""
    plain = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg")
    x, y = colour_task(8, size=32)
    for layer in plain.layers:  # norms that fit the photos: features of ordinary size
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    plain(x, training=True)
    plain.trainable = False
    assert np.abs(plain(x, training=False)).max() > 0.01
    assert not np.allclose(plain(x, training=True), plain(x, training=True), rtol=1e-3)
    model = kt.attach(plain, kt.heads.Classifier(3))
    kt.freeze(model)
    model.compile(optimizer=keras.optimizers.SGD(0.0), **kt.objectives(model))
    first, second = (model.fit(x, y, verbose=0, shuffle=False).history["loss"] for _ in range(2))
    assert first == second == pytest.approx([model.evaluate(x, y, verbose=0)[0]], rel=1e-6)
    kt.unfreeze(model, last=30)  # a block with stochastic depth is live again
    assert not np.allclose(model(x, training=True), model(x, training=True), rtol=1e-4)


def test_an_opaque_backbone_takes_all_or_nothing():
    @keras.saving.register_keras_serializable("tests")
    class Opaque(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = keras.layers.Dense(4)

        def call(self, x):
            return self.dense(x)

    opaque = Opaque()
    opaque(np.zeros((1, 3)))
    kt.freeze(opaque)
    assert opaque.trainable_weights == []
    kt.unfreeze(opaque)
    assert len(opaque.trainable_weights) == 2
    with pytest.raises(ValueError, match="`last` needs a backbone whose layers can be told apart; .*Opaque"):
        kt.unfreeze(opaque, 1)


def test_a_plain_keras_model_is_marked_uncompiled(small_backbone):
    plain = small_backbone()
    plain.compile(optimizer="sgd", loss="mse")
    kt.freeze(plain)
    with pytest.raises(ValueError, match="You must call `compile"):
        plain.fit(*colour_task(4), verbose=0)


def test_unknown_names_and_models_are_refused(model):
    with pytest.raises(
        ValueError, match="`until` names no layer or block of the backbone: 'blok_2'. Did you mean 'block_2'"
    ):
        kt.freeze(model, "blok_2")
    with pytest.raises(ValueError, match="Received: 77"):
        kt.unfreeze(model, 77)
    with pytest.raises(TypeError, match="`model` must be what `kt.attach` or `kt.backbone` returned.*str"):
        kt.freeze("model")


def test_flags_set_within_are_what_they_were_afterwards(small_backbone):
    """Also of a layer in two models, of a weight by itself, and of what was compiled for them."""
    inner = small_backbone("inner")
    outer = keras.Sequential([keras.Input((16, 16, 3)), inner])
    x = keras.Input((16, 16, 3))
    shared = keras.Model(x, keras.layers.Add()([outer(x), inner(x)]))
    shared.compile("sgd", "mse")
    inner.get_layer("block_2_conv").trainable = False
    outer.trainable = True
    inner.trainable = False
    inner.get_layer("block_3_conv").trainable = True
    inner.get_layer("block_3_conv").bias.trainable = False
    before = trainable_flags(shared)
    with pytest.raises(KeyboardInterrupt), flags_kept(shared):
        kt.freeze(shared)
        assert not shared.compiled and trainable_flags(shared) != before
        raise KeyboardInterrupt
    assert trainable_flags(shared) == before and shared.compiled


class Watch(keras.callbacks.Callback):
    """Notes after each epoch which layers of the backbone have moved since the last one."""

    def on_train_begin(self, logs=None):
        self.moved, self.last = [], self.copy()

    def copy(self):
        return {w.path: w.numpy() for w in model_of(self.model).get_layer("backbone").weights}

    def on_epoch_end(self, epoch, logs=None):
        now = self.copy()
        self.moved.append(sorted({p.split("/")[0] for p in now if not np.array_equal(now[p], self.last[p])}))
        self.last = now


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "layerwise"])
def test_gradual_unfreezing_in_one_fit(model, fitted, optimizer):
    x, y = colour_task(16)
    kt.freeze(model)
    model.compile(optimizer="adam" if optimizer == "adam" else kt.layerwise("adam", model), **kt.objectives(model))
    if fitted:
        model.fit(x, y, verbose=0)
    watch = Watch()
    model.fit(x, y, epochs=4, verbose=0, callbacks=[kt.GradualUnfreezing([(1, "block_3"), (3, "block_2")]), watch])
    assert watch.moved == [[], ["block_3_conv"], ["block_3_conv"], ["block_2_conv", "block_3_conv"]]
    assert int(model.optimizer.iterations.numpy()) == 4
    model.fit(x, y, verbose=0)  # the state reached is the state compiled for


def test_gradual_unfreezing_keeps_the_moments_of_the_head(model):
    x, y = colour_task(16)
    kt.freeze(model)
    model.compile(optimizer=keras.optimizers.SGD(0.0, momentum=0.9), **kt.objectives(model))
    model.fit(x, y, verbose=0)
    model.optimizer.variables[-1].assign([7.0, 7.0, 7.0])  # the momentum of the head's bias

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.seen = [
                v.numpy() for v in self.model.optimizer.variables if "classifier" in v.path and v.shape == (3,)
            ]

    look = Look()
    model.fit(x, y, verbose=0, callbacks=[kt.GradualUnfreezing({0: "block_3"}), look])
    assert np.array_equal(look.seen, [[7.0, 7.0, 7.0]])


def test_gradual_unfreezing_after_a_restart_in_the_middle_begins_at_its_stage(model):
    x, y = colour_task(8)
    model.compile(optimizer="sgd", **kt.objectives(model))
    watch = Watch()
    model.fit(
        x, y, initial_epoch=2, epochs=3, verbose=0, callbacks=[kt.GradualUnfreezing({1: "block_3", 5: None}), watch]
    )
    assert watch.moved == [["block_3_conv"]]


def test_gradual_unfreezing_in_a_second_fit_goes_on_in_the_stage_of_the_first(model):
    x, y = colour_task(8)
    stages, watch = kt.GradualUnfreezing({1: "block_3", 5: None}), Watch()
    for first, last in ((0, 2), (2, 4)):
        model.compile(optimizer="sgd", **kt.objectives(model))
        model.fit(x, y, initial_epoch=first, epochs=last, verbose=0, callbacks=[stages, watch])
    assert watch.moved == [["block_3_conv"]] * 2


def test_gradual_unfreezing_prepares_the_optimizer_and_leaves_the_flags(model):
    kt.unfreeze(model, "block_3")
    model.compile(optimizer="adam", **kt.objectives(model))
    model.optimizer.build(model.trainable_variables)
    flags, stages = trainable_flags(model), kt.GradualUnfreezing({1: "block_2"})
    stages.prepare(model)
    wide = model.optimizer
    assert trainable_flags(model) == flags and len(wide.variables) > 2 + 2 * len(model.trainable_variables)
    stages.prepare(model)
    model.fit(*colour_task(8), epochs=2, verbose=0, callbacks=[stages])
    assert model.optimizer is wide and training(model) == ["block_2_conv", "block_3_conv"]
    stages.hold(model, 0)
    assert training(model) == []


@pytest.mark.parametrize("weighting", [None, kt.multitask.PCGrad, kt.multitask.Uncertainty])
def test_gradual_unfreezing_of_several_tasks(weighting, small_backbone):
    x, y = colour_task(16)
    model = kt.attach(small_backbone(), {"colour": kt.heads.Classifier(3), "other": kt.heads.Classifier(3)})
    learner, watch = kt.MultiTask(model, weighting and weighting()), Watch()
    learner.compile(optimizer="adam", **kt.objectives(model))
    stages = kt.GradualUnfreezing({1: "block_3", 2: "block_2"})
    learner.fit(x, {"colour": y, "other": 2 - y}, epochs=3, verbose=0, callbacks=[stages, watch])
    assert watch.moved == [[], ["block_3_conv"], ["block_2_conv", "block_3_conv"]]


def test_gradual_unfreezing_refuses_a_bad_stage_before_training(model):
    with pytest.raises(ValueError, match="`stages` must have epochs .*-1"):
        kt.GradualUnfreezing({-1: None})
    model.compile(optimizer="sgd", **kt.objectives(model))
    before = values(model)
    with pytest.raises(ValueError, match="`last` names no layer or block"):
        model.fit(*colour_task(8), epochs=9, verbose=0, callbacks=[kt.GradualUnfreezing({8: "nothing"})])
    assert all(np.array_equal(a, b) for a, b in zip(before, values(model)))


def test_what_is_unfrozen_later_has_the_rate_of_its_block(model):
    """Lion's steps are as long as the rate, whatever the gradients are."""
    kt.freeze(model)
    model.compile(optimizer=kt.layerwise(keras.optimizers.Lion(0.01), model, decay=0.5), **kt.objectives(model))
    before = {w.path: w.numpy() for w in model.weights}
    model.fit(*colour_task(8), epochs=2, verbose=0, batch_size=8, callbacks=[kt.GradualUnfreezing({1: "block_2"})])
    step = {w.path.split("/")[0]: np.abs(w.numpy() - before[w.path]).max() for w in model.trainable_weights}
    assert step == pytest.approx({"block_2_conv": 0.0025, "block_3_conv": 0.005, "classifier": 0.02}, rel=1e-3)


@pytest.mark.parametrize("stages", [{1: "block_3", 2: "block_2"}, {1: None}])
def test_gradual_unfreezing_of_a_plain_keras_model_keeps_its_logs(model, stages):
    x, y = colour_task(16)
    plain, watch = keras.Model(model.input, model.output), Watch()
    plain.compile(optimizer="sgd", **kt.objectives(model))
    history = plain.fit(x, y, epochs=3, verbose=0, validation_data=(x, y), callbacks=[kt.GradualUnfreezing(stages), watch]).history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"} and len(history["loss"]) == 3
    assert watch.moved[0] == [] and "block_3_conv" in watch.moved[1] and len(watch.moved[2]) > 1
    assert kt.fine_tune(plain, (x, y), head_epochs=2, epochs=0, verbose=0, callbacks=[kt.GradualUnfreezing(stages)]).history["loss"]


def test_gradual_unfreezing_refuses_averages_of_weights(model):
    kt.freeze(model)
    model.compile(optimizer=keras.optimizers.Adam(use_ema=True), **kt.objectives(model))
    with pytest.raises(ValueError, match="GradualUnfreezing can't train with an optimizer that has use_ema=True"):
        model.fit(*colour_task(8), verbose=0, callbacks=[kt.GradualUnfreezing({0: "block_3"})])
