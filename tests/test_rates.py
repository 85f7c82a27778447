"""Layer-wise rates: updates by hand, against separate optimizers, saved and loaded, moments kept."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.rates import _CLASSES, carry_moments, multipliers, remade
from support import colour_task, values


@pytest.fixture
def model(small_backbone):
    model = kt.attach(small_backbone(), kt.heads.Classifier(3))
    kt.unfreeze(model)
    return model


def test_multipliers_fall_from_block_to_block_and_heads_have_one(model):
    found = multipliers(model, 0.5)
    assert found == {f"block_{i}_{layer}/{w}": m for i, m in [(1, 0.125), (2, 0.25), (3, 0.5)]
                     for layer, *words in (("conv", "kernel", "bias"), ("bn", "gamma", "beta")) for w in words}


def test_one_adam_step_by_hand(model):
    """The first step of Adam is the rate times the sign of the gradient."""
    x, y = colour_task(16)
    model.compile(
        optimizer=kt.layerwise(keras.optimizers.Adam(0.01, epsilon=1e-12), model, decay=0.5), **kt.objectives(model)
    )
    before = {w.path: w.numpy() for w in model.trainable_weights}
    model.fit(x, y, verbose=0, batch_size=16)
    step = {p.split("/")[0]: np.abs(w.numpy() - before[p]).max() for w in model.trainable_weights for p in [w.path]}
    assert step == pytest.approx(
        {"block_1_conv": 0.00125, "block_2_conv": 0.0025, "block_3_conv": 0.005, "classifier": 0.01}, rel=1e-3
    )


@pytest.mark.parametrize("base", _CLASSES, ids=lambda c: c.__name__)
def test_every_stock_optimizer(base):
    """Multiplier 1 is the optimizer itself; 0 leaves the variable, weight decay included (Ftrl divides by the rate)."""
    ftrl = base is keras.optimizers.Ftrl
    rate, decay = 0.05, {"weight_decay": 0.1} if base is not keras.optimizers.Adafactor else {}

    def train(optimizer):
        a, b = (keras.Variable(np.full((2, 2), v, "f4"), name=n) for n, v in (("a", 1.0), ("b", 2.0)))
        optimizer.build([a, b])
        for _ in range(2):
            optimizer.apply([np.ones((2, 2), "f4") * g for g in (0.5, -0.3)], [a, b])
        return a.numpy(), b.numpy()

    plain = train(base(rate, **decay))
    same, scaled = (
        train(_CLASSES[base](rate, **decay)),
        train(_CLASSES[base](rate, **decay, multipliers={"a": 0.1 * ftrl})),
    )
    assert all(np.array_equal(p, s) for p, s in zip(plain, same))
    assert (ftrl or np.array_equal(scaled[0], np.ones((2, 2)))) and not np.array_equal(plain[0], scaled[0])
    assert np.array_equal(scaled[1], plain[1])


def test_scaling_the_update_is_not_scaling_the_gradient():
    def moved(scale_gradient, multipliers):
        v = keras.Variable(np.zeros(1, "f4"), name="a")
        optimizer = _CLASSES[keras.optimizers.Adam](0.01, multipliers=multipliers)
        optimizer.build([v])
        optimizer.apply([np.array([scale_gradient], "f4")], [v])
        return float(v.numpy()[0])

    assert moved(1.0, {"a": 0.1}) == pytest.approx(-0.001, rel=1e-3)
    assert moved(0.1, {}) == pytest.approx(-0.01, rel=1e-3)


@pytest.mark.parametrize("options", [{"jit_compile": True}, {"steps_per_execution": 2}, {"run_eagerly": True}])
def test_compile_options_change_nothing(small_backbone, options):
    x, y = colour_task(16)
    results = []
    for how in ({}, options):
        keras.utils.set_random_seed(3)
        model = kt.attach(small_backbone(), kt.heads.Classifier(3))
        for layer in model.get_layer("backbone").layers:
            layer.trainable = layer.name == "block_3_conv"
        model.compile(optimizer=kt.layerwise("adam", model, decay=0.5), **kt.objectives(model), **how)
        model.fit(x, y, batch_size=8, verbose=0, shuffle=False)
        results.append(values(model))
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(*results))


def test_mixed_float16_schedule_and_ema_survive(model):
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 100)
    given = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(schedule, use_ema=True))
    made = kt.layerwise(given, model).inner_optimizer
    assert type(made).__name__ == "LayerwiseSGD" and made.use_ema
    assert isinstance(made.get_config()["learning_rate"], dict)
    scaled = keras.optimizers.LossScaleOptimizer(made)
    model.compile(optimizer=scaled, **kt.objectives(model))
    assert np.isfinite(model.fit(*colour_task(8), verbose=0).history["loss"][0])


@pytest.mark.parametrize("make", [lambda given, model: remade(given), kt.layerwise])
def test_settings_that_are_in_no_config_survive(model, make):
    given = keras.optimizers.SGD(0.1, weight_decay=0.5)
    given.exclude_from_weight_decay(var_names=["bias"])
    optimizer = make(given, model)
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    kernel, bias = model.trainable_variables[-2:]
    for variable in (kernel, bias):
        variable.assign(np.ones(variable.shape))
    optimizer.apply([np.zeros(v.shape, "float32") for v in model.trainable_variables], model.trainable_variables)
    assert np.allclose(kernel, 0.95) and np.array_equal(bias, np.ones(3))


@pytest.mark.parametrize("make", [lambda given, model: remade(given), kt.layerwise])
def test_a_loss_is_scaled_as_before(model, make):
    made = make(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), 8.0, 50), model)
    assert type(made) is keras.optimizers.LossScaleOptimizer and isinstance(made.inner_optimizer, keras.optimizers.SGD)
    assert (made.initial_scale, made.dynamic_growth_steps) == (8.0, 50)
    before = model.get_layer("classifier").weights[0].numpy()
    model.compile(optimizer=made, **kt.objectives(model))
    model.fit(*colour_task(8), verbose=0)
    assert float(made.dynamic_scale.numpy()) == 8.0 and not np.array_equal(before, model.get_layer("classifier").weights[0])


def test_moments_of_what_already_trained_are_kept(model):
    x, y = colour_task(16)
    kt.unfreeze(model, "block_3")
    model.compile(optimizer=keras.optimizers.Adam(0.01), **kt.objectives(model))
    model.fit(x, y, epochs=3, verbose=0)
    old = {v.path.split("/", 1)[1]: v.numpy() for v in model.optimizer.variables}
    kt.unfreeze(model, "block_2")
    new = {v.path.split("/", 1)[1]: v.numpy() for v in kt.layerwise(keras.optimizers.Adam(1e-4), model).variables}
    assert new["iteration"] == 0 and new["learning_rate"] == np.float32(1e-4)
    kept = [p for p in old if p not in ("iteration", "learning_rate")]
    assert len(kept) == 8 and all(np.array_equal(old[p], new[p]) and old[p].any() for p in kept)
    assert not any(new[p].any() for p in new if "block_2" in p)


def test_moments_are_not_taken_from_another_class(model):
    x, y = colour_task(16)
    model.compile(optimizer=keras.optimizers.Adam(0.01), **kt.objectives(model))
    model.fit(x, y, verbose=0)
    sgd = kt.layerwise(keras.optimizers.SGD(0.1, momentum=0.9), model)
    assert len(sgd.variables) > 2 and not any(v.numpy().any() for v in sgd.variables[2:])


def test_carrying_to_an_equal_optimizer_copies_all_but_the_step_count(model):
    x, y = colour_task(16)
    model.compile(optimizer="adam", **kt.objectives(model))
    model.fit(x, y, verbose=0)
    new = keras.optimizers.Adam()
    new.build(model.trainable_variables)
    carry_moments(model.optimizer, new)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in list(zip(model.optimizer.variables, new.variables))[1:])
    assert (int(model.optimizer.iterations.numpy()), int(new.iterations.numpy())) == (1, 0)


def test_where_the_steps_have_led_is_no_moment(model):
    """Taken over, it would count in full at the first step, and throw the weights there."""
    x, y = colour_task(16)
    model.compile(optimizer=keras.optimizers.ScheduleFreeAdamW(0.1), **kt.objectives(model))
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    new, before = kt.layerwise(keras.optimizers.ScheduleFreeAdamW(1e-8), model), values(model)
    velocities = [v.numpy() for v in new.variables if v.path.endswith("_velocity")]
    assert velocities and any(v.any() for v in velocities)
    model.compile(optimizer=new, **kt.objectives(model))
    model.fit(x, y, batch_size=16, verbose=0)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(before, values(model)))


@pytest.mark.parametrize("decay", [None, 0.2])
def test_both_weight_decays_of_muon_are_scaled(decay):
    """One is for matrices, the other for what isn't one."""

    def decayed(kind, **options):
        shapes = {"kernel": (2, 2, 1), "bias": (2,), "matrix": (2, 2), "head": (2,)}
        variables = [keras.Variable(np.ones(shape, "f4"), name=name) for name, shape in shapes.items()]
        optimizer = kind(0.1, weight_decay=decay, adam_weight_decay=0.4, **options)
        optimizer.build(variables)
        optimizer.apply([np.zeros(v.shape, "f4") for v in variables], variables)
        return [float(v.numpy().ravel()[0]) for v in variables]

    matrix = 0.1 * (decay or 0.0)
    assert decayed(keras.optimizers.Muon) == pytest.approx([0.96, 0.96, 1 - matrix, 0.96])
    layerwise = decayed(_CLASSES[keras.optimizers.Muon], multipliers={"kernel": 0.5, "bias": 0.0, "matrix": 0.25})
    assert layerwise == pytest.approx([0.98, 1.0, 1 - matrix / 4, 0.96])


def test_newly_trained_variables_step_at_the_rate_and_no_faster(model):
    """With the old step count, Adam's zero moments would make the first steps several times too large."""
    x, y = colour_task(32)
    kt.freeze(model)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), **kt.objectives(model))
    model.fit(x, y, batch_size=1, epochs=10, verbose=0)
    kt.unfreeze(model, "block_3")
    kernel = model.get_layer("backbone").get_layer("block_3_conv").kernel
    model.compile(optimizer=kt.layerwise(keras.optimizers.Adam(1e-3), model, decay=1.0), **kt.objectives(model))
    before = kernel.numpy()
    model.train_on_batch(x, y)
    assert np.abs(kernel.numpy() - before).max() == pytest.approx(1e-3, rel=0.05)


def test_the_given_optimizer_is_not_changed_and_one_of_ours_can_be_given(model):
    adam = keras.optimizers.Adam(0.01)
    once = kt.layerwise(adam, model, decay=0.5)
    assert not adam.built
    twice = kt.layerwise(once, model, decay=0.25)
    assert type(twice) is type(once) and twice.multipliers["block_3_conv/kernel"] == 0.25


def test_an_optimizer_of_ones_own(model):
    class Mine(keras.optimizers.SGD):
        pass

    made = kt.layerwise(Mine(0.1), model)
    assert isinstance(made, Mine) and type(made).__name__ == "LayerwiseMine"


@pytest.mark.parametrize("decay", [0, -1, 1.5])
def test_decay_out_of_range(model, decay):
    with pytest.raises(ValueError, match="`decay` must be over 0 and at most 1. Received"):
        kt.layerwise("adam", model, decay)


def test_weights_of_equal_path_are_refused(small_backbone):
    inputs = keras.Input((16, 16, 3))
    first, second = (
        keras.Sequential(
            [
                keras.Input((16, 16, 3)),
                keras.layers.Conv2D(3, 3, padding="same", name=n),
                keras.layers.Conv2D(3, 3, padding="same", name="same"),
            ],
            name=n + "s",
        )
        for n in ("block_1", "block_2")
    )
    model = kt.attach(keras.Model(inputs, second(first(inputs))), kt.heads.Classifier(2))
    kt.unfreeze(model)
    if len({w.path for w in model.weights}) == len(model.weights):
        assert len(multipliers(model, 0.5)) == 8
    else:
        with pytest.raises(ValueError, match="Two layers have weights of the same path"):
            kt.layerwise("adam", model, 0.5)


def test_accumulated_half_batches_are_one_whole_batch(small_backbone):
    """Layer-wise rates, weight decay and clipping act on the accumulated gradient, once."""
    x, y = colour_task(16)
    weights = []
    for steps, size in [(None, 16), (2, 8)]:
        keras.utils.set_random_seed(3)
        model = kt.attach(small_backbone(), kt.heads.Classifier(3))
        for layer in model.get_layer("backbone").layers:
            layer.rate = 0.0
        kt.unfreeze(model)
        sgd = keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1, clipnorm=0.5, gradient_accumulation_steps=steps)
        model.compile(optimizer=kt.layerwise(sgd, model, decay=0.5), **kt.objectives(model))
        model.fit(x, y, batch_size=size, epochs=3, shuffle=False, verbose=0)
        weights.append(values(model))
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(*weights))
    control = kt.attach(small_backbone(), kt.heads.Classifier(3))
    assert not all(np.allclose(a, b, atol=1e-3) for a, b in zip(weights[0], values(control)))


def test_a_gradient_half_accumulated_is_not_carried(model):
    x, y = colour_task(16)
    model.compile(optimizer=keras.optimizers.Adam(gradient_accumulation_steps=2), **kt.objectives(model))
    model.fit(x[:12], y[:12], batch_size=4, verbose=0, shuffle=False)  # three batches: one is left over
    new = kt.layerwise(keras.optimizers.Adam(gradient_accumulation_steps=2), model)
    sums = [v.numpy() for v in new.variables if v.path.endswith("gradient_accumulator")]
    left = [v.numpy() for v in model.optimizer.variables if v.path.endswith("gradient_accumulator")]
    assert sums and not any(s.any() for s in sums) and any(a.any() for a in left)
    assert any(v.numpy().any() for v in new.variables if v.path.endswith("momentum"))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_with_heads_and_losses_in_float32(small_backbone, policy):
    """Layer-wise, unfreezing in `fit`, gradients accumulated, several steps at once: the loss falls all the same."""
    x, y = colour_task(32)
    keras.config.set_dtype_policy(policy)
    try:
        model = kt.attach(small_backbone(), {"colour": kt.heads.Classifier(3), "light": kt.heads.Regressor()})
        optimizer = kt.layerwise(keras.optimizers.Adam(0.01, gradient_accumulation_steps=2), model)
        model.compile(optimizer=optimizer, steps_per_execution=2, **kt.objectives(model))
        labels = {"colour": y, "light": x.mean((1, 2, 3)) / 255}
        labels["light"][::3] = np.nan
        unfreezing = kt.GradualUnfreezing({2: "block_3", 4: None})
        losses = model.fit(x, labels, batch_size=8, epochs=8, verbose=0, callbacks=[unfreezing]).history["loss"]
        outputs = model(x[:2])
        halved = {layer.compute_dtype for layer in model.get_layer("backbone").layers if "conv" in layer.name}
        value = model.loss["colour"](y[:2], outputs["colour"])
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[-1] < losses[0] and np.isfinite(losses).all() and halved == {policy.removeprefix("mixed_")}
    assert {o.dtype.name for o in outputs.values()} == {"float32"} == {value.dtype.name}
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")


def test_frozen_blocks_have_their_rate_too_and_only_what_trains_must_be_told_apart(model):
    every = multipliers(model, 0.5)
    kt.freeze(model)
    assert multipliers(model, 0.5) == every and not model.get_layer("backbone").trainable_weights
