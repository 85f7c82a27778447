"""A small network of three tasks, its data, and one step of training derived by hand."""

import keras
import numpy as np
import tensorflow as tf

import keras_transfer as kt

TASKS = ("size", "colour", "age")  # in no order that a dict could be sorted into


def network(*, tasks=TASKS, sharing=None, dropout=0.0, norms=False, penalty=0.0, seed=0, **options):
    """4 numbers -> two dense blocks -> the heads; the same weights for a seed."""
    keras.utils.set_random_seed(seed)
    regularizer = {"kernel_regularizer": keras.regularizers.L2(penalty)} if penalty else {}
    x = inputs = keras.Input((4,), name="numbers")
    for i in (1, 2):
        x = keras.layers.Dense(5, activation="tanh", name=f"block_{i}", **regularizer)(x)
        if norms:
            x = keras.layers.BatchNormalization(name=f"norm_{i}", momentum=0.5)(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"dropout_{i}")(x)
    made = {
        "size": lambda: kt.heads.Regressor(loss_weight=0.5),
        "colour": lambda: kt.heads.Classifier(3, **options),
        "age": lambda: kt.heads.Regressor({"mean": 40.0, "std": 10.0}, hidden=4),
    }
    model = kt.attach(keras.Model(inputs, x, name="small"), {task: made[task]() for task in tasks}, sharing=sharing)
    for task in tasks:  # as large as after some training, so that much of the tasks' gradients reaches the backbone
        kernel = model.get_layer(task).weights[-2]
        kernel.assign(keras.initializers.GlorotUniform()(kernel.shape))
    return model


def data(rows=12, seed=0, tasks=TASKS):
    """Rows for `network`, and labels that depend on them in ways that oppose each other."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4)).astype("float32")
    labels = {
        "size": x[:, 0] - x[:, 1] ** 2,
        "colour": np.digitize(x[:, 1] - x[:, 0], [-0.5, 0.5]),
        "age": 40 + 10 * (x[:, 1] - x[:, 0] + x[:, 2]),
    }
    return x, {task: labels[task].astype("int32" if task == "colour" else "float32") for task in tasks}


def gaps(y, seed=1, share=0.4):
    """The labels `y` with a share of them missing, drawn by task."""
    random = np.random.default_rng(seed)
    return {
        task: np.where(random.uniform(size=len(v)) < share, v.dtype.type(np.nan if v.dtype.kind == "f" else -1), v)
        for task, v in y.items()
    }


def absent(y, task):
    """The labels `y` without a single one of `task`."""
    return {**y, task: np.full_like(y[task], np.nan if y[task].dtype.kind == "f" else -1)}


def learner(weighting=None, *, model=None, at=None, optimizer=None, eager=True, **options):
    """A compiled learner, by default of `network()`, with gradient descent at the rate 0.1, that runs eagerly."""
    made = kt.MultiTask(network() if model is None else model, weighting, at=at)
    optimizer = keras.optimizers.SGD(0.1) if optimizer is None else optimizer
    made.compile(optimizer=optimizer, **{"run_eagerly": eager, **kt.objectives(made.model), **options})
    return made


def step(learner, x, y, **options):
    """One step; returns the change of each variable of the model by path, and the logs."""
    before = {v.path: v.numpy() for v in learner.model.trainable_variables}
    logs = learner.train_on_batch(x, y, return_dict=True, **options)
    return {v.path: v.numpy() - before[v.path] for v in learner.model.trainable_variables}, logs


def task_gradients(model, x, y, weights=None):
    """By a tape of its own for each task: `{task: {path: gradient or None}}` of loss weight x loss, and the losses."""
    given, found, losses = kt.objectives(model), {}, {}
    for task in given["loss"]:
        with tf.GradientTape() as tape:
            said = model(x, training=True)[task]
            loss = given["loss_weights"][task] * given["loss"][task](
                y[task], said, None if weights is None else weights[task]
            )
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        dense = [None if g is None else tf.convert_to_tensor(g).numpy() for g in gradients]
        found[task] = {v.path: g for v, g in zip(model.trainable_variables, dense)}
        losses[task] = float(loss)
    return found, losses


def split(gradients):
    """Paths that several tasks reach, and `{path: task}` of those that one alone reaches."""
    reaching = {
        path: [task for task in gradients if gradients[task][path] is not None]
        for path in next(iter(gradients.values()))
    }
    return [p for p, tasks in reaching.items() if len(tasks) > 1], {p: t[0] for p, t in reaching.items() if len(t) == 1}


def rows_of(gradients, paths):
    """The gradients of each task with respect to `paths`, one row a task, in float64."""
    return np.stack(
        [np.concatenate([np.ravel(column[path]) for path in paths]) for column in gradients.values()]
    ).astype("float64")


def expected(gradients, weigh, rate=0.1):
    """The changes by gradient descent: along `weigh(rows)` for what tasks share, else along the one task's own."""
    shared, single = split(gradients)
    along, changes, start = weigh(rows_of(gradients, shared)), {}, 0
    some = next(iter(gradients.values()))
    for path in shared:
        changes[path] = -rate * along[start : start + some[path].size].reshape(some[path].shape)
        start += some[path].size
    assert start == len(along) > 0
    return {**changes, **{path: -rate * gradients[task][path] for path, task in single.items()}}


def same(one, other, **tolerance):
    """Compares arrays by name; the control: some of them are not zero. Returns how many numbers were compared."""
    assert one.keys() == other.keys() and any(np.abs(v).max() > 1e-4 for v in one.values())
    for name in one:
        np.testing.assert_allclose(one[name], other[name], **{"rtol": 1e-4, "atol": 2e-6, **tolerance}, err_msg=name)
    return sum(np.size(v) for v in one.values())


def weights(model):
    """Copies of all weights by path."""
    return {v.path: v.numpy() for v in model.weights}
