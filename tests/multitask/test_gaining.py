import keras
import numpy as np
import pytest
import tensorflow as tf
from support import values

import keras_transfer as kt
from keras_transfer.multitask import gaining
from keras_transfer.multitask.gaining import Gain, baselines, gain, single_task
from keras_transfer.multitask.sharing.mmoe import MMoE


def dense(width=6, activation="tanh", inputs=4):
    x = numbers = keras.Input((inputs,), name="numbers")
    x = keras.layers.Dense(width, activation=activation, name="block_1_dense")(x)
    return keras.Model(numbers, x, name="dense")


def two_heads(**options):
    return kt.attach(dense(), {"kind": kt.heads.Classifier(3), "size": kt.heads.Regressor()}, **options)


def rows(count=48, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4)).astype("float32")
    size = x @ np.array([1.0, -2.0, 0.5, 0.0]) + 0.5 * random.normal(size=count)
    return x, {"kind": x[:, :3].argmax(-1).astype("int32"), "size": size.astype("float32")}


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays or rows()).batch(16)


def test_a_model_against_its_own_figures_gains_nothing():
    model, data = two_heads(), dataset()
    model.compile(optimizer="sgd", **kt.objectives(model))
    logs = model.evaluate(data, return_dict=True, verbose=0)
    own = {"kind": {"accuracy": logs["kind_accuracy"]}, "size": {"mae": logs["size_mae"]}}
    found = gain(model, own, data)
    assert found.mean == 0 and found.by_task == {"kind": 0, "size": 0} and found.results == own
    halved = gain(model, {**own, "size": {"mae": logs["size_mae"] / 2}}, data)
    assert halved.by_task == {"kind": 0, "size": -1} and halved.lost == ["size"]


def test_a_learner_its_model_and_arrays_give_the_same():
    model, data = two_heads(), dataset()
    learner = kt.MultiTask(model, kt.multitask.Equal())
    learner.compile(optimizer="sgd", **kt.objectives(model))
    base = {"kind": {"accuracy": 0.5}, "size": {"mae": 1.0}}
    first = gain(learner, base, data)
    assert not model.compiled  # and so the metrics of its heads are taken
    for model, data in [(model, data), (learner, rows()), (model, rows())]:
        assert gain(model, base, data).by_task == pytest.approx(first.by_task, rel=1e-5)
    assert not learner.model.compiled


def test_a_task_without_labels_to_measure_on_is_no_perfect_one():
    model, (x, y) = two_heads(), rows()
    none = x, {**y, "size": np.full(len(x), np.nan, "float32")}
    base, said = {"kind": {"accuracy": 0.5}, "size": {"mae": 1.0}}, "All labels of `{}` for head 'size' are missing."
    with pytest.raises(ValueError, match=said.format("dataset")):
        gain(model, base, none)
    assert gain(model, {"kind": {"accuracy": 0.5}}, none).by_task.keys() == {"kind"}
    with pytest.raises(ValueError, match=said.format("validation")):
        baselines(model, (x, y), none, epochs=1)
    learner = kt.MultiTask(model)
    learner.compile(**kt.objectives(model))
    with pytest.raises(ValueError, match=said.format("validation_data")):
        learner.fit(x, y, validation_data=none, callbacks=[Gain(base)], verbose=0)
    with pytest.raises(ValueError, match=said.format("validation")):
        kt.fine_tune(model, (x, y), none, head_epochs=1, epochs=0, callbacks=[Gain(base)], verbose=0)
    assert learner.fit(x, y, validation_data=none, callbacks=[Gain({"kind": {"accuracy": 0.5}})], verbose=0).epoch == [0]


def test_figures_must_be_numbers():
    for value in ("0.5", None, True):
        with pytest.raises(ValueError, match="Each value of `baselines` must be a number. Received: "):
            Gain({"kind": {"accuracy": value}})


def test_a_metric_that_the_model_lacks_is_told():
    model = two_heads()
    with pytest.raises(ValueError, match="Unknown metric 'size_rmse'. Did you mean 'size_mae'"):
        gain(model, {"size": {"rmse": 1.0}}, dataset())


class _Script(keras.callbacks.Callback):
    """Before the k-th epoch every weight becomes 0, and the bias of "size" the k-th value."""

    def __init__(self, network, biases):
        super().__init__()
        self.network, self.biases = network, biases

    def on_epoch_begin(self, epoch, logs=None):
        for weight in self.network.weights:
            weight.assign(tf.zeros(weight.shape))
        self.network.get_layer("size").weights[-1].assign([self.biases[epoch]])


@pytest.mark.parametrize("learns", [True, False])
def test_early_stopping_and_checkpoints_watch_the_gain_and_find_the_known_best_epoch(tmp_path, learns):
    x, labels = rows()
    labels = {"kind": np.zeros(48, "int32"), "size": np.zeros(48, "float32")}
    model = two_heads()
    trained = kt.MultiTask(model, kt.multitask.Equal()) if learns else model
    trained.compile(optimizer=keras.optimizers.SGD(0.0), **kt.objectives(model))
    path, watched = str(tmp_path / "best.weights.h5"), {"monitor": "val_multitask_gain", "mode": "max"}
    callbacks = [
        _Script(model, [3.0, 1.0, 2.0, 5.0, 0.0]),
        Gain({"kind": {"accuracy": 0.8}, "size": {"mae": 2.0}}),
        keras.callbacks.EarlyStopping(**watched, patience=2, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(path, **watched, save_best_only=True, save_weights_only=True),
    ]
    data = dataset(x, labels)
    history = trained.fit(data, validation_data=data, epochs=5, verbose=0, callbacks=callbacks).history
    # accuracy 1 (of equal logits the first wins) is 25 % over 0.8; mae 3, 1, 2, 5 is -50, 50, 0, -150 % better than 2
    assert history["val_multitask_gain"] == pytest.approx([(0.25 + g) / 2 for g in (-0.5, 0.5, 0.0, -1.5)], rel=1e-5)
    assert model.get_layer("size").weights[-1].numpy() == [1.0]  # stopped in the fourth epoch, back to the second
    model.get_layer("size").weights[-1].assign([9.0])
    trained.load_weights(path)
    assert model.get_layer("size").weights[-1].numpy() == [1.0]


def test_the_callback_agrees_with_the_function():
    model, data, base = two_heads(), dataset(), {"kind": {"accuracy": 0.4}, "size": {"mae": 1.5}}
    model.compile(optimizer="adam", **kt.objectives(model))
    history = model.fit(data, validation_data=data, epochs=2, verbose=0, callbacks=[Gain(base)]).history
    assert history["val_multitask_gain"][-1] == pytest.approx(gain(model, base, data).mean, rel=1e-5)
    assert history["val_multitask_gain"][0] != history["val_multitask_gain"][1]


def test_fine_tune_has_it_in_its_history_and_early_stopping_sees_it():
    model, data, base = two_heads(), dataset(), {"kind": {"accuracy": 0.4}, "size": {"mae": 1.5}}
    stop = keras.callbacks.EarlyStopping("val_multitask_gain", mode="max", patience=1, min_delta=100.0)
    learner = kt.MultiTask(model, kt.multitask.Equal())
    history = kt.fine_tune(learner, data, data, head_epochs=5, epochs=0, verbose=0, callbacks=[Gain(base), stop]).history
    assert len(history["val_multitask_gain"]) == 2 and np.all(np.isfinite(history["val_multitask_gain"]))
    assert history["val_multitask_gain"][-1] == pytest.approx(gain(model, base, data).mean, rel=1e-5)


def test_it_costs_no_second_evaluation():
    model, counted = two_heads(), []
    model.compile(optimizer="sgd", **kt.objectives(model))
    data = dataset().map(lambda x, y: (tf.numpy_function(lambda v: counted.append(1) or v, [x], tf.float32), y))
    data = data.map(lambda x, y: (tf.ensure_shape(x, (None, 4)), y))
    model.fit(dataset(), validation_data=data, epochs=1, verbose=0, callbacks=[Gain({"size": {"mae": 1.0}})])
    assert len(counted) == 3  # batches of one pass


def test_without_validation_it_says_so():
    model = two_heads()
    model.compile(optimizer="sgd", **kt.objectives(model))
    with pytest.raises(ValueError, match="Gain compares figures of validation, and this epoch had none. Give"):
        model.fit(dataset(), epochs=1, verbose=0, callbacks=[Gain({"size": {"mae": 1.0}})])


@pytest.mark.parametrize(
    "base, error",
    [
        ({"siz": {"mae": 1.0}}, "Unknown task of `baselines` 'siz'. Did you mean 'size'?"),
        ({"size": {"rmse": 1.0}}, "Unknown metric 'val_size_rmse'. Did you mean 'val_size_mae'"),
    ],
)
def test_names_that_fit_does_not_know(base, error):
    model = two_heads()
    model.compile(optimizer="sgd", **kt.objectives(model))
    with pytest.raises(ValueError) as raised:
        model.fit(dataset(), validation_data=dataset(), epochs=1, verbose=0, callbacks=[Gain(base)])
    assert error in str(raised.value)


def test_what_is_wrong_with_baselines_is_told_before_any_training():
    with pytest.raises(ValueError, match="Nothing is known of the metric 'kappa'"):
        Gain({"kind": {"kappa": 0.3}})
    assert Gain({"kind": {"kappa": 0.3}}, modes={"kappa": "max"}).baselines == {"kind": {"kappa": 0.3}}
    with pytest.raises(ValueError, match="The single-task mae of task 'size' is 0"):
        Gain({"size": {"mae": 0.0}})


def test_early_stopping_asks_for_its_mode():
    """What the documentation says: without `mode="max"` Keras raises, so nothing is minimized by mistake."""
    model = two_heads()
    model.compile(optimizer="sgd", **kt.objectives(model))
    callbacks = [Gain({"size": {"mae": 1.0}}), keras.callbacks.EarlyStopping("val_multitask_gain")]
    with pytest.raises(ValueError, match="Pass `mode='max'`"):
        model.fit(dataset(), validation_data=dataset(), epochs=1, verbose=0, callbacks=callbacks)


def test_baselines_reach_the_least_squares_of_frozen_features():
    model, (x, labels) = two_heads(), rows()
    kt.freeze(model)
    found = baselines(model, dataset(), dataset(), epochs=30, optimizer=keras.optimizers.Adam(0.2), tasks=["size"])
    features = np.c_[model.get_layer("backbone").predict(x, verbose=0), np.ones(48)]
    solution = np.linalg.lstsq(features, labels["size"], rcond=None)[0]
    assert found == {"size": {"mae": pytest.approx(np.abs(features @ solution - labels["size"]).mean(), rel=0.05)}}


def test_features_are_computed_once_for_all_heads(monkeypatch):
    calls, cached = [], gaining.cache_features
    monkeypatch.setattr(gaining, "cache_features", lambda *a, **o: calls.append(a[1]) or cached(*a, **o))
    heads = {"a": kt.heads.Regressor(), "b": kt.heads.Regressor(), "c": kt.heads.Regressor()}
    model = kt.attach(dense(), heads)
    kt.freeze(model)
    x, labels = rows()
    data, valid = (dataset(x, dict.fromkeys("abc", labels["size"])) for _ in range(2))
    assert list(baselines(model, data, valid, epochs=1)) == ["a", "b", "c"]
    assert len(calls) == 2 and calls[0] is data and calls[1] is valid


def test_a_model_that_trains_in_a_way_of_its_own_has_baselines_without_features(monkeypatch):
    monkeypatch.delattr(gaining, "cache_features")
    model = two_heads()
    kt.freeze(model)
    own = type("Own", (keras.Model,), {"train_step": lambda self, data: keras.Model.train_step(self, data)})
    assert set(baselines(own(model.input, model.output), dataset(), epochs=1)) == {"kind", "size"}


@pytest.mark.parametrize("frozen", [True, False])
def test_the_model_and_its_heads_stay_as_they_are_and_pass_nothing_on(frozen):
    model, (x, labels) = two_heads(), rows()
    if frozen:
        kt.freeze(model)
    model.compile(optimizer=keras.optimizers.Adam(0.1), **kt.objectives(model))
    model.fit(x, labels, epochs=15, verbose=0)
    before = values(model)
    trained = model.evaluate(x, labels, return_dict=True, verbose=0)["size_mae"]
    still = baselines(model, (x, labels), epochs=1, optimizer=keras.optimizers.SGD(0.0))
    assert still["size"]["mae"] > 1.2 * trained  # the head began anew
    assert model.optimizer.iterations > 0 and all(np.array_equal(a, b) for a, b in zip(before, values(model)))
    learnt = baselines(model, (x, labels), epochs=10, optimizer=keras.optimizers.Adam(0.1))
    assert learnt["size"]["mae"] < still["size"]["mae"]
    assert all(np.array_equal(a, b) for a, b in zip(before, values(model)))


def test_the_epoch_with_the_lowest_validation_loss_is_measured():
    """With a rate that diverges at once, the first epoch is the best; without validation the last one is measured."""
    model, (x, labels) = two_heads(), rows()
    kt.freeze(model)
    options = {"epochs": 8, "optimizer": keras.optimizers.SGD(3.0), "tasks": ["size"]}
    best = baselines(model, (x, labels), (x, labels), **options)["size"]["mae"]
    assert best < 0.01 * baselines(model, (x, labels), **options)["size"]["mae"]


def test_labels_that_are_missing_for_one_task_and_sample_weights():
    model, (x, labels) = two_heads(), rows()
    kt.freeze(model)
    labels["kind"][::2] = -1
    data = dataset(x, labels, {"kind": np.ones(48, "float32"), "size": np.ones(48, "float32")})
    found = baselines(model, data, epochs=12, optimizer=keras.optimizers.Adam(0.2), tasks=["kind"])
    assert found["kind"]["accuracy"] > 0.6


def test_layers_of_the_backbone_may_have_the_names_of_those_around_it():
    x = inputs = keras.Input((4,))
    for name in ("block_1_dense", "features", "block_3_dense"):
        x = keras.layers.Dense(4, name=name)(x)
    model = kt.attach(keras.Model(inputs, x), {"kind": kt.heads.Classifier(3), "size": kt.heads.Regressor()})
    kt.unfreeze(model, "features")
    before = values(model)
    found = baselines(model, dataset(), epochs=12, optimizer=keras.optimizers.Adam(0.05))
    assert found["kind"]["accuracy"] > 0.6 and all(map(np.array_equal, before, values(model)))


def test_single_task_shares_no_variable_and_keeps_backbone_and_flags():
    model = two_heads(sharing=MMoE(experts=2))
    kt.freeze(model)
    alone = single_task(model, "size")
    assert not {id(v) for v in alone.variables} & {id(v) for v in model.variables}
    both = [values(network.get_layer("backbone")) for network in (alone, model)]
    assert all(np.array_equal(a, b) for a, b in zip(*both, strict=True))
    assert not np.array_equal(values(alone.get_layer("size"))[0], values(model.get_layer("size"))[0])
    assert alone.get_layer("backbone").trainable_weights == [] and alone.get_layer("size").trainable_weights
    alone.compile(optimizer="sgd", **kt.objectives(alone))
    x, labels = rows()
    logs = alone.evaluate(x, {"size": labels["size"]}, return_dict=True, verbose=0)
    assert list(logs) == ["loss", "mae"]
    kt.unfreeze(model)
    assert single_task(model, "size").get_layer("backbone").trainable_weights


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda m: baselines(m, rows(), epochs=1, tasks=["sizes"]), "Unknown head in `tasks` 'sizes'. Did you mean"),
        (lambda m: baselines(m, rows(), epochs=0), "`epochs` must be a whole number of at least 1. Received: 0"),
        (lambda m: single_task(m, "sizes"), "Unknown head 'sizes'. Did you mean 'size'?"),
        (lambda m: baselines(m, (rows()[0], {"size": rows()[1]["size"]}), epochs=1), "lack the heads kind"),
    ],
)
def test_wrong_arguments(call, error):
    with pytest.raises(ValueError) as raised:
        call(two_heads())
    assert error in str(raised.value)


def test_a_head_without_metrics_has_no_baseline():
    model = kt.attach(dense(), {"kind": kt.heads.Classifier(3), "size": kt.heads.Regressor(metrics=[])})
    with pytest.raises(ValueError, match="The head 'size' has no metrics, so there is nothing to compare. Give"):
        baselines(model, rows(), epochs=1)
    assert baselines(model, rows(), epochs=1, tasks=["kind"])["kind"]["accuracy"] >= 0


def test_a_pydataset_needs_a_frozen_backbone():
    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, k):
            return rows()

    model = two_heads()
    with pytest.raises(TypeError, match="Nothing at the input of `model` is frozen, and labels of single tasks can't"):
        baselines(model, Rows(), epochs=1)
    kt.freeze(model)
    assert set(baselines(model, Rows(), epochs=1)) == {"kind", "size"}


def test_negative_transfer_is_found_on_handwritten_digits():
    """One number has to do for two questions that have little in common, which each alone answers better."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    x = (digits.data / 16).astype("float32")
    labels = {"odd": (digits.target % 2).astype("int32"), "high": (digits.target >= 5).astype("int32")}
    model = kt.attach(dense(1, None, inputs=64), {name: kt.heads.Classifier(2) for name in labels})
    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(64)
    train, valid = data.take(20), data.skip(20)
    alone = baselines(model, train, valid, epochs=8, optimizer=keras.optimizers.Adam(0.03))
    learner = kt.MultiTask(model, kt.multitask.Equal())
    learner.compile(optimizer=keras.optimizers.Adam(0.03), **kt.objectives(model))
    learner.fit(train, epochs=8, verbose=0)
    found = gain(learner, alone, valid)
    assert found.mean < -0.03 and found.lost and f"negative transfer: {found.lost[0]} (-" in str(found)
    assert min(alone["odd"]["accuracy"], alone["high"]["accuracy"]) > 0.75  # each can be learnt
