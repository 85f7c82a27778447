"""One step of each kind of weighting against a derivation of its own: a tape for each task, NumPy, gradient descent."""

import functools
import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

import keras_transfer as kt
import replicas
from keras_transfer.multitask import GradientCombination, LearnedWeighting, Weighting
from multitask import small
from multitask.test_faults import everything, method

TWO = ("size", "age")  # PCGrad has no order to draw for two tasks


# --- methods, and what they do with one gradient a row, in NumPy


def pcgrad(rows):
    first, second = rows
    product = first @ second
    assert product < -1e-3, "the tasks are at odds, or there is nothing to show"
    return (first - product / (second @ second) * second) + (second - product / (first @ first) * first)


def shortest(rows):
    """MGDA for two tasks, in closed form (Sener and Koltun 2018, equation 3)."""
    first, second = rows
    share = np.clip((second - first) @ second / ((first - second) @ (first - second)), 0.0, 1.0)
    assert 0.01 < share < 0.99
    return share * first + (1 - share) * second


@keras.saving.register_keras_serializable("tests")
class ByLength(Weighting):
    """w_t = L_t / |g_t|."""

    def call(self, losses, gramian, present):
        return tf.math.divide_no_nan(losses * tf.cast(present, tf.float32), tf.sqrt(tf.linalg.diag_part(gramian)))


def by_length(losses):
    return lambda rows: sum(loss * row / np.linalg.norm(row) for loss, row in zip(losses.values(), rows) if np.any(row))


@keras.saving.register_keras_serializable("tests")
class Agreed(GradientCombination):
    """The sum at elements where no task opposes another, times two."""

    def combine(self, gradients, losses, present):
        agree = [tf.reduce_all(g >= 0, 0) | tf.reduce_all(g <= 0, 0) for g in gradients]
        return [tf.where(a, 2 * tf.reduce_sum(g, 0), 0.0) for a, g in zip(agree, gradients)]


def agreed(rows):
    return np.where((rows >= 0).all(0) | (rows <= 0).all(0), 2 * rows.sum(0), 0)


class Recorder(Weighting):
    """Remembers all that it is told."""

    def build(self, tasks, shapes=()):
        self.calls, self.afters, self.epochs = [], [], 0
        super().build(tasks, shapes)

    def call(self, losses, gramian, present):
        self.calls.append([None if t is None else t.numpy() for t in (losses, gramian, present)])
        return tf.cast(present, tf.float32)

    def after_update(self, losses, present):
        self.afters.append([losses.numpy(), present.numpy()])

    def on_epoch_end(self):
        self.epochs += 1


# --- gradients of the variables


@pytest.mark.parametrize(
    "weighting, weigh", [(lambda: kt.multitask.PCGrad(seed=3), pcgrad), (lambda: method("MGDA"), shortest)]
)
def test_two_tasks_against_the_definition_on_the_gradients_themselves(weighting, weigh):
    x, y = small.data(tasks=TWO)
    learner = small.learner(weighting(), model=small.network(tasks=TWO))
    gradients, _ = small.task_gradients(learner.model, x, y)
    changes, logs = small.step(learner, x, y)
    small.same(changes, small.expected(gradients, weigh))
    plain = small.expected(gradients, lambda rows: rows.sum(0))
    assert any(np.abs(plain[path] - changes[path]).max() > 1e-3 for path in plain)  # the control
    single = small.split(gradients)[1]
    assert len(single) == 6
    small.same({path: plain[path] for path in single}, {path: changes[path] for path in single})


def test_three_tasks_by_losses_and_gramian_with_a_sharing_layer():
    """Experts are shared, gates aren't."""
    x, y = small.data()
    for sharing in (None, kt.multitask.MMoE(experts=2, units=3)):
        learner = small.learner(ByLength(), model=small.network(sharing=sharing))
        gradients, losses = small.task_gradients(learner.model, x, y)
        changes, logs = small.step(learner, x, y)
        small.same(changes, small.expected(gradients, by_length(losses)))
        rows = small.rows_of(gradients, small.split(gradients)[0])
        for (task, loss), row in zip(losses.items(), rows):
            assert logs[f"{task}_weight"] == pytest.approx(loss / np.linalg.norm(row), rel=1e-4)
    assert {path.split("/")[1] for path, task in small.split(gradients)[1].items() if task == "age"} >= {"gate_age"}


def test_what_two_of_three_tasks_reach_is_weighed_by_what_these_two_do_there():
    x, y = small.data()
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    stem = keras.layers.Dense(3, activation="tanh", name="stem")(inputs)
    branch = keras.layers.Dense(3, activation="tanh", name="branch")(stem)
    heads = {
        "size": kt.heads.Regressor(name="size"),
        "colour": kt.heads.Classifier(3, name="colour"),
        "age": kt.heads.Regressor({"mean": 40.0, "std": 10.0}, name="age"),
    }
    model = keras.Model(inputs, {task: head(stem if task == "age" else branch) for task, head in heads.items()})
    learner = small.learner(ByLength(), model=model)
    gradients, losses = small.task_gradients(model, x, y)
    assert gradients["age"]["branch/kernel"] is None and gradients["size"]["branch/kernel"] is not None
    zeros = {
        task: {
            p: np.zeros_like(model_value) if found[p] is None and p.startswith("branch") else found[p]
            for p, model_value in small.weights(model).items()
        }
        for task, found in gradients.items()
    }
    small.same(small.step(learner, x, y)[0], small.expected(zeros, by_length(losses)))


def test_a_combination_gets_the_gradients_themselves():
    x, y = small.data()
    learner = small.learner(Agreed())
    gradients, _ = small.task_gradients(learner.model, x, y)
    changes, logs = small.step(learner, x, y)
    small.same(changes, small.expected(gradients, agreed))
    assert np.any(changes["block_1/kernel"] == 0) and not any(name.endswith("_weight") for name in logs)


def test_two_halves_give_the_gramian_and_the_whole_batch_the_step():
    """An odd batch with gaps: entry (i, j) is g_i of one half times g_j of the other, in both orders."""

    @keras.saving.register_keras_serializable("tests")
    class Halved(Recorder):
        parts = 2

        def call(self, losses, gramian, present):
            super().call(losses, gramian, present)
            return 1 + tf.reduce_sum(tf.abs(gramian), 0)

    x, y = small.data(13)
    y = small.gaps(y, share=0.2)
    learner = small.learner(Halved(), model=small.network(penalty=0.1))
    gradients, losses = small.task_gradients(learner.model, x, y)
    paths = small.split(gradients)[0]
    one, other = [
        small.rows_of(small.task_gradients(learner.model, x[half], {k: v[half] for k, v in y.items()})[0], paths)
        for half in (slice(0, 7), slice(7, 13))
    ]
    gramian = (one @ other.T + other @ one.T) / 2
    decay = {
        path: 0.1 * 2 * 0.1 * value
        for path, value in small.weights(learner.model).items()
        if path.startswith("block") and path.endswith("kernel")
    }
    changes, logs = small.step(learner, x, y)
    weights = 1 + np.abs(gramian).sum(0)
    wanted = small.expected(gradients, lambda rows: weights @ rows)
    small.same(changes, {path: v - decay.get(path, 0) for path, v in wanted.items()})
    (said,) = learner.weighting.calls
    np.testing.assert_allclose(said[0], list(losses.values()), rtol=1e-5)
    np.testing.assert_allclose(said[1], gramian, rtol=1e-4, atol=1e-6)
    rows = small.rows_of(gradients, paths)
    assert np.abs(gramian - rows @ rows.T).max() > 0.1  # the control


class Halved(kt.multitask.Equal):
    needs_gramian, parts = True, 2


@pytest.mark.parametrize("rows, parts", [(13, (slice(0, 7), slice(6, 13))), (12, (slice(0, 6), slice(6, 12)))])
def test_each_half_is_passed_by_itself(rows, parts):
    x, y = small.data(rows)
    learner, alone = (small.learner(Halved(), model=small.network(norms=True)) for _ in range(2))
    small.step(learner, x, y)
    for half in parts:
        alone.model(x[half], training=True)
    for one, other in zip(learner.model.non_trainable_variables, alone.model.non_trainable_variables):
        np.testing.assert_allclose(one, other, atol=1e-6)
    whole = small.network(norms=True)
    whole(x, training=True)
    pairs = zip(learner.model.non_trainable_variables, whole.non_trainable_variables)
    assert any(np.abs(one - other).max() > 0.01 for one, other in pairs), "the control"


def test_a_batch_of_one_row_has_one_half():
    x, y = small.data(1)
    learner = small.learner(method("SDMGrad"), model=small.network(norms=True))
    before = learner.weighting.w.numpy()
    changes, logs = small.step(learner, x, y)
    assert all(np.all(np.isfinite(v)) for v in [*changes.values(), *learner.model.get_weights(), *logs.values()])
    assert np.array_equal(learner.weighting.w, before) and any(np.any(v) for v in changes.values())


def test_losses_of_layers_are_the_mean_of_both_halves():
    @keras.saving.register_keras_serializable("tests")
    class Small(keras.layers.Layer):
        def call(self, x):
            self.add_loss(tf.reduce_mean(x**2))
            return x

    def learner(weighting):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        backbone = keras.Model(inputs, Small()(keras.layers.Dense(5, name="dense")(inputs)))
        return small.learner(weighting, model=kt.attach(backbone, {task: kt.heads.Regressor() for task in TWO}))

    x, y = small.data(12, tasks=TWO)
    (halved, logs), (plain, expected) = (small.step(learner(weighting), x, y) for weighting in (Halved(), None))
    assert logs["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    small.same(halved, plain)


def test_a_method_that_keeps_gradients_gets_all_variables_in_its_order():
    x, y = small.data()
    model = small.network(sharing=kt.multitask.MMoE(experts=2, units=3))
    learner = small.learner(method("ExcessMTL"), model=model)
    gradients, _ = small.task_gradients(model, x, y)
    changes, _ = small.step(learner, x, y)
    small.same(changes, small.expected(gradients, lambda rows: rows.sum(0)))  # its first step is the plain sum
    kept = [v for v in model.trainable_variables if v.path.split("/")[0] not in small.TASKS]
    assert any("gate" in v.path for v in kept) and len(kept) == len(learner.weighting.squares)
    for v, squares in zip(kept, learner.weighting.squares):
        found = [gradients[task][v.path] for task in small.TASKS]
        np.testing.assert_allclose(
            squares, [np.zeros(v.shape) if g is None else g**2 for g in found], rtol=1e-4, atol=1e-8
        )


@pytest.mark.parametrize(
    "weighting, weigh",
    [(lambda: kt.multitask.PCGrad(), pcgrad), (lambda: kt.multitask.Equal(), lambda rows: rows.sum(0))],
)
def test_gradients_of_regularizers_are_added_unweighed(weighting, weigh):
    x, y = small.data(tasks=TWO)
    for at in (None, "features") if weigh is not pcgrad else (None,):
        learner = small.learner(weighting(), model=small.network(tasks=TWO, penalty=0.3), at=at)
        gradients, losses = small.task_gradients(learner.model, x, y)
        kernels = [learner.model.get_layer("backbone").get_layer(name).kernel for name in ("block_1", "block_2")]
        wanted = small.expected(gradients, weigh)
        for kernel in kernels:
            wanted[kernel.path] = wanted[kernel.path] - 0.1 * 2 * 0.3 * kernel.numpy()
        penalty = 0.3 * sum(np.square(kernel.numpy()).sum() for kernel in kernels)
        changes, logs = small.step(learner, x, y)
        small.same(changes, wanted)
        assert logs["loss"] == pytest.approx(sum(losses.values()) + penalty, rel=1e-5) and penalty > 0.5


# --- gradients at the features


def at_features(model, x, y):
    """The features, each task's gradient at them (one row a task) and at all above them, by the layers alone."""
    features, given = model.get_layer("backbone")(x), kt.objectives(model)
    found, losses = {}, {}
    above = [v for v in model.trainable_variables if not v.path.startswith("block")]
    for task in given["loss"]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            names = [layer.name for layer in model.layers]
            part = model.get_layer("sharing")(features)[task] if "sharing" in names else features
            losses[task] = given["loss_weights"][task] * given["loss"][task](y[task], model.get_layer(task)(part))
        gradients = tape.gradient(losses[task], [features, *[v.value for v in above]])
        dense = [None if g is None else tf.convert_to_tensor(g).numpy() for g in gradients]
        found[task] = dict(zip(["features", *[v.path for v in above]], dense))
    return features, found, {task: float(loss) for task, loss in losses.items()}


def expected_at(model, x, y, weigh, factors, rate=0.1):
    """The changes: the trunk along `weigh` of what the tasks want at the features, through one pass."""
    _, found, losses = at_features(model, x, y)
    rows = small.rows_of(found, ["features"])
    along = tf.constant(weigh(losses)(rows).reshape(len(x), -1), tf.float32)
    trunk = [v for v in model.trainable_variables if v.path.startswith("block")]
    with tf.GradientTape() as tape:
        surrogate = tf.reduce_sum(along * model.get_layer("backbone")(x))
    changes = {
        v.path: -rate * tf.convert_to_tensor(g).numpy()
        for v, g in zip(trunk, tape.gradient(surrogate, [v.value for v in trunk]))
    }
    shared, single = small.split(found)
    for path in shared[1:]:
        parts = [0 if found[task][path] is None else w * found[task][path] for task, w in factors(rows, losses).items()]
        changes[path] = -rate * sum(parts)
    return {**changes, **{path: -rate * found[task][path] for path, task in single.items()}}


def lengths(rows, losses):
    return {task: loss / np.linalg.norm(row) for (task, loss), row in zip(losses.items(), rows)}


@pytest.mark.parametrize("sharing", [None, lambda: kt.multitask.MMoE(experts=2, units=3)])
@pytest.mark.parametrize("frozen", [False, True, "in part"])
def test_at_the_features_against_a_derivation_there(sharing, frozen):
    x, y = small.data()
    model = small.network(sharing=sharing and sharing())
    if frozen:
        kt.unfreeze(model, "block_2") if frozen == "in part" else kt.freeze(model)
    learner = small.learner(ByLength(), model=model, at="features")
    wanted = expected_at(model, x, y, by_length, lengths)
    changes, logs = small.step(learner, x, y)
    small.same(changes, wanted)
    assert any(path.startswith("block") for path in changes) == (frozen is not True)
    assert np.ptp([logs[f"{task}_weight"] for task in small.TASKS]) > 0.1


def test_at_the_features_the_backbone_is_passed_once_and_not_once_a_task():
    passes = []

    @tf.custom_gradient
    def counted(z):
        def back(gradient):
            passes.append(gradient.shape)
            return gradient

        return tf.identity(z), back

    class Counted(keras.layers.Layer):
        def call(self, inputs):
            return counted(inputs)

    for at, expected in [(None, 3), ("features", 1)]:
        passes.clear()
        inputs = keras.Input((4,))
        stem = keras.layers.Dense(3, name="stem")(inputs)
        heads = {"size": kt.heads.Regressor(), "colour": kt.heads.Classifier(3), "age": kt.heads.Regressor()}
        model = kt.attach(keras.Model(inputs, Counted()(stem)), heads)
        small.step(small.learner(kt.multitask.PCGrad(), model=model, at=at), *small.data())
        assert len(passes) == expected


def shortest_of_any(rows):
    """MGDA's weights for any number of tasks, by SciPy."""
    gramian, start = rows @ rows.T / np.mean(np.sum(rows**2, 1)), np.full(len(rows), 1 / len(rows))
    sum_is_1 = {"type": "eq", "fun": lambda w: np.sum(w) - 1, "jac": np.ones_like}
    found = optimize.minimize(
        lambda w: (w @ gramian @ w, 2 * gramian @ w), start, jac=True, bounds=[(0, 1)] * len(rows),
        constraints=sum_is_1, tol=1e-12, options={"maxiter": 500},
    )
    assert found.success
    return found.x


def check_mgda_at_features(tasks, sharing, weigh, factors):
    x, y = small.data(tasks=tasks)
    changes = {}
    for name, weighting, at in [
        ("here", method("MGDA"), "features"),
        ("variables", method("MGDA"), None),
        ("sum", kt.multitask.Equal(), "features"),
    ]:
        model = small.network(tasks=tasks, sharing=sharing and sharing())
        learner = small.learner(weighting, model=model, at=at)
        if name == "here":
            wanted = expected_at(model, x, y, lambda losses: weigh, factors)
        changes[name], logs = small.step(learner, x, y)
        if name == "here":
            shares = [logs[f"{task}_weight"] for task in tasks]
    small.same(changes["here"], wanted, rtol=2e-3, atol=1e-5)
    for other in ("variables", "sum"):  # the controls
        assert np.abs(changes["here"]["block_1/kernel"] - changes[other]["block_1/kernel"]).max() > 1e-3
    return shares


def test_mgda_at_the_features_is_the_shortest_combination_there_then_one_pass_through_the_trunk():
    """Two tasks in closed form; their heads stay with their own gradients."""
    shares = check_mgda_at_features(TWO, None, shortest, lambda rows, losses: pytest.fail("nothing above is shared"))
    assert np.sum(shares) == pytest.approx(1, abs=1e-5) and abs(shares[0] - shares[1]) > 0.01


@pytest.mark.parametrize("sharing", [None, lambda: kt.multitask.MMoE(experts=2, units=3)])
def test_mgda_of_three_tasks_at_the_features_as_scipy_finds_it(sharing):
    """What is shared above the features goes by the same weights."""
    shares = check_mgda_at_features(
        small.TASKS, sharing, lambda rows: shortest_of_any(rows) @ rows,
        lambda rows, losses: dict(zip(losses, shortest_of_any(rows))),
    )
    assert np.sum(shares) == pytest.approx(1, abs=1e-5) and np.ptp(shares) > 0.05


def test_a_combination_at_the_features_works_on_each_element_of_each_example():
    x, y = small.data()
    model = small.network()
    learner = small.learner(Agreed(), model=model, at="features")
    wanted = expected_at(model, x, y, lambda losses: agreed, lambda rows, losses: dict.fromkeys(losses, 1.0))
    small.same(small.step(learner, x, y)[0], wanted)


def test_a_layer_below_and_above_the_features_gets_both_gradients():
    x, y = small.data(tasks=TWO)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    tied = keras.layers.Dense(4, activation="tanh", name="tied")
    features = keras.layers.Identity(name="features")(tied(inputs))
    heads = {
        "size": kt.heads.Regressor(name="size"),
        "age": kt.heads.Regressor({"mean": 40.0, "std": 10.0}, name="age"),
    }
    model = keras.Model(inputs, {"size": heads["size"](features), "age": heads["age"](tied(features))})
    gradients, _ = small.task_gradients(model, x, y)

    class Ones(ByLength):
        def call(self, losses, gramian, present):
            return tf.ones_like(losses)

    changes, _ = small.step(small.learner(Ones(), model=model, at="features"), x, y)
    small.same(changes, small.expected(gradients, lambda rows: rows.sum(0)))


# --- methods that read losses


class Squared(LearnedWeighting):
    """Minimizes sum_t (s_t L_t^2 + s_t^2)."""

    def build(self, tasks, shapes=()):
        self.s = self.add_weight(shape=(tasks,), initializer="ones")
        super().build(tasks, shapes)

    def objective(self, losses, present):
        return tf.reduce_sum(tf.where(present, self.s * losses**2 + self.s**2, 0.0))


OBJECTIVES = [  # method, weights and gradients of its variables, at its start
    (kt.multitask.Uncertainty, lambda L: np.ones_like(L), lambda L: 0.5 - L),
    (kt.multitask.IMTLL, lambda L: np.ones_like(L), lambda L: L - 1),
    (Squared, lambda L: 2 * L, lambda L: L**2 + 2),
]


@pytest.mark.parametrize("make, weigh, own", OBJECTIVES)
@pytest.mark.parametrize("scaled", [None, 64.0])
def test_variables_of_a_method_get_the_gradients_of_its_own_objective(make, weigh, own, scaled):
    x, y = small.data()
    optimizer = keras.optimizers.SGD(0.1, loss_scale_factor=scaled)
    learner = small.learner(make(), optimizer=optimizer)
    gradients, losses = small.task_gradients(learner.model, x, y)
    size = np.array(list(losses.values()))
    before = learner.weighting.s.numpy()
    changes, logs = small.step(learner, x, y)
    factors = dict(zip(losses, weigh(size)))
    wanted = {
        path: -0.1 * sum(factors[task] * g[path] for task, g in gradients.items() if g[path] is not None)
        for path in changes
    }
    small.same(changes, wanted)
    np.testing.assert_allclose(learner.weighting.s - before, -0.1 * own(size), rtol=1e-4)
    assert [logs[f"{task}_weight"] for task in losses] == pytest.approx(list(factors.values()), rel=1e-5)


def test_losses_come_multiplied_by_the_loss_weights_and_the_gramian_is_of_what_is_shared():
    x, y = small.data()
    learner = small.learner(Recorder())
    gradients, losses = small.task_gradients(learner.model, x, y)
    small.step(learner, x, y)
    ((said, gramian, present),) = learner.weighting.calls
    np.testing.assert_allclose(said, list(losses.values()), rtol=1e-5)
    plain = kt.objectives(learner.model)["loss"]["size"](y["size"], small.network()(x)["size"])
    assert said[0] == pytest.approx(0.5 * float(plain), rel=1e-5)
    rows = small.rows_of(gradients, small.split(gradients)[0])
    np.testing.assert_allclose(gramian, rows @ rows.T, rtol=1e-4)
    assert present.tolist() == [True] * 3


def test_after_the_update_the_losses_of_the_same_batch_are_seen_again():
    x, y = small.data()
    learner = small.learner(Recorder(), model=small.network(norms=True))
    other = small.learner(kt.multitask.Equal(), model=small.network(norms=True))
    small.step(learner, x, small.absent(y, "age"))
    small.step(other, x, small.absent(y, "age"))
    small.same(small.weights(learner.model), small.weights(other.model), atol=1e-6)  # statistics have moved once
    ((losses, present),) = learner.weighting.afters
    assert present.tolist() == [True, True, False]
    _, wanted = small.task_gradients(learner.model, x, small.absent(y, "age"))
    np.testing.assert_allclose(losses, list(wanted.values()), rtol=1e-4)
    assert np.all(losses[:2] < learner.weighting.calls[0][0][:2]) and losses[2] == 0


# --- missing labels

METHODS = [
    (ByLength, None),
    (ByLength, "features"),
    (Agreed, None),
    (kt.multitask.Uncertainty, None),
    (lambda: method("MoCo"), None),
    (lambda: method("SDMGrad"), None),
    (lambda: method("GradNorm"), None),
    (lambda: method("FAMO"), None),
]


@pytest.mark.parametrize("make, at", METHODS[:3])
def test_gaps_in_any_pattern_train_as_the_labelled_rows_of_each_task(make, at):
    """The derivation gives plain Keras losses the labelled rows alone."""
    x, y = small.data(16)
    y = small.gaps(y)
    losses = {
        "size": keras.losses.MeanSquaredError(),
        "colour": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "age": keras.losses.MeanSquaredError(),
    }
    model, sizes = small.network(), {}
    learner = small.learner(make(), model=model, at=at)
    gradients = {}
    for task in small.TASKS:
        rows = ~np.isnan(y[task]) if y[task].dtype.kind == "f" else y[task] >= 0
        assert 3 < rows.sum() < 16
        with tf.GradientTape() as tape:
            features = model.get_layer("backbone")(x)
            tape.watch(features)
            said = tf.boolean_mask(model.get_layer(task)(features), rows)
            labels, said = (y[task][rows], said) if task != "age" else ((y[task][rows] - 40) / 10, (said - 40) / 10)
            loss = losses[task](labels, said) * (0.5 if task == "size" else 1.0)
        found = tape.gradient(loss, [features, *[v.value for v in model.trainable_variables]])
        gradients[task] = dict(
            zip(
                ["features", *[v.path for v in model.trainable_variables]],
                [g if g is None else g.numpy() for g in found],
            )
        )
        sizes[task] = float(loss)
    if at is None:
        for found in gradients.values():
            del found["features"]
        wanted = small.expected(gradients, by_length(sizes) if make is ByLength else agreed)
    else:
        wanted = expected_at(model, x, y, by_length, lengths)
        for task, found in gradients.items():
            np.testing.assert_allclose(at_features(model, x, y)[1][task]["features"], found["features"], atol=1e-6)
    small.same(small.step(learner, x, y)[0], wanted)


@pytest.mark.parametrize("make, at", METHODS)
def test_rows_without_any_label_might_as_well_not_be_there(make, at):
    x, y = small.data(12)
    none = np.arange(12) % 3 == (2 if make().parts == 1 else 9)  # halves are cut by place
    holes = {task: np.where(none, v.dtype.type(np.nan if v.dtype.kind == "f" else -1), v) for task, v in y.items()}
    one, other = (small.learner(make(), at=at) for _ in range(2))
    for _ in range(2):
        first, _ = small.step(one, np.where(none[:, None], 9, x), holes)
        second, _ = small.step(other, x[~none], {task: v[~none] for task, v in y.items()})
        assert small.same(first, second, atol=1e-5)


@pytest.mark.parametrize("make, at", METHODS)
def test_a_task_without_labels_contributes_nothing_and_its_head_stays(make, at):
    """The others step as a model without it, in the second of three steps."""
    x, y = small.data()
    two = small.network(tasks=TWO)
    learner, other = small.learner(make(), at=at), small.learner(make(), model=two, at=at)
    for variable in two.trainable_variables:
        variable.assign(next(v for v in learner.model.trainable_variables if v.path == variable.path))
    gone = small.absent(y, "colour")
    changes, logs = small.step(learner, x, gone)
    wanted, other_logs = small.step(other, x, {task: y[task] for task in TWO})
    colour = {path: changes.pop(path) for path in list(changes) if path.startswith("colour")}
    assert len(colour) == 2 and not any(np.any(v) for v in colour.values())
    small.same(changes, wanted, rtol=1e-3, atol=1e-5)
    assert logs.get("colour_weight", 0) == 0 == logs["colour_loss"]
    said, wanted = ([of.get(f"{task}_weight", 0) for task in TWO] for of in (logs, other_logs))
    assert said == pytest.approx(wanted, rel=1e-3)
    assert np.any(small.step(learner, x, y)[0]["colour/output/kernel"])


def test_sample_weights_are_in_the_gradients_that_are_weighed():
    x, y = small.data(tasks=TWO)
    weights = {"size": np.linspace(0, 3, 12).astype("float32"), "age": np.linspace(2, 0, 12).astype("float32")}
    learner = small.learner(kt.multitask.PCGrad(), model=small.network(tasks=TWO))
    gradients, losses = small.task_gradients(learner.model, x, y, weights)
    changes, logs = small.step(learner, x, y, sample_weight=weights)
    small.same(changes, small.expected(gradients, pcgrad))
    assert logs["loss"] == pytest.approx(sum(losses.values()), rel=1e-5)


# --- precision

KINDS = {
    "PCGrad": (kt.multitask.PCGrad, None),
    "features": (kt.multitask.PCGrad, "features"),
    "MoCo": (lambda: method("MoCo"), None),
    "Uncertainty": (kt.multitask.Uncertainty, None),
    "SDMGrad": (lambda: method("SDMGrad"), None),
    "FAMO": (lambda: method("FAMO"), None),
    "DWA": (kt.multitask.DWA, None),
    "GradNorm": (kt.multitask.GradNorm, None),
}


@pytest.fixture
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def states(learner):
    return {v.path: v.numpy() for v in [*learner.model.weights, *learner.weighting.weights]}


@pytest.mark.parametrize("kind", KINDS)
def test_scaling_of_losses_changes_nothing(kind):
    make, at = KINDS[kind]
    x, y = small.data(tasks=TWO)
    optimizers = [
        keras.optimizers.SGD(0.1),
        keras.optimizers.SGD(0.1, loss_scale_factor=1024.0),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**12),
    ]
    found = []
    for optimizer in optimizers:
        learner = small.learner(make(), model=small.network(tasks=TWO, penalty=0.1), at=at, optimizer=optimizer)
        for _ in range(2):
            learner.train_on_batch(x, y)
        found.append(states(learner))
    assert small.same(found[0], found[1], atol=1e-5) and small.same(found[0], found[2], atol=1e-5)


def check_half(make, at, policy, eager=True):
    x, y = small.data(tasks=TWO)
    learner = small.learner(make(), model=small.network(tasks=TWO), at=at, eager=eager)
    assert learner.model.get_layer("backbone")(x).dtype == policy[6:] and all(
        v.dtype == "float32" for v in learner.weights
    )
    assert isinstance(learner.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    keras.config.set_dtype_policy("float32")
    other = small.learner(make(), model=small.network(tasks=TWO), at=at)
    for _ in range(3):
        one, logs = small.step(learner, x, y)
        whole, _ = small.step(other, x, y)
        assert np.all(np.isfinite(list(logs.values()))) and any(np.any(v) for v in one.values())
    size = max(np.abs(v).max() for v in whole.values())
    tolerance = 0.01 if policy == "mixed_float16" else 0.08
    for path in whole:
        assert np.abs(one[path] - whole[path]).max() < tolerance * size, path
    assert np.any(one["block_1/kernel"] != whole["block_1/kernel"])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("kind", ["PCGrad", "features", "MoCo", "Uncertainty"])
def test_half_precision_trains_as_whole_within_its_tolerance(kind, policy):
    check_half(*KINDS[kind], policy, eager=kind != "PCGrad")


def check_overflow(kind, policy, **options):
    """Losses times 1e32 are numbers in the heads, and none in the float16 below them."""
    make, at = KINDS[kind]
    x, y = small.data(tasks=TWO)
    scaling = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=64.0)
    learner = small.learner(make(), model=small.network(tasks=TWO, norms=True), at=at, optimizer=scaling, **options)
    learner.train_on_batch(x, y)
    before = everything(learner)
    scaling.dynamic_scale.assign(1e32)
    learner.train_on_batch(x, y)
    assert float(scaling.dynamic_scale) == pytest.approx(5e31)
    after = everything(learner)
    own = ("dynamic_scale", "step_counter")
    for name in before:
        if not name.endswith(own):
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    scaling.dynamic_scale.assign(64.0)
    learner.train_on_batch(x, y)
    now = everything(learner)
    assert all(np.any(before[name] != now[name]) for name in before if name.endswith(("kernel", "moving_mean")))
    assert all(np.all(np.isfinite(v)) for v in now.values())


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_overflows_changes_nothing_but_the_scale(kind, policy):
    check_overflow(kind, policy)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("jit", [False, True])
def test_in_a_graph_a_step_that_overflows_changes_nothing_but_the_scale(kind, policy, jit):
    check_overflow(kind, policy, eager=False, jit_compile=jit)


# --- ways to run

WAYS = {
    "graph": {},
    "several": {"steps_per_execution": 2},
    "jit": {"jit_compile": True},
    "jit several": {"jit_compile": True, "steps_per_execution": 2},
}


def run(kind, optimizer, eager=False, **options):
    """Five steps in two epochs, and two more in a second `fit`."""
    make, at = KINDS[kind]
    x, y = small.data(10, tasks=TWO)
    y = small.gaps(y, share=0.1)
    learner = small.learner(
        make(),
        model=small.network(tasks=TWO, norms=True, penalty=0.01),
        at=at,
        eager=eager,
        optimizer=optimizer,
        **options,
    )
    logs = learner.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    again = learner.fit(x, y, batch_size=8, shuffle=False, verbose=0).history
    # Keras's own means of the losses by name count short batches as whole ones in a graph
    return {**states(learner), **{f"log {k}": np.array([*logs[k], *again[k]]) for k in logs if not k.endswith("_loss")}}


def check_way(kind, way):
    # norms over halves of two rows leave rounding errors as gradients, which Adam would make as large as any
    optimizer = keras.optimizers.SGD if kind == "SDMGrad" else keras.optimizers.Adam
    one, other = (run(kind, optimizer=optimizer(0.05), **options) for options in ({"eager": True}, WAYS[way]))
    assert small.same(one, other, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("kind, way", [("PCGrad", "several")])
def test_all_ways_to_run_give_the_same_numbers(kind, way):
    check_way(kind, way)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["graph", "jit several"])
def test_all_methods_and_ways_to_run_give_the_same_numbers(kind, way):
    check_way(kind, way)


# --- every method; those in `KINDS` are above

DRAWN = ("GradDrop", "GradVac", "PCGrad", "RLW")
EVERY = {name: make for name, (make, _) in replicas.every_weighting().items()}
EVERY.update({name: functools.partial(EVERY[name], seed=3) for name in DRAWN})
REMAINING = sorted(set(EVERY) - set(KINDS))


def test_every_method_is_run_in_every_way():
    assert len(EVERY) == 24 == len(REMAINING) + len(set(EVERY) & set(KINDS)) and len(REMAINING) == 17


@pytest.fixture
def draws_of_xla(monkeypatch):
    """Draws by whole numbers alone, which are the same under XLA and without it, and others at each step."""

    def uniform(shape, seed=None, **options):
        first, second = tf.unstack(tf.cast(seed.next(), tf.int64))
        number = tf.range(tf.reduce_prod(shape), dtype=tf.int32)
        state = tf.cast(number, tf.int64) + 1009 * first + 9176 * second
        for _ in range(5):
            state = (state * 1103515245 + 12345) % 2**31
            state = tf.bitwise.bitwise_xor(state, state // 2**13)
        return tf.reshape(tf.cast(state % 2**31, tf.float32) / 2**31, shape)

    monkeypatch.setattr(keras.random, "uniform", uniform)
    monkeypatch.setattr(keras.random, "normal", lambda shape, seed=None, **options: 2 * uniform(shape, seed) - 1)


def three_steps(make, **options):
    """Three steps in each of two epochs, as some methods act on the second only."""
    x, y = small.data(tasks=TWO)
    learner = small.learner(make(), model=small.network(tasks=TWO), optimizer=keras.optimizers.SGD(0.05), **options)
    logs = learner.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    assert int(learner.optimizer.iterations) == 6
    start = small.network(tasks=TWO).get_layer("backbone").get_layer("block_1").kernel.numpy()
    assert np.abs(learner.model.get_layer("backbone").get_layer("block_1").kernel - start).max() > 1e-4
    return {**states(learner), **{f"log {k}": np.array(v) for k, v in logs.items()}}


@pytest.mark.slow
@pytest.mark.parametrize("name", REMAINING)
def test_every_method_compiled_by_xla_in_several_steps_at_once_gives_the_eager_numbers(name, draws_of_xla):
    one, other = (
        three_steps(EVERY[name], **options) for options in ({}, {"eager": False, **WAYS["jit several"]})
    )
    assert small.same(one, other, rtol=1e-3, atol=2e-5)
    if name in ("GradDrop", "RLW"):  # of two tasks GradVac draws nothing that matters
        again = three_steps(functools.partial(EVERY[name], seed=4))
        assert np.abs(again["block_1/kernel"] - one["block_1/kernel"]).max() > 1e-3, "the control"


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
@pytest.mark.parametrize("name", sorted(set(EVERY) - {"PCGrad", "MoCo", "Uncertainty"}))
def test_every_method_in_half_precision_trains_as_whole_within_its_tolerance(name, policy):
    check_half(EVERY[name], None, policy)


def test_accumulated_gradients_are_the_mean_of_two_weighed_steps():
    x, y = small.data(tasks=TWO)
    learner = small.learner(
        kt.multitask.PCGrad(),
        model=small.network(tasks=TWO),
        optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
    )
    parts = [(x[half], {task: v[half] for task, v in y.items()}) for half in (slice(0, 6), slice(6, 12))]
    wanted = [
        small.expected(small.task_gradients(learner.model, *part)[0], lambda rows: np_pcgrad(rows)) for part in parts
    ]
    first, _ = small.step(learner, *parts[0])
    assert not any(np.any(v) for v in first.values())
    second, _ = small.step(learner, *parts[1])
    small.same(second, {path: (wanted[0][path] + wanted[1][path]) / 2 for path in second})


def np_pcgrad(rows):
    return pcgrad(rows) if rows[0] @ rows[1] < 0 else rows.sum(0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PCGrad", "features", "MoCo", "Uncertainty"])
@pytest.mark.parametrize("way", ["graph", "jit"])
def test_accumulated_gradients_in_all_ways_to_run(kind, way):
    make = lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)  # noqa: E731
    assert small.same(
        run(kind, eager=True, optimizer=make()), run(kind, optimizer=make(), **WAYS[way]), rtol=1e-3, atol=2e-5
    )


# --- embeddings


def words(penalty=0.0):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,), dtype="int32")
    regularizer = keras.regularizers.L2(penalty) if penalty else None
    x = keras.layers.Embedding(7, 4, name="block_words", embeddings_regularizer=regularizer)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(x))
    heads = {"size": kt.heads.Regressor(), "age": kt.heads.Regressor({"mean": 40.0, "std": 10.0})}
    return kt.attach(model, heads)


def test_gradients_of_embeddings_are_weighed_as_any_other():
    """They come as slices of a table."""
    x, (_, y) = np.random.default_rng(0).integers(0, 5, (12, 3)), small.data(tasks=TWO)
    y["age"] = 40 - 10 * y["size"]
    for make, weigh in [
        (kt.multitask.PCGrad, np_pcgrad),
        (kt.multitask.Equal, lambda rows: rows.sum(0)),
        (Agreed, agreed),
    ]:
        model = words()
        gradients, _ = small.task_gradients(model, x, y)
        changes, _ = small.step(small.learner(make(), model=model), x, y)
        small.same(changes, small.expected(gradients, weigh))
        assert not np.any(changes["block_words/embeddings"][5:])
    model = words()
    wanted = expected_at(model, x, y, by_length, lengths)
    small.same(small.step(small.learner(ByLength(), model=model, at="features"), x, y)[0], wanted)
    model = words(penalty=0.5)
    decay, gradients = (
        0.1 * 2 * 0.5 * model.get_layer("backbone").layers[1].embeddings.numpy(),
        small.task_gradients(model, x, y)[0],
    )
    for make in (kt.multitask.PCGrad, kt.multitask.Uncertainty):
        model = words(penalty=0.5)
        wanted = small.expected(gradients, np_pcgrad if make is kt.multitask.PCGrad else lambda rows: rows.sum(0))
        wanted["block_words/embeddings"] = wanted["block_words/embeddings"] - decay
        small.same(small.step(small.learner(make(), model=model), x, y)[0], wanted)


# --- several replicas


@pytest.mark.slow
def test_two_replicas_train_as_one():
    """Batches that don't divide evenly, one that leaves a replica without rows, and labels that are missing."""
    (two,) = replicas.run("two", "special_tasks", "tasks_by_replica", "told")
    one = replicas.special_tasks()
    assert len(one) == len(replicas.SPECIAL)
    trained_alike(two["special_tasks"], one)
    apart = np.subtract(two["tasks_by_replica"]["weights"], one["PCGrad"]["weights"])
    assert np.abs(apart).max() > 1e-3  # the control: each replica's gradients weighed by themselves
    assert set(two["told"]) == set(replicas.weightings())
    check_told(two["told"])


def check_told(told):
    """Wherever the fault is, it's named and nothing has changed."""
    for said, untouched in told.values():
        assert said.startswith("The loss of task 'age' is NaN or infinite in batch 1 of epoch 1.") and untouched


@pytest.mark.slow
def test_two_workers_train_as_one():
    first, second = replicas.run("workers", "few_tasks", "few_told", count=2)
    one = replicas.few_tasks()
    assert len(one) == len(replicas.FEW) == len(first["few_told"])
    trained_alike(first["few_tasks"], one, tolerance=1e-5)
    check_told(first["few_told"])
    assert first == second  # all are of one mind, to the bit


LEARNER = """if 1:
    import hashlib, json, sys, keras_transfer as kt
    strategy = kt.strategy("auto")
    from multitask import small
    with strategy.scope():
        learner = kt.MultiTask(small.network(tasks=("size", "age"), dropout=0.2), kt.multitask.PCGrad(seed=3))
    history = kt.fine_tune(learner, small.data(48, tasks=("size", "age")), head_epochs=1, epochs=4, last="block_2",
                           directory=sys.argv[1], seed=7, deterministic=True, verbose=2)
    digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in learner.model.weights)).hexdigest()
    print(json.dumps([digest, history.history["loss"]]))
"""


@pytest.mark.slow
def test_a_run_of_two_workers_killed_and_begun_again_ends_with_the_same_bits(tmp_path):
    def begun(name):
        return replicas.start([sys.executable, "-c", LEARNER, str(tmp_path / name)], 2)

    whole = [said.splitlines()[-1] for said in replicas.finish(begun("whole"))]
    assert whole[0] == whole[1] and len(set(json.loads(whole[0])[1])) == 5
    killed = begun("killed")
    replicas.read_until(killed[0], "Epoch", 4)
    for process in killed:
        process.kill()
    replicas.finish(killed, check=False)
    resumed = replicas.finish(begun("killed"))
    assert [said.splitlines()[-1] for said in resumed] == whole and "from epoch" in resumed[0]


@pytest.mark.slow
def test_two_replicas_train_as_one_by_every_method():
    (two,) = replicas.run("two", "every_task", timeout=1500)
    one = replicas.every_task()
    assert len(one) == 24
    trained_alike(two["every_task"], one)


@pytest.mark.slow
def test_two_workers_train_as_one_by_every_method():
    """Those that draw draw the same on each: the states of their seeds are weights, and begin alike."""
    first, second = replicas.run("workers", "every_task", count=2, timeout=1500)
    one = replicas.every_task()
    assert set(one) == set(EVERY)
    assert first == second  # all are of one mind, to the bit
    for name in one:
        for key, wanted in one[name].items():
            apart = np.abs(np.subtract(first["every_task"][name][key], wanted)).max(initial=0.0)
            assert apart <= 1e-5 * max(1.0, np.abs(wanted).max(initial=0.0)), (name, key, apart)


@pytest.mark.slow
@pytest.mark.parametrize("how, count", [("two", 1), ("workers", 2)])
def test_methods_that_draw_draw_once_a_step_wherever_they_are_made(how, count):
    said = [worker["drawn"] for worker in replicas.run(how, "drawn", count=count)]
    one = replicas.drawn()
    assert said[0] == said[-1]  # the chief's seed is that of all workers, where none is given
    assert said[0].pop("without a seed")["state"][1] == one.pop("without a seed")["state"][1] > 0
    trained_alike(said[0], one, tolerance=1e-5)
    assert one["RLW"]["weights"] != one["PCGrad"]["weights"]


def trained_alike(two, one, tolerance=None):
    rtol, atol = (2e-3, 2e-5) if tolerance is None else (tolerance, tolerance)
    for name in one:
        for key in one[name]:
            np.testing.assert_allclose(two[name][key], one[name][key], rtol=rtol, atol=atol, err_msg=f"{name} {key}")
