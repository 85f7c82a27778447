"""The recipe: two phases, the best weights, one History; killed and resumed, bit for bit."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask.sharing.mmoe import MMoE
from keras_transfer.blocks import last_quarter
from keras_transfer.network import Network, trainable_flags
import saved_models
from support import colour_task, run_python, values


@pytest.fixture
def model(small_backbone):
    return kt.attach(small_backbone(), kt.heads.Classifier(3))


def sets(photo_folder, **options):
    train, valid, _ = kt.data.photos(photo_folder, size=16, batch_size=8, **options)
    return train, valid


def test_head_first_then_the_last_layers_and_it_learns(model, photo_folder):
    train, valid = sets(photo_folder)
    before = {w.path: w.numpy() for w in model.weights}
    start = model.get_layer("backbone").get_layer("block_3_conv").kernel
    moved = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            moved.append(not np.array_equal(before[start.path], start.numpy()))

    history = kt.fine_tune(
        model, train, valid, head_epochs=3, epochs=2, last="block_3", seed=1, verbose=0, callbacks=[Watch()]
    )
    assert moved == [False, False, False, True, True]
    assert history.history["phase"] == ["head"] * 3 + ["tune"] * 2 and history.epoch == [0, 1, 2, 3, 4]
    assert history.history["learning_rate"] == pytest.approx([1e-3] * 3 + [1e-4, 0.5e-4])
    assert set(history.history) == {"accuracy", "loss", "val_accuracy", "val_loss", "learning_rate", "phase"}
    assert history.history["loss"][-1] < history.history["loss"][0] and model.history is history
    still = [w.path for w in model.weights if np.array_equal(before[w.path], w.numpy())]
    assert {p.split("/")[0] for p in still} == {
        "block_1_conv",
        "block_1_bn",
        "block_2_conv",
        "block_2_bn",
        "block_3_bn",
    }


def test_it_learns_something_real(model, photo_folder):
    train, valid = sets(photo_folder)
    model.compile(optimizer=keras.optimizers.Adam(0.03), **kt.objectives(model))
    before = model.evaluate(valid, verbose=0, return_dict=True)["accuracy"]
    kt.fine_tune(model, train, valid, head_epochs=25, epochs=5, seed=1, verbose=0)
    assert model.evaluate(valid, verbose=0, return_dict=True)["accuracy"] >= max(0.7, before + 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("engine, tolerance", [("tensorflow", 1e-5), ("openvino", 1e-3)])
def test_features_give_the_same_losses_as_the_whole_model(engine, tolerance, small_backbone, photo_folder, capsys):
    histories = []
    for cache in (kt.Store(engine=engine), False):
        keras.utils.set_random_seed(2)
        model = kt.attach(small_backbone(), kt.heads.Classifier(3, dropout=0.3))
        train, valid = sets(photo_folder)
        histories.append(
            kt.fine_tune(
                model, train, valid, head_epochs=2, epochs=3, last="block_2", seed=4, verbose=0, cache=cache
            ).history
        )
    for name in ("loss", "val_loss", "accuracy"):
        assert histories[0][name] == pytest.approx(histories[1][name], rel=tolerance)
    assert max(np.diff(histories[0]["loss"])) != 0


def test_arrays_are_cached_too_and_shuffled_as_without(small_backbone, capsys):
    losses = []
    for cache in ("auto", False):
        keras.utils.set_random_seed(2)
        model = kt.attach(small_backbone(), kt.heads.Classifier(3))
        history = kt.fine_tune(
            model, colour_task(40), colour_task(16, seed=1), head_epochs=3, epochs=0, seed=4, cache=cache, verbose=2
        )
        losses.append(history.history["loss"] + history.history["val_loss"])
        assert ("computed once" in capsys.readouterr().out) == (cache == "auto")
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_what_is_cached_and_when(model, photo_folder, tmp_path, capsys):
    """"auto" leaves callbacks, augmentation and foreign data alone; a Store or True takes them all the same."""

    def said(train, **options):
        kt.fine_tune(model, train, head_epochs=1, epochs=0, verbose=2, **options)
        return "computed once" in capsys.readouterr().out

    train, _ = sets(photo_folder)
    augmented, _ = sets(photo_folder, augment=keras.layers.RandomFlip())
    foreign = train.map(lambda x, y: (x, y))
    fixed = tf.data.Dataset.from_tensor_slices(colour_task(20)).batch(8)
    assert said(train) and not said(train, callbacks=[keras.callbacks.Callback()])
    assert said(train, callbacks=[keras.callbacks.Callback()], cache=True) and not said(train, cache=False)
    unseeing, stopping = keras.callbacks.CSVLogger(tmp_path.parent / "log.csv"), keras.callbacks.EarlyStopping("loss")
    assert said(train, callbacks=[unseeing, stopping]) and not said(train, callbacks=[stopping, keras.callbacks.Callback()])
    assert not said(augmented) and said(augmented, cache=kt.Store(views=2))
    assert not said(fixed) and said(fixed, cache=True)
    with pytest.raises(ValueError, match="gives other elements in the next pass"):
        said(foreign, cache=True)
    with pytest.raises(ValueError, match='`cache` must be "auto", True, False or a kt.Store. Received: 3'):
        said(train, cache=3)
    assert said(train, directory=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.npz"]  # the features went when the run had ended


def test_callbacks_that_do_not_look_at_the_model_do_the_same_on_features(small_backbone, tmp_path):
    """Their early end, the weights they restore, the rates they set and what they log; `given` is one that may look."""
    def run(*given):
        keras.utils.set_random_seed(0)
        model, log = kt.attach(small_backbone(), kt.heads.Classifier(3)), tmp_path / "log.csv"
        model.compile(optimizer=keras.optimizers.SGD(0.5), **kt.objectives(model))
        callbacks = [keras.callbacks.EarlyStopping(patience=2, min_delta=9, restore_best_weights=True), keras.callbacks.CSVLogger(log),
                     keras.callbacks.ReduceLROnPlateau(patience=1, factor=0.3, min_delta=9), keras.callbacks.TerminateOnNaN()]
        history = kt.fine_tune(model, colour_task(40), (x, y), head_epochs=8, epochs=2, last="block_3", seed=4,
                               cache=cache, callbacks=[*callbacks, *given], verbose=0).history
        return history, model.get_weights(), [list(map(float, line.split(",")[:2])) for line in log.read_text().split()[1:]]

    (x, y), cache = colour_task(16, seed=1), kt.Store(engine="tensorflow")
    history, weights, logged = run()
    cache = False
    for given in ((), (keras.callbacks.Callback(),)):
        other, other_weights, other_logged = run(*given)
        assert history["learning_rate"] == other["learning_rate"] and history["phase"] == other["phase"]
        assert history["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4) and np.allclose(logged, other_logged, rtol=1e-4)
        for one, two in zip(weights, other_weights, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)
    assert history["phase"] == ["head"] * 3 + ["tune"] * 2 and history["learning_rate"][:3] == pytest.approx([0.5, 0.5 * 0.3, 0.5 * 0.09])
    assert [epoch for epoch, _ in logged] == list(range(len(history["loss"])))  # one log of both phases


@pytest.mark.parametrize("kind", [keras.Model, Network])
def test_a_loss_of_the_models_own_is_kept_in_both_phases(kind, small_backbone):
    class Tenfold(kind):
        def compute_loss(self, *args, **options):
            return 10 * super().compute_loss(*args, **options)

    x, y, found = *colour_task(20), []
    options = {"head_epochs": 1, "epochs": 1, "last": "block_3", "seed": 1, "verbose": 0}
    for make, cache in ((Tenfold, "auto"), (Tenfold, False), (kind, False)):
        keras.utils.set_random_seed(0)
        ours = kt.attach(small_backbone(), kt.heads.Classifier(3))
        model = make(ours.input, ours.output)
        model.compile("sgd", **kt.objectives(ours))
        before = model.get_weights()
        found.append(kt.fine_tune(model, (x, y), cache=cache, **options).history["loss"])
    assert found[0] == found[1] and found[0][0] > 3 * found[2][0]
    model = Tenfold(ours.input, ours.output)
    model.set_weights(before)
    for cache in (True, kt.Store(engine="tensorflow")):
        with pytest.raises(ValueError, match="The model has a method `compute_loss` of its own"):
            kt.fine_tune(model, (x, y), cache=cache, **options)
    assert all(map(np.array_equal, model.get_weights(), before))


def test_without_room_nothing_is_cached(model, photo_folder, monkeypatch, capsys):
    from keras_transfer.store import training

    monkeypatch.setattr(training, "room", lambda directory: 42 * 12 * 4 // 2)
    kt.fine_tune(model, sets(photo_folder)[0], head_epochs=1, epochs=0, verbose=2)
    said = capsys.readouterr().out
    assert "The features would take" in said and "computed once" not in said


def test_best_weights_of_all_epochs_are_in_and_evaluate_works(model, photo_folder):
    train, valid = sets(photo_folder)
    model.compile(optimizer=keras.optimizers.SGD(40.0), **kt.objectives(model))  # far too fast: it gets worse
    history = kt.fine_tune(model, train, valid, head_epochs=3, epochs=2, seed=1, verbose=0)
    losses = history.history["val_loss"]
    assert np.argmin(losses) < len(losses) - 1
    assert model.evaluate(valid, verbose=0)[0] == pytest.approx(min(losses), rel=1e-4)


def test_metrics_are_of_what_is_evaluated_alone(model, photo_folder):
    """Not also of the rows that the last phase counted, on features."""
    train, valid = sets(photo_folder)
    model.compile(optimizer=keras.optimizers.Adam(0.03), **kt.objectives(model))
    kt.fine_tune(model, train, valid, head_epochs=8, epochs=1, seed=1, verbose=0)
    for x, y in valid.take(1):
        right = np.mean(model.predict(x, verbose=0).argmax(-1) == y)
        assert model.evaluate(x, y, verbose=0)[1] == pytest.approx(right)


def test_a_phase_ends_after_five_epochs_without_a_better_loss(model, photo_folder):
    train, valid = sets(photo_folder)
    model.compile(optimizer=keras.optimizers.SGD(0.0), **kt.objectives(model))
    history = kt.fine_tune(model, train, valid, head_epochs=20, epochs=2, seed=1, verbose=0)
    assert history.history["phase"] == ["head"] * 6 + ["tune"] * 2
    stopping = keras.callbacks.EarlyStopping(patience=1)
    history = kt.fine_tune(model, train, valid, head_epochs=20, epochs=0, seed=1, verbose=0, callbacks=[stopping])
    assert history.history["phase"] == ["head"] * 2


def test_without_validation_nothing_ends_early_and_the_last_weights_stay(model):
    x, y = colour_task(24)
    history = kt.fine_tune(model, (x, y), head_epochs=8, epochs=1, seed=1, verbose=0)
    assert len(history.epoch) == 9 and "val_loss" not in history.history
    again = kt.fine_tune(model, (x, y, np.ones(24)), (x, y), head_epochs=0, epochs=1, verbose=0)
    assert again.history["phase"] == ["tune"]


def test_a_compiled_model_keeps_its_loss_metrics_and_optimizer(model):
    x, y = colour_task(16)
    model.compile(
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")],
    )
    history = kt.fine_tune(model, (x, y), head_epochs=1, epochs=1, seed=1, verbose=0)
    assert set(history.history) == {"loss", "top2", "learning_rate", "phase"}
    assert history.history["learning_rate"] == pytest.approx([0.05, 0.005])
    assert type(model.optimizer) is keras.optimizers.SGD and model.optimizer.momentum == 0.9


@pytest.mark.parametrize("between", [lambda model, path: model, lambda model, path: model.save(path) or kt.load(path)])
def test_a_second_call_begins_at_the_rate_of_the_first_and_with_its_moments(model, tmp_path, between):
    model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), **kt.objectives(model))
    for _ in range(2):
        history = kt.fine_tune(model, colour_task(16), head_epochs=1, epochs=5, seed=1, verbose=0).history
        assert history["learning_rate"][:2] == pytest.approx([0.05, 0.005])
        assert float(model.optimizer.learning_rate) == pytest.approx(0.05)
        assert all(v.numpy().any() for v in model.optimizer.variables if "momentum" in v.path)
        model = between(model, tmp_path / "model.keras")


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_the_scale_of_the_loss_is_kept(small_backbone, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = kt.attach(small_backbone(), kt.heads.Classifier(3))
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=8.0)
        model.compile(optimizer=scaled, **kt.objectives(model))
        kt.fine_tune(model, colour_task(8), head_epochs=1, epochs=1, seed=1, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.optimizer.initial_scale == float(model.optimizer.dynamic_scale.numpy()) == 8.0
    assert type(model.optimizer.inner_optimizer) is keras.optimizers.Adam


@pytest.mark.parametrize("wrap", [lambda model: model, kt.MultiTask])
def test_a_loss_that_is_not_to_be_scaled_is_not(small_backbone, wrap):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        learner = wrap(two_heads(small_backbone))
        learner.compile(optimizer=keras.optimizers.SGD(0.01), auto_scale_loss=False, **kt.objectives(learner))
        seen, x, y = [], *two_tasks(8)
        watch = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: seen.append(type(watch.model.optimizer).__name__))
        kt.fine_tune(learner, (x, y), head_epochs=1, epochs=1, seed=1, callbacks=[watch], verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert seen == ["SGD", "LayerwiseSGD"] and type(learner.optimizer) is keras.optimizers.SGD


def test_a_schedule_is_kept(model):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    model.compile(optimizer=keras.optimizers.SGD(schedule), **kt.objectives(model))
    history = kt.fine_tune(model, colour_task(8), head_epochs=1, epochs=1, seed=1, verbose=0)
    assert history.history["learning_rate"] == pytest.approx([0.05, 0.05])


def test_the_rate_of_the_second_phase_falls_along_half_a_cosine_unless_a_callback_sets_it(model):
    x, y = colour_task(8)
    rates = kt.fine_tune(model, (x, y), head_epochs=1, epochs=4, seed=1, verbose=0).history["learning_rate"]
    assert rates == pytest.approx([1e-3, 1e-4, 0.853553e-4, 0.5e-4, 0.146447e-4], rel=1e-4)
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1))
    rates = kt.fine_tune(model, (x, y), head_epochs=1, epochs=2, seed=1, verbose=0, callbacks=[scheduler]).history[
        "learning_rate"
    ]
    assert rates == pytest.approx([0.01, 0.005, 0.01 / 3])


def test_moments_of_the_head_are_kept_between_the_phases(model):
    seen = {}

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.note("begin")

        def on_train_end(self, logs=None):
            self.note("end")

        def note(self, when):
            seen.setdefault(when, []).append(
                [v.numpy() for v in self.model.optimizer.variables if "classifier" in v.path and "kernel" in v.path]
            )

    kt.fine_tune(model, colour_task(16), head_epochs=2, epochs=1, seed=1, verbose=0, callbacks=[Look()])
    assert len(seen["end"][0]) == 2 and all(
        np.array_equal(a, b) and a.any() for a, b in zip(seen["end"][0], seen["begin"][1])
    )


def test_a_metric_may_give_several_numbers(small_backbone, tmp_path):
    def run():
        head = kt.heads.MultiLabel(3, metrics=[keras.metrics.F1Score(threshold=0.5)])
        x, y = colour_task(8)
        data, rest = (x, np.eye(3, dtype="float32")[y]), {"seed": 1, "directory": tmp_path, "verbose": 0}
        return kt.fine_tune(kt.attach(small_backbone(), head), data, data, head_epochs=1, epochs=1, **rest).history

    history = run()
    assert np.shape(history["f1_score"]) == np.shape(history["val_f1_score"]) == (2, 3)
    assert run() == history  # ended, and restored


def test_metrics_of_a_phase_count_its_own_rows_only(model, photo_folder):
    """Accuracy is a whole number of rows of the training set, in the first epoch of the second phase too."""
    train, valid = sets(photo_folder)
    history = kt.fine_tune(model, train, valid, head_epochs=1, epochs=2, seed=1, verbose=0).history
    hits = np.array(history["accuracy"]) * len(kt.data.info(train).files)
    assert np.allclose(hits, np.round(hits), atol=1e-3)


def test_float16_goes_on_from_its_checkpoint(small_backbone, tmp_path):
    """The loss scale is part of it, and `find_learning_rate` adds nothing to the optimizer."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        runs = []
        for _ in range(2):
            keras.utils.set_random_seed(2)
            model = kt.attach(small_backbone(), kt.heads.Classifier(3))
            options = {"head_epochs": 2, "epochs": 1, "seed": 1, "verbose": 0, "directory": tmp_path}
            runs.append(kt.fine_tune(model, colour_task(16), **options))
    finally:
        keras.config.set_dtype_policy("float32")
    assert runs[0].history == runs[1].history and len(runs[0].epoch) == 3
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_weights_in_bfloat16_go_on_from_their_checkpoint(small_backbone, tmp_path):
    def run(directory, *callbacks):
        keras.config.set_dtype_policy("bfloat16")
        try:
            keras.utils.set_random_seed(2)
            model = kt.attach(small_backbone(), kt.heads.Classifier(3))
            data = tf.data.Dataset.from_tensor_slices(colour_task(16)).batch(8)
            kt.fine_tune(model, data, data, head_epochs=1, epochs=2, directory=directory, seed=1, callbacks=callbacks,
                         verbose=0)
        finally:
            keras.config.set_dtype_policy("float32")
        return values(model)

    expected = run(tmp_path / "whole")
    assert "bfloat16" in {a.dtype.name for a in expected}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Stop(2))
    for _ in range(2):  # at last it has ended, and is restored
        assert all(np.allclose(a.astype("f4"), b.astype("f4"), rtol=1e-2) for a, b in zip(expected, run(tmp_path / "stopped")))


def test_several_heads_with_missing_labels(small_backbone):
    x, y = colour_task(16)
    labels = {
        "colour": np.where(np.arange(16) % 2, y, -1),
        "light": np.where(np.arange(16) % 3, x.mean((1, 2, 3)), np.nan),
    }
    model = kt.attach(
        small_backbone(), {"colour": kt.heads.Classifier(3), "light": kt.heads.Regressor({"mean": 120.0, "std": 30.0})}
    )
    history = kt.fine_tune(model, (x, labels), (x, labels), head_epochs=2, epochs=1, seed=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all() and "val_light_mae" in history.history


def test_a_function_may_set_what_trains(model, photo_folder):
    train, _ = sets(photo_folder)
    norm = model.get_layer("backbone").get_layer("block_3_bn")
    before = norm.moving_mean.numpy(), model.get_layer("backbone").get_layer("block_2_bn").moving_mean.numpy()
    kt.fine_tune(
        model,
        train,
        head_epochs=1,
        epochs=1,
        seed=1,
        verbose=0,  # without validation the last weights stay
        last=lambda m: kt.unfreeze(m, "block_3", norms=True),
    )
    assert norm.trainable and not np.array_equal(norm.moving_mean.numpy(), before[0])
    assert np.array_equal(model.get_layer("backbone").get_layer("block_2_bn").moving_mean.numpy(), before[1])


def test_what_a_function_refuses_is_refused_before_training(model):
    x, y = np.ones((4, 16, 16, 3), "float32"), np.zeros(4, "int32")
    before = [w.numpy() for w in model.weights]
    with pytest.raises(ValueError, match="nolayer"):
        kt.fine_tune(model, (x, y), head_epochs=1, epochs=1, last=lambda m: kt.unfreeze(m, "nolayer"), verbose=0)
    assert all(np.array_equal(a, w.numpy()) for a, w in zip(before, model.weights))


@pytest.mark.parametrize("last", [None, lambda model: kt.unfreeze(model)])
def test_a_backbone_that_cannot_be_trained_is_refused_before_training(tmp_path, last):
    model = kt.attach(kt.backbone(f"hub:{saved_models.tf1_hub(tmp_path / 'model')}"), kt.heads.Classifier(3))
    kt.freeze(model)
    model.compile("sgd", **kt.objectives(model))
    data, before = (np.ones((8, 6), "float32"), np.arange(8) % 3), values(model)
    with pytest.raises(ValueError, match="Nothing in the SavedModel .* can be trained"):
        kt.fine_tune(model, data, head_epochs=1, epochs=1, last=last, cache=False, verbose=0)
    assert all(map(np.array_equal, before, values(model)))
    model.fit(*data, verbose=0)  # what was compiled for still trains
    assert kt.fine_tune(model, data, head_epochs=1, epochs=0, verbose=0).history["phase"] == ["head"]


def test_a_loss_that_is_nan_ends_the_run(model):
    x, y = colour_task(4)
    head = model.layers[-1]
    head.set_weights([np.full(w.shape, np.nan) for w in head.weights])
    with pytest.raises(ValueError, match="The loss is NaN or infinite after epoch 1.*find_learning_rate"):
        kt.fine_tune(model, (x, y), head_epochs=2, epochs=0, verbose=0)


def test_a_validation_loss_that_is_nan_ends_the_run_at_its_first_epoch(model):
    x, y = colour_task(8)
    bad = np.where(np.arange(8)[:, None, None, None] == 3, np.float32(np.nan), x)
    with pytest.raises(ValueError, match="The validation loss is NaN or infinite after epoch 1, so that no epoch is better"):
        kt.fine_tune(model, (x, y), (bad, y), head_epochs=3, epochs=0, cache=False, verbose=0)


def test_last_quarter_is_rounded_to_a_block(small_backbone):
    assert last_quarter(small_backbone()) == "block_3"
    mobile = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3))
    assert last_quarter(mobile) == "block_13"
    with pytest.raises(ValueError, match="No layer of the backbone has weights, so there is nothing to tune. .* epochs=0"):
        last_quarter(keras.Sequential([keras.Input((4,)), keras.layers.Rescaling(0.5)]))


@pytest.mark.parametrize(
    "options, kind, error",
    [
        ({"head_epochs": 0, "epochs": 0}, ValueError, "are both 0, so there is nothing to train"),
        ({"head_epochs": -1}, ValueError, "`head_epochs` must be a whole number of at least 0. Received: -1"),
        ({"last": "block_9"}, ValueError, "`last` names no layer or block of the backbone: 'block_9'"),
        ({"seed": 1.5}, ValueError, "`seed` must be a whole number"),
    ],
)
def test_arguments_out_of_range(model, options, kind, error):
    with pytest.raises(kind, match=error):
        kt.fine_tune(model, colour_task(8), verbose=0, **options)


def test_a_bare_backbone_is_refused(small_backbone):
    with pytest.raises(TypeError, match="`model` must be what `kt.attach` returned, with a layer named 'backbone'"):
        kt.fine_tune(small_backbone(), colour_task(8))


RUN = """if 1:
    import sys, hashlib, json, keras, numpy as np, keras_transfer as kt
    sys.path.insert(0, sys.argv[3])
    import conftest
    folder, directory = sys.argv[1:3]
    keras.utils.set_random_seed(0)
    model = kt.attach(conftest.small_backbone.__wrapped__()(), kt.heads.Classifier(3, dropout=0.2))
    augment = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)] if sys.argv[4] == "augment" else None
    train, valid, _ = kt.data.photos(folder, size=16, batch_size=8, augment=augment)
    history = kt.fine_tune(model, train, valid, head_epochs=3, epochs=3, last="block_2", directory=directory, seed=7,
                           deterministic=True, verbose=2)
    digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.weights)).hexdigest()
    print(json.dumps([digest, history.history["loss"], model.evaluate(valid, verbose=0)[0]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("augment, kills", [("augment", (3, 6)), ("plain", (3, 3, 5))])
def test_killed_anywhere_it_goes_on_to_the_same_bits(photo_folder, tmp_path, augment, kills):
    """Killed in both phases, against a run that was never killed; and ended, it is restored at once."""
    arguments = [photo_folder, tmp_path / "killed", os.path.dirname(__file__), augment]
    expected = run_python(RUN, photo_folder, tmp_path / "whole", *arguments[2:]).stdout.splitlines()[-1]
    for lines in kills:  # of output, after which the process is killed: phase, "Epoch", results
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    resumed = run_python(RUN, *arguments).stdout
    assert resumed.splitlines()[-1] == expected
    assert "from epoch" in resumed or "Phase 'head'" not in resumed
    assert len(json.loads(expected)[1]) == 6
    again = run_python(RUN, *arguments).stdout
    assert "Epoch" not in again and again.splitlines()[-1] == expected


@pytest.mark.slow
def test_the_control_another_seed_gives_other_bits(photo_folder, tmp_path):
    arguments = [tmp_path / "a", os.path.dirname(__file__), "plain"]
    first = run_python(RUN, photo_folder, *arguments).stdout.splitlines()[-1]
    other = run_python(
        RUN.replace("seed=7", "seed=8"), photo_folder, tmp_path / "b", *arguments[1:]
    ).stdout.splitlines()[-1]
    assert json.loads(first)[0] != json.loads(other)[0]


def test_two_runs_with_one_directory_the_second_is_refused_and_the_first_goes_on(small_backbone, tmp_path):
    other, said = kt.attach(small_backbone(), kt.heads.Classifier(3)), []

    def begin_another(epoch, logs):
        try:
            kt.fine_tune(other, colour_task(8), head_epochs=1, epochs=0, directory=tmp_path, seed=1, verbose=0)
        except RuntimeError as error:
            said.append(str(error))

    def in_a_thread(*args):
        thread = threading.Thread(target=begin_another, args=args)
        thread.start()
        thread.join()

    watch = keras.callbacks.LambdaCallback(on_epoch_end=in_a_thread)
    one = kt.attach(small_backbone(), kt.heads.Classifier(3))
    history = kt.fine_tune(one, colour_task(8), head_epochs=2, epochs=0, directory=tmp_path, seed=1, callbacks=[watch], verbose=0)
    assert len(said) == 2 and all("Another run uses" in each for each in said) and len(history.epoch) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_a_checkpoint_of_another_run_is_refused(small_backbone, photo_folder, tmp_path):
    train, valid = sets(photo_folder)
    kt.fine_tune(
        kt.attach(small_backbone(), kt.heads.Classifier(3)),
        train,
        valid,
        head_epochs=1,
        epochs=0,
        directory=tmp_path,
        seed=1,
        verbose=0,
    )
    model = kt.attach(small_backbone(), kt.heads.Classifier(3))
    with pytest.raises(
        ValueError, match="checkpoint.npz is of another run: seed was 1 and is 2. Give the same settings"
    ):
        kt.fine_tune(model, train, valid, head_epochs=1, epochs=0, directory=tmp_path, seed=2, verbose=0)


def test_numbers_of_numpy_are_kept_as_plain_ones(small_backbone, tmp_path):
    def run(whole, share):
        options = {"head_epochs": whole(1), "epochs": whole(1), "seed": whole(3), "last": share(0.5), "directory": tmp_path}
        model = kt.attach(small_backbone(), kt.heads.Classifier(3))
        return kt.fine_tune(model, colour_task(8), verbose=0, **options).history

    history = run(np.int64, np.float32)
    assert len(history["loss"]) == 2 and run(int, float) == history  # ended, and restored


def test_a_checkpoint_of_other_arrays_is_refused(small_backbone, tmp_path):
    (x, y), options = colour_task(8), {"head_epochs": 1, "epochs": 0, "directory": tmp_path, "seed": 1, "verbose": 0}

    def run(*data):
        return kt.fine_tune(kt.attach(small_backbone(), kt.heads.Classifier(3)), *data, **options).history

    history = run((x, y), (x, y))
    with pytest.raises(ValueError, match="is of another run: data was '.*' and is '[^;]*. Give the same settings"):
        run((x + 5, y), (x, y))
    with pytest.raises(ValueError, match="is of another run: validation was '.*' and is '[^;]*. Give the same settings"):
        run((x, y), (x, (y + 1) % 3))
    assert run((x.copy(), y), (x, y.copy())) == history


def test_a_folder_features_of_the_callers_own_stays(model, photo_folder, tmp_path):
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "mine.txt").write_text("kept")
    for _ in range(2):  # the second call finds the run finished
        kt.fine_tune(model, sets(photo_folder)[0], head_epochs=1, epochs=0, directory=tmp_path, seed=1, verbose=0)
    assert (tmp_path / "features" / "mine.txt").read_text() == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.npz", "features"]


def two_heads(small_backbone, **options):
    keras.utils.set_random_seed(2)
    light = kt.heads.Regressor({"mean": 120.0, "std": 30.0}, loss_weight=0.5)
    return kt.attach(small_backbone(), {"colour": kt.heads.Classifier(3), "light": light}, **options)


def two_tasks(count, seed=0):
    """Photos, their colours and how light they are; some labels of each are missing."""
    x, y = colour_task(count, seed)
    rows = np.arange(count)
    return x, {"colour": np.where(rows % 5, y, -1), "light": np.where(rows % 4, x.mean((1, 2, 3)), np.nan)}


METHODS = {
    "plain": lambda: (None, None),
    "uncertainty": lambda: (kt.multitask.Uncertainty(), None),
    "uncertainty at features": lambda: (kt.multitask.Uncertainty(), "features"),
    "pcgrad": lambda: (kt.multitask.PCGrad(), None),
    "pcgrad at features": lambda: (kt.multitask.PCGrad(), "features"),
    "gradnorm": lambda: (kt.multitask.GradNorm(), None),
    "random": lambda: (kt.multitask.RLW(), None),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_learner_trains_the_same_on_features_as_on_the_whole_model(small_backbone, method, capsys):
    found = []
    for cache in (kt.Store(engine="tensorflow"), False):
        model = two_heads(small_backbone)
        weighting, at = METHODS[method]()
        learner = kt.MultiTask(model, weighting, at=at)
        history = kt.fine_tune(learner, two_tasks(40), two_tasks(16, 1), head_epochs=2, epochs=3, last="block_3",
                               seed=4, cache=cache, verbose=2).history
        assert ("computed once" in capsys.readouterr().out) == bool(cache) and learner.weighting is weighting
        found.append((history, [w.numpy() for w in learner.weights]))
    (one, weights), (other, others) = found
    assert set(one) == set(other)
    for name in set(one) - {"phase"}:
        assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5, nan_ok=True), name
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert ("colour_weight" in one) == (method != "plain") and "val_light_mae" in one and len(one["loss"]) == 5
    if method == "gradnorm":  # nothing is shared that trains before the second phase
        assert one["colour_weight"][:2] == [1, 1] and one["colour_weight"][-1] != 1
    if method.startswith("uncertainty"):
        assert all(np.diff(one["light_weight"]) != 0)


def test_a_learner_without_a_weighting_trains_as_its_model_would(small_backbone):
    found = []
    for wrap, callbacks in ((lambda model: model, [keras.callbacks.Callback()]), (lambda model: model, []), (kt.MultiTask, [])):
        model = two_heads(small_backbone)
        trained = wrap(model)
        history = kt.fine_tune(trained, two_tasks(40), two_tasks(16, 1), head_epochs=2, epochs=2, seed=4, verbose=0,
                               callbacks=callbacks, cache=False)
        history = history.history
        found.append((history, [w.numpy() for w in model.weights]))
        assert trained.evaluate(*two_tasks(16, 1), verbose=0, return_dict=True) == pytest.approx(
            model.evaluate(*two_tasks(16, 1), verbose=0, return_dict=True))
    one, weights = found[0]
    for other, others in found[1:]:
        assert other == one
        assert all(np.array_equal(a, b) for a, b in zip(weights, others, strict=True))


@pytest.mark.parametrize("cache", ["auto", False])
@pytest.mark.parametrize("wrap", [lambda model: model, kt.MultiTask])
def test_a_head_whose_loss_is_nan_is_named_with_its_batch_before_a_weight_has_changed(small_backbone, wrap, cache):
    model = two_heads(small_backbone)
    x, y = two_tasks(64)
    y["light"][:] = np.where(np.isnan(y["light"]), 100.0, y["light"])
    y["light"][40] = np.inf
    before = [w.numpy() for w in model.weights]
    with pytest.raises(ValueError, match="The loss of task 'light' is NaN or infinite in batch [12] of epoch 1. No weight was "
                                         "trained by that step."):
        kt.fine_tune(wrap(model), (x, y), head_epochs=1, epochs=1, seed=1, cache=cache, verbose=0)
    same = [np.array_equal(a, w.numpy()) for a, w in zip(before, model.weights, strict=True)]
    assert sum(same) >= len(same) - 4 and all(np.all(np.isfinite(w.numpy())) for w in model.weights)


def test_with_callbacks_the_head_is_named_after_the_epoch(small_backbone):
    model = two_heads(small_backbone)
    x, y = two_tasks(16)
    y["light"][3] = np.inf
    with pytest.raises(ValueError, match="The loss of head 'light' is NaN or infinite after epoch 1"):
        kt.fine_tune(model, (x, y), head_epochs=1, epochs=0, callbacks=[keras.callbacks.Callback()], verbose=0)


def test_callbacks_see_the_plain_model_of_several_heads(small_backbone):
    model, seen = two_heads(small_backbone), []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(watch.model))
    kt.fine_tune(model, two_tasks(16), head_epochs=1, epochs=1, callbacks=[watch], verbose=0)
    assert len(seen) == 2 and all(one is model for one in seen)


def test_a_learner_and_its_model_are_trained_on_return(small_backbone, tmp_path):
    model = two_heads(small_backbone)
    learner = kt.MultiTask(model, kt.multitask.Uncertainty())
    learner.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), **kt.objectives(model))
    x, y = two_tasks(16, 1)
    history = kt.fine_tune(learner, two_tasks(40), two_tasks(16, 1), head_epochs=2, epochs=1, seed=1, verbose=0)
    assert history.history["learning_rate"] == pytest.approx([0.05, 0.05, 0.005])
    assert type(learner.optimizer) is type(model.optimizer) is keras.optimizers.SGD
    assert [float(one.optimizer.learning_rate) for one in (learner, model)] == pytest.approx([0.05, 0.05])
    scores = [one.evaluate(x, y, verbose=0, return_dict=True) for one in (learner, model)]
    assert scores[0] == pytest.approx(scores[1])
    right = (model.predict(x, verbose=0)["colour"].argmax(-1) == y["colour"])[y["colour"] >= 0]
    assert scores[1]["colour_accuracy"] == pytest.approx(right.mean())
    assert scores[0]["loss"] == pytest.approx(min(history.history["val_loss"]), rel=1e-4)
    assert learner.history is model.history is history
    model.save(tmp_path / "model.keras")
    loaded = kt.load(tmp_path / "model.keras")
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables) < len(learner.optimizer.variables)
    for one in (model, learner):  # compiled for what trains now
        one.fit(*two_tasks(8), epochs=1, verbose=0)


class Stop(keras.callbacks.Callback):
    """Ends the process's run after so many epochs, as a kill would."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epochs:
            raise KeyboardInterrupt


class StopAtTheEnd(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("wrap", [lambda model: model, kt.MultiTask])
def test_stopped_in_its_second_phase_and_called_again_it_begins_with_what_was_compiled(small_backbone, tmp_path, wrap, kept):
    def compiled():
        learner = wrap(two_heads(small_backbone))
        learner.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), **kt.objectives(learner))
        return learner

    def run(learner, directory, callbacks=()):
        options = {"head_epochs": 1, "epochs": 4, "last": "block_3", "seed": 1, "cache": False, "verbose": 0}
        data = tf.data.Dataset.from_tensor_slices(two_tasks(16)).batch(8)
        return kt.fine_tune(learner, data, directory=directory if kept else None, callbacks=callbacks, **options).history

    expected, learner = run(compiled(), tmp_path / "whole"), compiled()
    with pytest.raises(KeyboardInterrupt):
        run(learner, tmp_path / "stopped", [Stop(4)])
    assert type(learner.optimizer) is keras.optimizers.SGD and float(learner.optimizer.learning_rate) == pytest.approx(0.05)
    learner.fit(*two_tasks(8), verbose=0)
    again = run(learner, tmp_path / "stopped")
    assert again["learning_rate"] == expected["learning_rate"] and again["learning_rate"][1] == pytest.approx(0.005)
    assert again["loss"] == pytest.approx(expected["loss"], rel=1e-5) if kept else again["loss"][0] < expected["loss"][0]
    assert float(learner.optimizer.learning_rate) == pytest.approx(0.05)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("when", ["before fit returns", "after it"])
def test_killed_between_the_phases_it_goes_on_from_what_the_first_one_ended_with(small_backbone, tmp_path, when, cache):
    """The end of `fit` puts averages in the place of the weights."""

    def run(directory, callbacks=(), interrupted=False):
        keras.utils.set_random_seed(2)
        model = kt.attach(small_backbone(), kt.heads.Classifier(3))
        model.compile(optimizer=keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9), **kt.objectives(model))
        begun = values(model)

        def last(model):
            kt.unfreeze(model, "block_3")
            if interrupted and not all(map(np.array_equal, begun, values(model))):
                raise KeyboardInterrupt

        options = {"head_epochs": 2, "epochs": 1, "last": last, "directory": directory, "seed": 1, "cache": cache}
        history = kt.fine_tune(model, colour_task(64), callbacks=callbacks, verbose=0, **options)
        return history.history, values(model)

    expected, weights = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", *([[StopAtTheEnd()]] if when == "before fit returns" else [(), True]))
    history, again = run(tmp_path / "killed")
    assert history["phase"] == ["head", "head", "tune"] and history["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(weights, again, strict=True))


@pytest.mark.parametrize(
    "method, stopped", [("uncertainty", 1), ("pcgrad at features", 3), ("gradnorm", 4), ("random", 3)]
)
def test_a_learner_that_was_stopped_goes_on_to_the_same_result(small_backbone, photo_folder, tmp_path, method, stopped):
    """Also the state of its weighting, and what it draws."""

    def run(directory, *callbacks):
        model = two_heads(small_backbone)
        weighting, at = METHODS[method]()
        learner = kt.MultiTask(model, weighting, at=at)
        data = tf.data.Dataset.from_tensor_slices(two_tasks(24)).batch(8)
        history = kt.fine_tune(learner, data, head_epochs=2, epochs=3, last="block_3", directory=directory, seed=4,
                               verbose=0, callbacks=callbacks)
        return history.history, [w.numpy() for w in learner.weights]

    expected, weights = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Stop(stopped))
    history, again = run(tmp_path / "stopped")
    for name in set(expected) - {"phase"}:
        assert history[name] == pytest.approx(expected[name], rel=1e-5), name
    assert len(set(history["colour_weight"])) > 1 or method == "pcgrad at features"
    assert all(np.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(weights, again, strict=True))
    assert run(tmp_path / "stopped")[0]["loss"] == history["loss"]  # ended, and restored


@pytest.mark.parametrize("method, stopped", [(None, 2), (None, 4), (None, 5), ("pcgrad", 2), ("pcgrad", 5)])
def test_gradual_unfreezing_that_was_stopped_goes_on_to_the_same_result(small_backbone, tmp_path, method, stopped):
    """Its optimizer is of the whole backbone; a stage begins in the first phase and holds where the second one begins."""

    def run(directory, *callbacks):
        model = two_heads(small_backbone)
        learner = model if method is None else kt.MultiTask(model, METHODS[method]()[0])
        learner.compile(keras.optimizers.Adam(0.01), **kt.objectives(model))
        data = tf.data.Dataset.from_tensor_slices(two_tasks(24)).batch(8)
        stages = kt.GradualUnfreezing({1: "block_3", 5: "block_2"})
        history = kt.fine_tune(learner, data, head_epochs=3, epochs=3, directory=directory, seed=4, verbose=0,
                               callbacks=[stages, *callbacks])
        return history.history, values(learner), trainable_flags(model)

    expected, weights, flags = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Stop(stopped))
    for _ in range(2):  # at last it has ended, and is restored
        history, again, same = run(tmp_path / "stopped")
        assert history["loss"] == pytest.approx(expected["loss"], rel=1e-5) and same == flags
        assert all(np.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(weights, again, strict=True))


def test_gradual_unfreezing_stopped_after_its_last_epoch_leaves_the_flags_of_its_stage(small_backbone, tmp_path):
    for callbacks in ([StopAtTheEnd()], []):
        model = two_heads(small_backbone)
        ending = pytest.raises(KeyboardInterrupt) if callbacks else contextlib.nullcontext()
        with ending:
            kt.fine_tune(model, two_tasks(8), head_epochs=0, epochs=2, directory=tmp_path, seed=4, verbose=0,
                         callbacks=[kt.GradualUnfreezing({1: "block_2"}), *callbacks])
    trained = {layer.name for layer in model.get_layer("backbone").layers if layer.weights and layer.trainable}
    assert trained == {"block_2_conv", "block_3_conv"}


def test_a_checkpoint_of_another_weighting_is_refused(small_backbone, tmp_path):
    options = {"head_epochs": 1, "epochs": 0, "seed": 1, "directory": tmp_path, "verbose": 0}
    kt.fine_tune(kt.MultiTask(two_heads(small_backbone), kt.multitask.PCGrad(), at="features"), two_tasks(8), **options)
    said = r"weighting was \"PCGrad\(seed=None\) at 'features'\" and is 'Uncertainty\(\)'"
    with pytest.raises(ValueError, match=said):
        kt.fine_tune(kt.MultiTask(two_heads(small_backbone), kt.multitask.Uncertainty()), two_tasks(8), **options)
    with pytest.raises(ValueError, match="weighting was .* and is None"):
        kt.fine_tune(two_heads(small_backbone), two_tasks(8), **options)


def test_a_method_that_keeps_gradients_wants_the_variables_it_was_made_for(small_backbone):
    model = two_heads(small_backbone)
    kt.unfreeze(model, "block_3")
    learner = kt.MultiTask(model, kt.multitask.DBMTL())
    said = ("DBMTL keeps gradients of the 2 shared variables that trained when the learner was made, but 4 train in the "
            "phase 'tune', or others. Make the learner after ")
    with pytest.raises(ValueError, match=said):
        kt.fine_tune(learner, two_tasks(8), head_epochs=1, epochs=1, last="block_2", verbose=0)
    history = kt.fine_tune(learner, two_tasks(24), head_epochs=1, epochs=2, last="block_3", seed=1, verbose=0).history
    assert any(learner.weighting.means[0].numpy().any(axis=(1, 2, 3, 4)))
    assert history["colour_weight"][0] == 1 and np.isnan(history["colour_weight"][1:]).all()  # it has no weights
    assert len(history["phase"]) == len(history["colour_weight"]) == 3


def test_a_learner_of_a_sharing_layer_weighs_in_both_phases(small_backbone):
    model = two_heads(small_backbone, sharing=MMoE(experts=2))
    learner = kt.MultiTask(model, kt.multitask.GradNorm(), at="features")
    history = kt.fine_tune(learner, two_tasks(24), head_epochs=2, epochs=1, last="block_3", seed=1, verbose=0).history
    assert all(w != 1 for w in history["colour_weight"][1:])


def test_callbacks_are_taken_as_fit_takes_them(model):
    x, y = colour_task(16)
    for callbacks, epochs in ((None, 3), (keras.callbacks.EarlyStopping("loss", patience=0, mode="max"), 1), ([], 3)):
        history = kt.fine_tune(model, (x, y), head_epochs=3, epochs=0, seed=1, callbacks=callbacks, verbose=0)
        assert (len(history.epoch) == 3) == (epochs == 3)


def test_data_without_an_end_are_refused(model):
    class Endless(keras.utils.PyDataset):
        num_batches = None

        def __getitem__(self, index):
            return colour_task(8)

    once = tf.data.Dataset.from_tensor_slices(colour_task(8)).batch(4)
    for endless in (once.repeat(), Endless()):
        for argument, pair in (("train", (endless, once)), ("validation", (once, endless))):
            with pytest.raises(ValueError, match=f"`{argument}` has no end"):
                kt.fine_tune(model, *pair, verbose=0)


@pytest.mark.parametrize("cache", [True, kt.Store()])
def test_features_of_what_is_unfrozen_later_are_refused_before_they_are_computed(model, cache, monkeypatch):
    monkeypatch.setattr("keras_transfer.recipe.Phases", None)
    with pytest.raises(ValueError, match="GradualUnfreezing trains in the end what the features would be computed from"):
        kt.fine_tune(model, colour_task(8), cache=cache, callbacks=[kt.GradualUnfreezing({1: "block_3"})], verbose=0)


def test_a_learner_may_have_a_metric_that_does_not_tell_how_it_is_made(small_backbone):
    class Seen(keras.metrics.Metric):
        def __init__(self, at_once, name="seen"):
            super().__init__(name=name)
            self.rows = self.add_variable((at_once,), "zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.rows.assign_add([keras.ops.cast(keras.ops.shape(y_pred)[0], "float32")])

        def result(self):
            return self.rows[0]

    model, (x, y) = two_heads(small_backbone), two_tasks(16)
    learner = kt.MultiTask(model, kt.multitask.PCGrad())
    learner.compile(optimizer="adam", **{**kt.objectives(model), "metrics": {"colour": [Seen(1)]}})
    history = kt.fine_tune(learner, (x, y), head_epochs=1, epochs=1, verbose=0)
    assert history.history["colour_seen"] == [16, 16]
    assert model.evaluate(x, y, verbose=0, return_dict=True)["colour_seen"] == 16


def test_batches_of_a_pydataset_come_in_another_order_in_each_epoch(model):
    x, y = colour_task(64)
    order, drawn = np.argsort(y, kind="stable"), []

    class Sorted(keras.utils.PyDataset):
        def __len__(self):
            return 16

        def __getitem__(self, index):
            drawn.append(index)
            rows = order[4 * index:4 * index + 4]
            return x[rows], y[rows]

    kt.fine_tune(model, Sorted(), head_epochs=3, epochs=0, seed=1, verbose=0)
    epochs = [drawn[k:k + 16] for k in range(len(drawn) - 48, len(drawn), 16)]
    assert all(sorted(epoch) == list(range(16)) for epoch in epochs) and len(set(map(tuple, epochs))) == 3
    features, _ = kt.cache_features(model, Sorted(), verbose=0)
    assert np.array_equal(np.concatenate([labels for _, labels in features]), y[order])  # these stay in order, unless asked for


def test_backups_of_keras_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="BackupAndRestore counts the epochs of one `fit`.*give a `directory`"):
        kt.fine_tune(model, colour_task(8), callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")], verbose=0)


class Slower(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.01 / (1.0 + keras.ops.cast(step, "float32"))


@pytest.mark.parametrize("optimizer, error", [
    (lambda: keras.optimizers.Adam(Slower()), "No other optimizer like Adam can be made from its config .*needs a `get_config`"),
    (lambda: keras.optimizers.Adam(lambda: 1e-3), "No other optimizer like Adam can be made from its config"),
    (lambda: keras.optimizers.MultiOptimizer([]), "The optimizer is a MultiOptimizer, which has several rates"),
], ids=["schedule", "function", "several"])
def test_optimizers_that_no_other_can_be_made_of_are_refused_before_training(model, optimizer, error):
    model.compile(optimizer=optimizer(), **kt.objectives(model))
    before = model.get_weights()
    with pytest.raises(ValueError, match=error):
        kt.fine_tune(model, colour_task(8), head_epochs=1, epochs=0, verbose=0)
    assert all(map(np.array_equal, model.get_weights(), before))
