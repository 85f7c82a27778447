import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.rate_finding import LearningRates, smoothed
from support import colour_task, values


@pytest.fixture
def model(small_backbone):
    return kt.attach(small_backbone(), kt.heads.Classifier(3, dropout=0.2))


@pytest.fixture
def dataset():
    return tf.data.Dataset.from_tensor_slices(colour_task(32)).batch(8)


def state(model):
    return (
        values(model)
        + [v.numpy() for v in model.optimizer.variables]
        + [v.numpy() for v in model.variables if "seed_generator" in v.path]
    )


@pytest.mark.parametrize("fitted", [False, True])
def test_weights_optimizer_and_random_states_are_put_back(model, dataset, fitted):
    model.compile(optimizer="adam", **kt.objectives(model))
    if fitted:
        model.fit(dataset, verbose=0)
    else:
        model.optimizer.build(model.trainable_variables)
    before = state(model)
    found = kt.find_learning_rate(model, dataset, steps=20)
    assert all(np.array_equal(a, b) for a, b in zip(before, state(model), strict=True))
    assert len(found.rates) == len(found.losses) <= 20 and found.rates[0] == pytest.approx(1e-6)
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(1e-3)


def test_the_suggestion_learns_and_the_highest_rate_does_not(model, dataset):
    found = kt.find_learning_rate(model, dataset, lowest=1e-4, highest=1e3, steps=60)
    assert 1e-3 < found.suggestion < 30 and found.losses.max() > 2 * found.losses.min()
    start = values(model)
    losses = []
    for rate in (found.suggestion, found.rates[-1]):
        model.set_weights(start)
        model.compile(optimizer=keras.optimizers.Adam(rate), **kt.objectives(model))
        losses.append(model.fit(dataset, epochs=5, verbose=0).history["loss"][-1])
    assert losses[0] < 0.9 < losses[1]


def test_the_steepest_fall_by_hand():
    rates = np.geomspace(1e-4, 1e0, 41)
    curve = 2 - 1 / (1 + np.exp(-8 * (np.log10(rates) + 2)))  # falls fastest at 1e-2
    found = LearningRates(rates, curve, 0.0).from_losses(rates, np.array([*curve]))
    assert found.suggestion == pytest.approx(10**-1.6, rel=0.5)  # the running mean lags by some steps
    assert np.allclose(smoothed([3.0, 3.0, 3.0]), 3.0) and smoothed([1.0, 2.0])[1] == pytest.approx((0.09 + 0.2) / 0.19)


def test_plot(model, dataset, tmp_path):
    pytest.importorskip("matplotlib")
    axes = kt.find_learning_rate(model, dataset, steps=15).plot(tmp_path / "rates.png")
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "learning rate" and len(axes.lines) == 2
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")


def test_a_loss_that_is_no_number_from_the_first_step_on(model):
    x, y = colour_task(8)
    bad = tf.data.Dataset.from_tensor_slices((x * np.nan, y)).batch(8)
    before = values(model)
    with pytest.raises(ValueError, match="The loss was not a number within the first steps"):
        kt.find_learning_rate(model, bad)
    assert all(np.array_equal(a, b) for a, b in zip(before, values(model)))


@pytest.mark.parametrize(
    "options, error",
    [
        ({"steps": 3}, "`steps` must be a whole number of at least 10"),
        ({"lowest": 1.0, "highest": 0.1}, "`lowest` must be over 0 and less than `highest`"),
    ],
)
def test_arguments_out_of_range(model, dataset, options, error):
    with pytest.raises(ValueError, match=error):
        kt.find_learning_rate(model, dataset, **options)


def test_a_schedule_is_refused(model, dataset):
    model.compile(
        optimizer=keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9)), **kt.objectives(model)
    )
    with pytest.raises(ValueError, match="learning rate is a schedule, which can't be moved. Compile with a number"):
        kt.find_learning_rate(model, dataset)


@pytest.mark.parametrize("fitted", [False, True])
def test_several_steps_in_one_call_change_nothing(small_backbone, dataset, fitted):
    found = []
    for steps in (1, 4):
        keras.utils.set_random_seed(2)
        model = kt.attach(small_backbone(), kt.heads.Classifier(3))
        model.compile(optimizer="adam", steps_per_execution=steps, **kt.objectives(model))
        if fitted:
            model.fit(dataset, verbose=0, shuffle=False)
        found.append(kt.find_learning_rate(model, dataset, steps=12))
        seen = []
        model.fit(dataset.repeat(), steps_per_epoch=8, verbose=0,
                  callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))])
        assert model.steps_per_execution == steps and len(seen) == 8 // steps
    assert np.allclose(found[0].rates, found[1].rates) and np.allclose(found[0].losses, found[1].losses, rtol=1e-3)


def test_an_optimizer_that_scales_the_loss_is_left_as_it_was(model, dataset):
    model.compile(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)), **kt.objectives(model))
    model.fit(dataset, verbose=0)
    before = [v.numpy() for v in model.optimizer.variables]
    kt.find_learning_rate(model, dataset, steps=10)
    assert len(model.optimizer.variables) == len(before)
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, model.optimizer.variables))


def test_a_learner_s_test_ends_as_that_of_a_plain_model(small_backbone):
    """At a rate that is far too high, and where the steps of the test don't reach a label of a head."""
    x, y = colour_task(64)
    rare = np.where(np.arange(64) < 60, -1, y)
    heads = {"colour": kt.heads.Classifier(3), "rare": kt.heads.Classifier(3)}
    learner = kt.MultiTask(kt.attach(small_backbone(), heads), kt.multitask.PCGrad())
    data = tf.data.Dataset.from_tensor_slices((x, {"colour": y, "rare": rare})).batch(4)
    assert len(kt.find_learning_rate(learner, data, steps=10).losses) == 10
    learner.compile(optimizer=keras.optimizers.SGD(), **kt.objectives(learner.model))
    found = kt.find_learning_rate(learner, data, lowest=1e-3, highest=1e30, steps=40)
    assert 3 <= len(found.losses) < 40 and np.isfinite(found.suggestion)
