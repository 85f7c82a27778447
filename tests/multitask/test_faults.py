"""What is no number is told by name and step, leaves everything as it was, and training goes on afterwards."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask.faults import Faults, give_back, held
from multitask import small

ADVICE = (
    "No weight was trained by that step. The rate may be too high (kt.find_learning_rate suggests one), or the data "
    "hold NaN."
)
MODES = {"eager": {"eager": True}, "graph": {"eager": False}, "jit": {"eager": False, "jit_compile": True}}
GRAMIAN = tf.eye(2)


def method(name):
    """A weighting by its name, from its own module; None by the name "None"."""
    return None if name == "None" else getattr(importlib.import_module(f"keras_transfer.multitask.weighting.{name.lower()}"), name)()


def raised_by(run, *args):
    with pytest.raises(ValueError) as raised:
        run(*args)
    return str(raised.value)


# --- by itself


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_it_tells_the_first_task_or_the_gradients_and_the_batch(graph, compiled):
    faults = Faults(["a", "b"], compiled)

    def check(losses, gramian, batch):
        return faults.check(batch, losses=losses, gramian=() if gramian is None else gramian)

    run = faults.watched(tf.function(check) if graph else check)
    assert bool(run(tf.constant([1.0, 2.0]), GRAMIAN, 4)) and bool(run(tf.constant([1.0, 2.0]), None, 4))
    nan, inf = float("nan"), float("inf")
    assert (
        raised_by(run, tf.constant([1.0, nan]), GRAMIAN, 4)
        == f"The loss of task 'b' is NaN or infinite in batch 4. {ADVICE}"
    )
    assert (
        raised_by(run, tf.constant([-inf, nan]), None, 1)
        == f"The loss of task 'a' is NaN or infinite in batch 1. {ADVICE}"
    )
    bad = tf.constant([[1.0, inf], [inf, 1.0]])
    assert (
        raised_by(run, tf.ones(2), bad, 11)
        == f"Products of the tasks' gradients are NaN or infinite in batch 11. {ADVICE}"
    )
    assert raised_by(faults.watched(lambda: faults.check(5, total=nan))) == (
        f"The loss of the layers (regularizers, `add_loss`) is NaN or infinite in batch 5. {ADVICE}")
    assert raised_by(faults.watched(lambda: faults.check(5, gradients=[tf.ones(3), None, tf.constant([1.0, inf])]))) == (
        f"Gradients are NaN or infinite in batch 5. {ADVICE}")
    asked = []
    assert bool(faults.check(5, total=1.0, losses=lambda: asked.append(1))) and not asked  # only where the sum is none
    assert raised_by(faults.watched(lambda: faults.check(5, total=nan, losses=lambda: tf.constant([1.0, inf])))).startswith(
        "The loss of task 'b' is NaN or infinite in batch 5.")
    faults.epoch = 7
    assert raised_by(run, tf.constant([1.0, nan]), GRAMIAN, 4).startswith("The loss of task 'b' is NaN or infinite in batch 4 of epoch 7.")
    assert bool(run(tf.ones(2), GRAMIAN, 4))


def test_under_xla_the_first_fault_of_several_steps_is_told_and_none_after_it_is_taken():
    faults = Faults(["a", "b"], compiled=True)
    nan, seen = float("nan"), []

    def steps():
        for batch, losses in enumerate([[1.0, 1.0], [1.0, nan], [1.0, 1.0], [nan, 1.0]], 1):
            seen.append(bool(faults.check(batch, losses=tf.constant(losses))))

    assert raised_by(faults.watched(steps)).startswith("The loss of task 'b' is NaN or infinite in batch 2.")
    assert seen == [True, False, False, False]
    assert bool(faults.check(0, losses=tf.ones(2)))


def test_other_errors_go_through():
    def run():
        tf.debugging.Assert(tf.constant(False), ["another"])

    with pytest.raises(tf.errors.InvalidArgumentError, match="another"):
        Faults(["a"], False).watched(run)()
    with pytest.raises(KeyError):
        Faults(["a"], True).watched({}.__getitem__)("none")


@pytest.mark.parametrize("graph", [True, False])
def test_what_is_held_is_given_back_before_the_step_is_stopped(graph):
    variable = keras.Variable([1.0, 2.0])

    def step(losses):
        before = held([variable])
        variable.assign([np.nan, 5.0])
        return faults.check(0, before, losses=losses)

    for compiled in (True, False):
        variable.assign([1.0, 2.0])
        faults = Faults(["a"], compiled)
        run = faults.watched(tf.function(step) if graph else step)
        raised_by(run, tf.constant([np.nan], tf.float32))
        assert variable.numpy().tolist() == [1.0, 2.0]
        run(tf.constant([1.0]))
        np.testing.assert_array_equal(variable.numpy(), [np.nan, 5.0])


def test_give_back_by_hand():
    variable = keras.Variable(1)
    before = held([variable])
    variable.assign(2)
    assert [int(v) for v in give_back(before, unless=tf.constant(True))] == [2] and int(variable) == 2
    assert [int(v) for v in give_back(before)] == [1] and int(variable) == 1


# --- in training


def everything(learner):
    """All that a learner has: weights, statistics, the weighting's state and the optimizer's."""
    seeds = [v for v in learner.variables if "seed" in v.path]
    own = [] if learner.weighting is None else learner.weighting.variables
    kept = [*learner.model.weights, *own, *learner.optimizer.variables]
    return {v.path: v.numpy() for v in kept if all(v is not s for s in seeds) and "rate" not in v.path}


def untouched(one, other):
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def bad_data(what):
    """A batch in which one number of one task, or of the inputs, is wrong."""
    x, y = small.data(seed=5)
    if what == "x":
        return np.where(np.arange(12)[:, None] == 3, np.float32(np.nan), x), y, "size"
    return x, {**y, what: np.where(np.arange(12) == 3, np.float32(np.inf), y[what])}, what


def check_fault(make, mode, what, **options):
    """Two good steps, a bad one, two good ones: as without the bad one."""
    x, y = small.data()
    bad_x, bad_y, named = bad_data(what)
    adam = lambda: keras.optimizers.Adam(0.05, name="adam")  # noqa: E731
    learner = small.learner(make(), model=small.network(norms=True), optimizer=adam(), **MODES[mode], **options)
    other = small.learner(make(), model=small.network(norms=True), optimizer=adam(), **MODES[mode], **options)
    for _ in range(2):
        learner.train_on_batch(x, y)
        other.train_on_batch(x, y)
    before = everything(learner)
    assert len(before) > 40
    assert (
        raised_by(learner.train_on_batch, bad_x, bad_y)
        == f"The loss of task {named!r} is NaN or infinite in batch 3. {ADVICE}"
    )
    untouched(before, everything(learner))
    for _ in range(2):
        learner.train_on_batch(x, y)
        other.train_on_batch(x, y)
    after = everything(learner)
    untouched(after, everything(other))
    assert all(np.any(before[name] != after[name]) for name in before if name.endswith(("kernel", "moving_mean")))


@pytest.mark.parametrize("what", ["age", "x"])
@pytest.mark.parametrize("name", ["None", "Uncertainty", "GradNorm", "MoCo", "FAMO", "DWA"])
def test_a_loss_that_is_no_number_changes_nothing(name, what):
    check_fault(lambda: method(name), "eager", what)


@pytest.mark.parametrize("name", ["None", "GradNorm"])
def test_compiled_by_xla_too(name):
    check_fault(lambda: method(name), "jit", "x")


def test_the_plain_sum_in_a_graph():
    check_fault(lambda: None, "graph", "x")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", "jit"])
@pytest.mark.parametrize("name", ["Uncertainty", "MoCo", "FAMO", "DWA", "SDMGrad"])
def test_any_method_in_a_graph_and_compiled(name, mode):
    check_fault(lambda: method(name), mode, "x")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", "jit"])
def test_at_the_features_too(mode):
    make = lambda: method("GradNorm")  # noqa: E731
    x, y = small.data()
    learner = small.learner(make(), model=small.network(norms=True), at="features", **MODES[mode])
    learner.train_on_batch(x, y)
    before = everything(learner)
    bad_x, bad_y, _ = bad_data("size")
    assert "task 'size'" in raised_by(learner.train_on_batch, bad_x, bad_y) and "batch 3" in raised_by(
        learner.train_on_batch, bad_x, bad_y
    )
    untouched(before, everything(learner))


def rooted(y_true, y_pred):
    """Finite, but its gradient at 0 isn't."""
    return (
        keras.ops.sqrt(keras.ops.abs(y_true) * 0.0 + keras.ops.maximum(y_pred * 0.0, 0.0))[..., 0] + y_pred[..., 0] ** 2
    )


@pytest.mark.parametrize("name", ["PCGrad", "MoCo", "None", "Equal", "DWA"])
@pytest.mark.parametrize("mode, at", [("eager", None), ("eager", "features"), ("graph", None), ("jit", None)])
def test_gradients_that_are_no_numbers_change_nothing(mode, at, name):
    if at and name == "MoCo":
        at = None
    x, y = small.data()
    model = small.network()
    loss = {**kt.objectives(model)["loss"], "age": rooted}
    learner = small.learner(method(name), model=model, at=at, loss=loss, **MODES[mode])
    before = everything(learner)
    said = raised_by(learner.train_on_batch, x, y)
    what = "Products of the tasks' gradients" if name in ("PCGrad", "MoCo") else "Gradients"
    assert said == f"{what} are NaN or infinite in batch 1. {ADVICE}"
    untouched(before, everything(learner))
    assert int(learner.optimizer.iterations) == 0


@pytest.mark.parametrize("name, at", [("None", None), ("Uncertainty", None), ("PCGrad", None), ("PCGrad", "features")])
def test_a_nan_that_relu_takes_out_of_the_losses_is_found_in_the_gradients(name, at):
    """TensorFlow's ReLU gives 0 for NaN on some processors, so that losses are finite and gradients aren't; this one on all."""
    def relu(x):
        return keras.ops.where(x > 0, x, 0.0)

    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(5, activation=relu, name="block_1")(inputs)
    model = kt.attach(keras.Model(inputs, keras.layers.Dense(5, name="block_2")(hidden)), {
        "size": kt.heads.Regressor(), "age": kt.heads.Regressor()})
    x, y = small.data(tasks=("size", "age"))
    x[3, 1] = np.nan
    learner = small.learner(method(name), model=model, at=at, eager=False)
    before = everything(learner)
    said = raised_by(learner.train_on_batch, x, y)
    assert "are NaN or infinite in batch 1. No weight was trained by that step." in said
    untouched(before, everything(learner))


class Adds(keras.layers.Layer):
    """A loss of its own that is infinite."""

    def call(self, x):
        self.add_loss(keras.ops.sum(x) * 0.0 + np.inf)
        return x


@pytest.mark.parametrize("name", ["None", "Uncertainty", "PCGrad"])
def test_the_loss_of_a_layer_is_told_too(name):
    inputs = keras.Input((4,))
    model = kt.attach(keras.Model(inputs, Adds()(keras.layers.Dense(5, name="block_1")(inputs))), {
        "size": kt.heads.Regressor(), "age": kt.heads.Regressor()})
    learner = small.learner(method(name), model=model, eager=False)
    before = everything(learner)
    x, y = small.data(tasks=("size", "age"))
    assert raised_by(learner.train_on_batch, x, y) == (
        f"The loss of the layers (regularizers, `add_loss`) is NaN or infinite in batch 1. {ADVICE}")
    untouched(before, everything(learner))


@pytest.mark.parametrize("name", ["None", "Uncertainty"])
def test_what_a_pass_changes_besides_statistics_is_given_back(name):
    """The kernel that spectral normalization divides in every pass, its vector, and a counter of batches."""

    class Counts(keras.layers.Layer):
        def build(self, shape):
            self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="count")

        def call(self, x):
            self.count.assign_add(1)
            return x

    inputs = keras.Input((4,))
    normalized = keras.layers.SpectralNormalization(keras.layers.Dense(5), name="block_1")(inputs)
    model = kt.attach(keras.Model(inputs, Counts(name="block_2")(normalized)), {
        "size": kt.heads.Regressor(), "age": kt.heads.Regressor()})
    learner = small.learner(method(name), model=model, eager=False)
    x, y = small.data(tasks=("size", "age"))
    learner.train_on_batch(x, y)
    before = everything(learner)
    assert any(path.endswith("vector_u") for path in before) and before["block_2/count"] >= 1
    assert "task 'age'" in raised_by(learner.train_on_batch, x, {**y, "age": np.full(12, np.inf, "float32")})
    untouched(before, everything(learner))


@pytest.mark.parametrize("make", [lambda: None, kt.multitask.Uncertainty])
def test_in_the_middle_of_fit_the_steps_before_it_are_trained(make):
    """The third of four batches is bad, with two steps at once."""
    x, y = small.data(16)
    y["colour"] = y["colour"].astype("float32")
    y["size"][9] = np.nan
    model = small.network()
    loss = {**kt.objectives(model)["loss"], "size": keras.losses.MeanSquaredError()}  # that knows no missing labels
    learner = small.learner(make(), model=model, eager=False, loss=loss, steps_per_execution=2)
    other = small.learner(make())
    said = raised_by(lambda: learner.fit(x, y, batch_size=4, shuffle=False, verbose=0))
    assert said == f"The loss of task 'size' is NaN or infinite in batch 3 of epoch 1. {ADVICE}"
    other.fit(x[:8], {task: labels[:8] for task, labels in y.items()}, batch_size=4, shuffle=False, verbose=0)
    assert int(learner.optimizer.iterations) == 2
    small.same(small.weights(model), small.weights(other.model), atol=1e-6)


def test_batches_are_counted_by_epoch_and_not_by_update():
    """Two batches make an update; the sixth one of another `fit` is bad."""
    x, y = small.data(48)
    model = small.network()
    loss = {**kt.objectives(model)["loss"], "size": keras.losses.MeanSquaredError()}
    optimizer = keras.optimizers.SGD(0.01, gradient_accumulation_steps=2)
    learner = small.learner(kt.multitask.Uncertainty(), model=model, loss=loss, optimizer=optimizer)
    learner.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    y["size"][21] = np.nan
    said = raised_by(lambda: learner.fit(x, y, batch_size=4, shuffle=False, verbose=0, initial_epoch=1, epochs=2))
    assert said.startswith("The loss of task 'size' is NaN or infinite in batch 6 of epoch 2.")


def test_the_control_keras_takes_it_into_the_weights():
    model = small.network()
    bad_x, bad_y, _ = bad_data("age")
    model.compile(optimizer=keras.optimizers.SGD(0.1), **kt.objectives(model))
    model.train_on_batch(bad_x, bad_y)
    assert not np.all(np.isfinite(model.get_layer("age").get_weights()[-1]))
