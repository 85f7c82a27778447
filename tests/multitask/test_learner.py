"""The learner trains as plain `fit` would, is saved and loaded, says what is wrong, and leaves a plain model."""

import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
import replicas
from keras_transfer.multitask.learner import MultiTask
from multitask import small
from multitask.test_faults import method
from multitask.test_stepping import Recorder
from support import run_python

EQUAL = [
    lambda: kt.multitask.Equal(),
    lambda: kt.multitask.Fixed([1, 1, 1]),
    lambda: kt.multitask.Fixed({"age": 1, "size": 1.0, "colour": 1}),
]


def raised_by(run, error=ValueError):
    with pytest.raises(error) as raised:
        run()
    return str(raised.value)


def compiled(model, optimizer="adam", **options):
    model.compile(optimizer=optimizer, **{**kt.objectives(getattr(model, "model", model)), **options})
    return model


# --- as plain fit


@pytest.mark.parametrize("changes", [{}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow)])
def test_without_a_weighting_it_trains_exactly_as_the_model_alone(changes):
    """Bit for bit, with dropout, norms, penalties, gaps and partial batches; the logs too."""
    x, y = small.data(20)
    y, options = small.gaps(y), {"dropout": 0.3, "norms": True, "penalty": 0.01}
    rest = {"batch_size": 8, "epochs": 2, "verbose": 0, "validation_data": (x[:8], {k: v[:8] for k, v in y.items()})}
    model = compiled(small.network(**options), run_eagerly=not changes, **changes)
    learner = small.learner(None, model=small.network(**options), optimizer="adam", eager=not changes, **changes)
    keras.utils.set_random_seed(1)
    plain = model.fit(x, y, **rest).history
    keras.utils.set_random_seed(1)
    assert learner.fit(x, y, **rest).history == plain
    before, after = small.weights(model), small.weights(learner.model)
    assert before.keys() == after.keys() and all(np.array_equal(before[path], after[path]) for path in before)
    assert any(np.any(v != small.weights(small.network(**options))[path]) for path, v in before.items())
    assert "age_weight" not in plain and "val_loss" in plain


class Counting(keras.losses.MeanSquaredError):
    """Changes with every call that it gets."""

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0.0)

    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred) * (1 + self.calls.assign_add(1.0, read_value=True))


@pytest.mark.parametrize("eager", [True, False])
def test_without_a_weighting_losses_are_computed_once(eager):
    found, (x, y) = [], small.data(12)
    for wrap in (lambda model: model, kt.MultiTask):
        model, counting = small.network(), Counting()
        trained = wrap(model)
        loss = {**kt.objectives(model)["loss"], "size": counting}
        trained.compile(optimizer=keras.optimizers.SGD(0.01), loss=loss, run_eagerly=eager)
        for _ in range(3):
            trained.train_on_batch(x, y)
        found.append([float(counting.calls), *(w.numpy() for w in model.weights)])
    assert found[0][0] == found[1][0] > 0
    assert all(np.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(*found))


def test_a_py_dataset_may_give_a_tuple_of_labels():
    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, k):
            x, y = small.data(4, seed=k)
            return x, tuple(y[task] for task in sorted(y))

    learner = small.learner(None, eager=False)
    assert learner.fit(Rows(workers=1), verbose=0).epoch == [0]


def test_float16_of_the_model_is_scaled_whatever_the_policy_is_now():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small.network()
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(small.learner(None, model=model).optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.parametrize("make", [lambda: None, kt.multitask.PCGrad, kt.multitask.Uncertainty])
def test_a_model_of_which_nothing_trains_is_refused(make):
    model = small.network()
    model.trainable = False
    learner = small.learner(make(), model=model)
    assert "Nothing of the model trains: all its layers are frozen." in raised_by(lambda: learner.fit(*small.data(), verbose=0))


def test_a_set_that_gives_no_batch_is_told_as_empty():
    nothing = tf.data.Dataset.from_tensor_slices(small.data()).filter(lambda *_: False).batch(4)
    assert "The data gave no batch at all" in raised_by(lambda: small.learner(None, eager=False).fit(nothing, verbose=0))


@pytest.mark.parametrize("at", [None, "features"])
@pytest.mark.parametrize("make", EQUAL)
def test_weights_of_one_are_the_plain_sum(make, at):
    x, y = small.data(12)
    y, options = small.gaps(y), {"dropout": 0.3, "norms": True, "penalty": 0.01}
    weights = {task: np.linspace(i, 2, 12).astype("float32") for i, task in enumerate(small.TASKS)}
    found = []
    for model in (
        compiled(small.network(**options), keras.optimizers.SGD(0.1), run_eagerly=True),
        small.learner(make(), model=small.network(**options), at=at),
    ):
        for _ in range(3):
            logs = model.train_on_batch(x, y, sample_weight=weights, return_dict=True)
        found.append(
            {
                **small.weights(getattr(model, "model", model)),
                **{k: np.array(v) for k, v in logs.items() if "weight" not in k},
            }
        )
    small.same(*found, rtol=1e-6, atol=1e-6)
    assert all(logs[f"{task}_weight"] == 1 for task in small.TASKS)


KINDS = {
    "none": (lambda: None, None),
    "Fixed": (lambda: kt.multitask.Fixed([3.0, 2.0, 0.5]), None),
    "PCGrad": (kt.multitask.PCGrad, "features"),
    "MoCo": (lambda: method("MoCo"), None),
    "Uncertainty": (kt.multitask.Uncertainty, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_at_a_rate_of_zero_the_logs_are_those_of_evaluate(kind):
    """`loss` is the plain sum, whatever the weights; each task has its loss and metrics by name."""
    make, at = KINDS[kind]
    x, y = small.data(16)
    y = small.gaps(y)
    model = small.network(norms=True, penalty=0.02)
    for name in ("norm_1", "norm_2"):
        model.get_layer("backbone").get_layer(name).trainable = False
    learner = small.learner(make(), model=model, at=at, optimizer=keras.optimizers.SGD(0.0))
    logs = learner.fit(x, y, batch_size=16, epochs=2, verbose=0).history
    expected = learner.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    names = {f"{task}_loss" for task in small.TASKS} | {"loss", "size_mae", "age_mae", "colour_accuracy"}
    assert set(expected) == names
    weights = {f"{task}_weight" for task in small.TASKS} if kind != "none" else set()
    assert set(logs) == names | weights
    for name in names:
        assert logs[name] == pytest.approx([expected[name]] * 2, rel=1e-5), name
    penalty = sum(
        0.02 * np.sum(np.square(v)) for k, v in small.weights(model).items() if "block" in k and "kernel" in k
    )
    parts = 0.5 * expected["size_loss"] + expected["colour_loss"] + expected["age_loss"]  # those by name are unweighed
    assert expected["loss"] == pytest.approx(parts + penalty, rel=1e-5)
    if kind == "Fixed":
        assert [logs[f"{task}_weight"][0] for task in small.TASKS] == [3.0, 2.0, 0.5]


def test_metrics_and_keys_of_a_functional_model_of_ones_own():
    """Heads whose layers have other names than the outputs, and losses by name."""
    inputs = keras.Input((4,))
    stem = keras.layers.Dense(3, activation="tanh")(inputs)
    model = keras.Model(
        inputs, {"b": keras.layers.Dense(1, name="first")(stem), "a": keras.layers.Dense(1, name="second")(stem)}
    )
    learner = kt.MultiTask(model, kt.multitask.Equal())
    learner.compile(
        "sgd",
        loss={"a": "mse", "b": keras.losses.MeanAbsoluteError()},
        metrics={"a": ["mae"]},
        weighted_metrics={"b": ["mse"]},
        run_eagerly=True,
    )
    x, y = small.data()
    labels = {"b": y["size"], "a": x[:, 0]}
    expected = learner.test_on_batch(x, labels, return_dict=True)
    logs = learner.train_on_batch(x, labels, return_dict=True)
    assert learner.tasks == ["b", "a"] and {
        "a_mae",
        "b_mse",
        "a_loss",
        "b_loss",
        "a_weight",
        "b_weight",
        "loss",
    } == set(logs)
    assert all(logs[name] == pytest.approx(expected[name], rel=1e-6) for name in expected)
    assert logs["loss"] == pytest.approx(logs["a_loss"] + logs["b_loss"], rel=1e-6)


# --- data


class Batches(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def test_arrays_a_dataset_and_a_pydataset_train_the_same():
    x, y = small.data(12)
    weights = {task: np.linspace(0.5, 2, 12).astype("float32") for task in small.TASKS}
    take = lambda tree, half: keras.tree.map_structure(lambda v: v[half], tree)  # noqa: E731
    halves = [take((x, y, weights), half) for half in (slice(0, 6), slice(6, 12))]
    sets = [
        {"x": x, "y": y, "sample_weight": weights, "batch_size": 6},
        {"x": Batches(halves)},
        {"x": tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(6)},
    ]
    found = []
    for given in sets:
        learner = small.learner(kt.multitask.GradNorm())
        learner.fit(**given, epochs=2, shuffle=False, verbose=0)
        learner.train_on_batch(*halves[0])
        found.append(small.weights(learner.model))
    plain = small.learner(kt.multitask.GradNorm())
    plain.fit(x, y, batch_size=6, epochs=2, shuffle=False, verbose=0)
    small.same(found[0], found[1])
    small.same(found[0], found[2])
    assert np.abs(found[0]["age/output/kernel"] - small.weights(plain.model)["age/output/kernel"]).max() > 1e-3


def test_a_model_of_several_inputs_and_a_validation_split():
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    stem = keras.layers.Dense(3, name="stem")(keras.layers.Add()([first, second]))
    stem = keras.layers.Identity(name="joint")(stem)
    heads = {name: keras.layers.Dense(1, name=name)(stem) for name in ("size", "age")}
    model = keras.Model({"first": first, "second": second}, heads)
    x, y = small.data(tasks=("size", "age"))
    learner = kt.MultiTask(model, kt.multitask.PCGrad(), at="joint")
    learner.compile("sgd", loss={"size": "mse", "age": "mae"}, run_eagerly=True)
    logs = learner.fit({"first": x, "second": x}, y, validation_split=0.25, verbose=0).history
    assert np.isfinite(logs["val_loss"][0]) and "val_age_loss" in logs and "val_age_weight" not in logs


# --- what it tells the weighting


def test_epochs_and_updates_are_told_once_each():
    x, y = small.data(12)
    seen = []
    learner = small.learner(Recorder())
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(learner.weighting.epochs))
    learner.fit(x, y, batch_size=4, epochs=3, verbose=0, validation_data=(x, y), callbacks=callback)
    assert (learner.weighting.epochs, len(learner.weighting.calls), len(learner.weighting.afters)) == (3, 9, 9)
    assert seen == [1, 2, 3]  # before the callbacks of the caller, which may save it
    learner.fit(x, y, batch_size=12, verbose=0)
    assert (learner.weighting.epochs, len(learner.weighting.calls)) == (4, 10)


def test_weights_in_the_logs_are_means_over_the_steps_with_labels():
    class Counting(Recorder):
        def call(self, losses, gramian, present):
            super().call(losses, gramian, present)
            return tf.cast(present, tf.float32) * len(self.calls)

    x, y = small.data(12)
    y["colour"][4:8] = -1
    learner = small.learner(Counting())
    logs = learner.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, validation_data=(x, y)).history
    assert logs["age_weight"] == [(1 + 2 + 3) / 3, (4 + 5 + 6) / 3] and logs["colour_weight"] == [
        (1 + 3) / 2,
        (4 + 6) / 2,
    ]
    assert not any(name.startswith("val") and name.endswith("weight") for name in logs)
    assert "age_weight" not in learner.evaluate(x, y, verbose=0, return_dict=True)
    assert learner.train_on_batch(x, y, return_dict=True)["age_weight"] == 7


def test_a_weighting_is_told_the_names_before_it_is_built_and_after_loading(tmp_path):
    told = []

    class Named(Recorder):
        def name_tasks(self, names):
            told.append((list(names), self.built))

    kt.MultiTask(small.network(), Named())
    assert told == [(list(small.TASKS), False)]
    learner = small.learner(kt.multitask.Fixed({"age": 3.0, "size": 1.0, "colour": 2.0}))
    learner.save(tmp_path / "learner.keras")
    x, y = small.data()
    for _ in range(2):
        learner = keras.models.load_model(tmp_path / "learner.keras")
        logs = learner.train_on_batch(x, y, return_dict=True)
        assert [logs[f"{task}_weight"] for task in learner.tasks] == [1.0, 2.0, 3.0] and learner.tasks == list(
            small.TASKS
        )
        learner.save(tmp_path / "learner.keras")


# --- saving


SAVED = {"Uncertainty": None, "MoCo": None, "GradNorm": "features", "FAMO": None, "DWA": None, "none": None}


def half_trained(kind):
    make = (lambda: None) if kind == "none" else lambda: method(kind)
    model = small.network(norms=True, sharing=kt.multitask.MMoE(experts=2, units=3))
    learner = kt.MultiTask(model, make(), at=SAVED[kind], name="mine")
    compiled(learner, keras.optimizers.Adam(0.05), run_eagerly=True)
    x, y = small.data()
    learner.fit(x, y, batch_size=6, epochs=1, shuffle=False, verbose=0)
    return learner


def trained_on(learner):
    x, y = small.data()
    logs = learner.fit(x, y, batch_size=6, epochs=1, shuffle=False, verbose=0).history
    state = [] if learner.weighting is None else [v.numpy().ravel().tolist() for v in learner.weighting.weights]
    return {**logs, "weights": [v.numpy().ravel().tolist() for v in learner.model.weights], "state": state}


def test_saved_in_the_middle_and_loaded_it_trains_on_with_equal_numbers(tmp_path, kind="MoCo"):
    learner = half_trained(kind)
    learner.save(tmp_path / "learner.keras")
    again = keras.models.load_model(tmp_path / "learner.keras")
    assert type(again) is MultiTask and (again.name, again.at, again.tasks) == ("mine", SAVED[kind], list(small.TASKS))
    assert (
        type(again.weighting) is type(learner.weighting) and again.optimizer.iterations == learner.optimizer.iterations
    )
    assert trained_on(again) == trained_on(learner)
    fresh = half_trained(kind)  # the control: without what was kept
    for variable in fresh.weighting.variables:
        variable.assign(keras.ops.zeros_like(variable) + 0.1)
    assert trained_on(fresh)["weights"] != trained_on(again)["weights"]


@pytest.mark.slow
def test_in_a_fresh_process_too(tmp_path):
    expected = {}
    for kind in SAVED:
        learner = half_trained(kind)
        learner.save(tmp_path / f"{kind}.keras")
        expected[kind] = trained_on(learner)
    code = """if 1:
        import json, sys, keras, keras_transfer as kt
        from multitask.test_learner import SAVED, trained_on
        load = kt.load if sys.argv[2] == "kt" else keras.models.load_model
        print(json.dumps({kind: trained_on(load(f"{sys.argv[1]}/{kind}.keras")) for kind in SAVED}))
    """
    for how in ("kt", "keras"):
        done = run_python(
            code,
            tmp_path,
            how,
            env={**os.environ, "PYTHONPATH": f"{replicas.TESTS.parent}{os.pathsep}{replicas.TESTS}"},
        )
        assert json.loads(done.stdout.splitlines()[-1]) == expected


def test_the_model_saved_alone_is_plain_and_predicts_the_same(tmp_path):
    learner = half_trained("GradNorm")
    x, _ = small.data()
    learner.model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    assert type(model).__name__ == "Network" and [v.path for v in model.weights] == [
        v.path for v in learner.model.weights
    ]
    for task, said in model.predict(x, verbose=0).items():
        np.testing.assert_array_equal(said, learner.model.predict(x, verbose=0)[task])
        np.testing.assert_allclose(said, learner.predict(x, verbose=0)[task], rtol=1e-5)
    assert not any("grad_norm" in layer.name for layer in model.layers)


# --- errors


def test_a_model_without_two_heads_by_name_is_refused():
    text = (
        "`model` must be a Functional model with a dict of at least two outputs, as kt.attach(backbone, "
        "{name: head, ...}) gives it. Received: {}."
    )
    text = text.replace("{name", "{{name").replace("...}", "...}}")
    inputs = keras.Input((4,))
    output = keras.layers.Dense(1)(inputs)
    for model, received in [
        (small.network(tasks=("age",)), "1 output"),
        (keras.Model(inputs, [output, output]), "Functional"),
        (keras.Sequential([inputs, keras.layers.Dense(1)]), "Sequential"),
        (keras.layers.Dense(1), "Dense"),
    ]:
        assert raised_by(lambda: kt.MultiTask(model)) == text.format(received)


@pytest.mark.parametrize("weighting", ["pcgrad", kt.multitask.PCGrad, 1.0])
def test_what_is_no_weighting_is_refused(weighting):
    said = raised_by(lambda: kt.MultiTask(small.network(), weighting), TypeError)
    assert (
        said
        == f"`weighting` must be one of kt.multitask, such as kt.multitask.PCGrad(), or None. Received: {weighting!r}"
    )


def test_a_weighting_of_another_learner_is_refused():
    weighting = kt.multitask.Uncertainty()
    kt.MultiTask(small.network(), weighting)
    kt.MultiTask(small.network(), weighting)  # of as many tasks it may go on
    said = raised_by(lambda: kt.MultiTask(small.network(tasks=("size", "age")), weighting))
    assert said == "`weighting` was made for another learner, of 3 tasks, and this one has 2. Make a new one."


def test_losses_and_metrics_that_fit_no_head_are_refused():
    learner, given = kt.MultiTask(small.network()), kt.objectives(small.network())
    heads = "as kt.objectives(model) gives it"
    cases = [
        (
            {"loss": "mse"},
            f"`loss` must be a dict with a loss for each of the heads size, colour, age, {heads}. Received: 'mse'",
        ),
        ({"loss": {**given["loss"], "aeg": "mse"}}, "Unknown key of `loss` 'aeg'. Did you mean 'age'?"),
        ({"loss_weights": {"aeg": 1.0}}, "Unknown key of `loss_weights` 'aeg'. Did you mean 'age'?"),
        ({"loss_weights": [1.0, 2.0]}, "`loss_weights` must be a dict with a number for each of the heads size, colour, age. "
                                       "Received: [1.0, 2.0]"),
        ({"loss_weights": {**given["loss_weights"], "age": float("nan")}},
         "`loss_weights` must be numbers of at least 0. Received for 'age': nan"),
        ({"loss_weights": {**given["loss_weights"], "age": -1}},
         "`loss_weights` must be numbers of at least 0. Received for 'age': -1"),
        (
            {"loss": {"age": "mse"}},
            "`loss` and `loss_weights` must cover all heads; they lack size, colour. "
            "kt.objectives(model) gives them for all.",
        ),
        ({"metrics": {"aeg": ["mae"]}}, "Unknown key of `metrics` 'aeg'. Did you mean 'age'?"),
        ({"weighted_metrics": {"aeg": ["mae"]}}, "Unknown key of `weighted_metrics` 'aeg'. Did you mean 'age'?"),
    ]
    for change, text in cases:
        assert raised_by(lambda: learner.compile("sgd", **{**given, **change})) == text


def test_places_for_gradients_that_are_none_are_refused():
    model = small.network()
    make = kt.multitask.PCGrad
    assert (
        raised_by(lambda: kt.MultiTask(model, make(), at="featurs"))
        == "Unknown layer for `at` 'featurs'. Did you mean 'features'?"
    )
    said = (
        "Not everything goes through the layer 'size', so the tasks can't be told apart there. Choose another one, "
        "or at=None."
    )
    assert raised_by(lambda: kt.MultiTask(model, make(), at="size")) == said
    inputs = keras.Input((4,))
    stem = keras.layers.Dense(4, name="stem")(inputs)
    around = {"a": keras.layers.Dense(1, name="a")(stem), "b": keras.layers.Dense(1, name="b")(stem + inputs)}
    assert raised_by(lambda: kt.MultiTask(keras.Model(inputs, around), make(), at="stem")) == said.replace(
        "size", "stem"
    )
    sharing = small.network(sharing=kt.multitask.MMoE(experts=2, units=3))
    assert raised_by(lambda: kt.MultiTask(sharing, make(), at="sharing")) == (
        "The layer 'sharing' gives 3 tensors, but gradients are taken at one. Choose another one, such as "
        'at="features".'
    )
    twice = keras.layers.Dense(4, name="twice")
    model = keras.Model(inputs, {name: keras.layers.Dense(1, name=name)(twice(twice(inputs))) for name in "ab"})
    assert raised_by(lambda: kt.MultiTask(model, make(), at="twice")).startswith("The layer 'twice' gives ")


@pytest.mark.parametrize("name", ["MoCo", "ExcessMTL", "SDMGrad"])
def test_methods_that_need_all_variables_are_refused_at_a_layer(name):
    said = raised_by(lambda: kt.MultiTask(small.network(), method(name), at="features"))
    assert (
        said == f"{name} needs the gradients of all variables, so it can't be used with at='features'. Leave `at` out."
    )


def test_a_flag_that_changed_after_compile_is_told_and_trains_nothing():
    x, y = small.data()
    for weighting in (None, kt.multitask.PCGrad()):
        learner = small.learner(weighting)
        learner.train_on_batch(x, y)
        kt.freeze(learner.model)
        before = small.weights(learner.model)
        for run in (lambda: learner.fit(x, y, verbose=0), lambda: learner.train_on_batch(x, y)):
            assert raised_by(run) == (
                "What trains has changed since `compile` (freeze, unfreeze or a `trainable` flag). Call "
                "`learner.compile(...)` again before `fit`."
            )
        assert all(np.array_equal(v, before[path]) for path, v in small.weights(learner.model).items())
        learner.compile("sgd", run_eagerly=True, **kt.objectives(learner.model))
        changes, _ = small.step(learner, x, y)  # heads alone: nothing is shared
        assert sorted({path.split("/")[0] for path in changes if np.any(changes[path])}) == sorted(small.TASKS)


def test_a_method_that_keeps_gradients_is_refused_after_what_is_shared_has_changed():
    x, y = small.data()
    learner = small.learner(method("MoCo"))
    kt.freeze(learner.model)
    learner.compile("sgd", run_eagerly=True, **kt.objectives(learner.model))
    assert raised_by(lambda: learner.fit(x, y, verbose=0)) == (
        "MoCo keeps gradients of the variables that tasks share, and these have changed since the learner was made "
        "(freeze, unfreeze or "
        "a `trainable` flag). Make a new learner with a new weighting."
    )
    frozen = small.learner(method("ExcessMTL"), model=learner.model)
    assert np.any(small.step(frozen, x, y)[0]["age/output/kernel"])


@pytest.mark.parametrize("make", [lambda: None, kt.multitask.Equal, kt.multitask.PCGrad])
def test_a_head_without_any_label_is_told_before_training(make):
    x, y = small.data()
    learner = small.learner(make())
    before = small.weights(learner.model)
    for task in ("colour", "age"):
        assert raised_by(lambda: learner.fit(x, small.absent(y, task), verbose=0)) == (  # noqa: B023
            f"All labels of `x` for head {task!r} are missing. Give it some, or leave that head out."
        )
    assert all(np.array_equal(v, before[path]) for path, v in small.weights(learner.model).items())
    one = small.absent(y, "colour")
    one["colour"][-1] = 2
    learner.fit(x, one, batch_size=4, epochs=2, validation_data=(x, small.absent(y, "colour")), verbose=0)


@pytest.mark.parametrize("make", [lambda: None, kt.multitask.Equal])
def test_where_labels_are_known_batch_by_batch_only_it_is_told_at_the_end_of_the_epoch(make):
    x, y = small.data()
    learner = small.learner(make())
    said = raised_by(lambda: learner.fit(tf.data.Dataset.from_tensors((x, small.absent(y, "colour"))), verbose=0))
    assert (
        said
        == "In a whole epoch no label was seen for the head 'colour'. Give it labels, or make the model without it."
    )


def test_labels_that_fit_no_head_are_told_before_training():
    x, y = small.data()
    learner = small.learner(kt.multitask.Equal())
    cases = [
        (
            {**y, "aeg": y["age"]},
            "The labels of `x` have the key 'aeg', which is no head of the model. Did you mean 'age'?",
        ),
        (
            {k: v for k, v in y.items() if k != "age"},
            "The labels of `x` lack the heads age. Give every head its own; missing labels "
            "are -1 (classes) or NaN (numbers).",
        ),
    ]
    for labels, text in cases:
        assert raised_by(lambda: learner.fit(x, labels, verbose=0)) == text
        dataset = tf.data.Dataset.from_tensor_slices((x, labels)).batch(4)
        assert raised_by(lambda: learner.fit(dataset, verbose=0)) == text
        assert raised_by(lambda: learner.fit(x, y, validation_data=(x, labels), verbose=0)) == text.replace(
            "`x`", "`validation_data`"
        )
    assert "no labels" in raised_by(lambda: learner.fit((x,), verbose=0))


# --- it learns


def photos(rows, seed):
    """Coloured noise: which of three colours is the strongest, and how bright all is, half of the labels missing."""
    random = np.random.default_rng(seed)
    x = np.clip(random.uniform(40, 215, (rows, 1, 1, 3)) + random.normal(0, 30, (rows, 8, 8, 3)), 0, 255).astype(
        "float32"
    )
    y = {"light": x.mean((1, 2, 3)), "colour": x.mean((1, 2)).argmax(-1).astype("int32")}
    return x, small.gaps(y, share=0.5)


def photo_model():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    for width in (12, 16):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
    heads = {
        "light": kt.heads.Regressor({"mean": 127.0, "std": 30.0}),
        "colour": kt.heads.Classifier(["red", "green", "blue"]),
    }
    return kt.attach(keras.Model(inputs, x), heads)


@pytest.mark.parametrize(
    "make, at",
    [(kt.multitask.PCGrad, "features"), pytest.param(kt.multitask.Uncertainty, None, marks=pytest.mark.slow)],
)
def test_it_learns_both_tasks_from_photos_with_half_of_the_labels(make, at):
    model = photo_model()
    learner = small.learner(make(), model=model, at=at, eager=False, optimizer=keras.optimizers.Adam(0.01))
    x, y = photos(300, seed=1)
    before = learner.evaluate(*photos(200, seed=0), verbose=0, return_dict=True)
    history = learner.fit(x, y, batch_size=32, epochs=20, verbose=0).history
    after = learner.evaluate(*photos(200, seed=0), verbose=0, return_dict=True)
    assert before["colour_accuracy"] < 0.6 and before["light_mae"] > 15
    assert after["colour_accuracy"] > 0.9 and after["light_mae"] < 8, after
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    compiled(model)
    assert model.evaluate(*photos(200, seed=0), verbose=0, return_dict=True)["light_mae"] == pytest.approx(
        after["light_mae"], rel=1e-5
    )


def test_a_callback_may_change_what_trains_and_make_the_step_again():
    """As unfreezing during `fit` does; a method that keeps gradients of what was shared can't follow."""
    x, y = small.data()
    model = small.network()
    kt.freeze(model)
    learner = small.learner(kt.multitask.PCGrad(), model=model)
    with pytest.raises(ValueError, match="has changed since"):
        kt.unfreeze(model)
        learner.train_on_batch(x, y)
    learner.optimizer.build(learner.trainable_variables)
    learner.make_train_function(force=True)
    changes, _ = small.step(learner, x, y)
    assert len(changes) == 12 and all(np.any(v) for v in changes.values())
    keeping = small.learner(method("ExcessMTL"), model=small.network())
    kt.freeze(keeping.model)
    assert "keeps gradients" in raised_by(lambda: keeping.make_train_function(force=True))


def test_what_takes_a_model_takes_its_learner(tmp_path):
    learner = small.learner(kt.multitask.PCGrad())
    model, (x, y) = learner.model, small.data()
    kt.freeze(learner)
    assert {v.path.split("/")[0] for v in model.trainable_variables} == set(small.TASKS)
    assert str(kt.summary(learner)) == str(kt.summary(model)) and kt.objectives(learner)["loss"].keys() == y.keys()
    assert np.array_equal(kt.features(learner, (x, y))[0], kt.features(model, (x, y))[0])
    features, tail = kt.cache_features(learner, tf.data.Dataset.from_tensor_slices((x, y)).batch(4))
    assert {layer.name for layer in tail.layers if layer.weights} == set(small.TASKS) and len(list(features)) == 3
    kt.unfreeze(learner, "block_2")
    assert {v.path.split("/")[0] for v in model.trainable_variables} == {"block_2", *small.TASKS}
    assert max(kt.export(learner, tmp_path / "1").values()) < 1e-5
    learner.compile(optimizer=kt.layerwise("sgd", learner), **kt.objectives(learner))
    learner.fit(x, y, verbose=0)
    assert kt.find_learning_rate(learner, tf.data.Dataset.from_tensor_slices((x, y)).batch(4), steps=10).suggestion > 0
