import keras
import numpy as np
import pytest
import tensorflow as tf
from support import values

import keras_transfer as kt
from keras_transfer.multitask.conflicting import ConflictMap, Conflicts, conflicts
from multitask import small


def linear(tasks, width=2):
    """x (width,) -> a shared layer that begins as the identity -> a number for each task, with fixed heads."""
    x = inputs = keras.Input((width,), name="numbers")
    layer = keras.layers.Dense(width, use_bias=False, kernel_initializer="identity", name="block_1_dense")
    model = kt.attach(keras.Model(inputs, layer(x)), {task: kt.heads.Regressor() for task in tasks})
    for task, weights in tasks.items():
        model.get_layer(task).set_weights([np.reshape(weights, (width, 1)).astype("float32"), np.zeros(1, "float32")])
    return model


def rows(labels, width=2, count=12):
    x = np.random.default_rng(0).normal(size=(count, width)).astype("float32")
    return x, {task: (sign * x[:, 0]).astype("float32") for task, sign in labels.items()}


def test_a_task_and_its_opposite_have_cosine_minus_one_and_equal_tasks_one():
    """At prediction 0 of the same head, labels y and -y pull the shared layer in opposite directions."""
    model = linear({"up": [1, 0], "down": [1, 0], "again": [1, 0]})
    model.get_layer("backbone").layers[-1].set_weights([np.zeros((2, 2), "float32")])
    found = conflicts(model, rows({"up": 1, "down": -1, "again": 1}))
    assert found.tasks == ["up", "down", "again"] and found.parts == ["block_1"]
    assert np.allclose(found.mean[0], [[1, -1, 1], [-1, 1, -1], [1, -1, 1]], atol=1e-5)
    assert np.array_equal(found.opposed[0], [[0, 1, 0], [1, 0, 1], [0, 1, 0]])


def test_tasks_that_read_different_features_are_orthogonal():
    model = linear({"first": [1, 0], "second": [0, 1]})
    assert np.allclose(conflicts(model, rows({"first": 3, "second": -2})).mean[0], np.eye(2), atol=1e-6)


def test_cosines_by_hand():
    """One row x = (1, 0), labels 0: the gradient of task t on the kernel is 2 x p_t w_t', p_t being its prediction."""
    model = linear({"a": [1, 0], "b": [-3, 4]})
    zero = np.zeros(1, "float32")
    found = conflicts(model, (np.array([[1.0, 0.0]], "float32"), {"a": zero, "b": zero}))
    # predictions are 1 and -3: gradients 2 (1, 0) and -6 (-3, 4); cosine 18 / 30
    assert found.mean[0, 0, 1] == pytest.approx(0.6, rel=1e-5)


@pytest.mark.parametrize("by", ["block", "layer", "model"])
def test_blocks_agree_with_gradients_taken_one_by_one(by):
    model, (x, y) = small.network(), small.data()
    parts = ["all"] if by == "model" else ["block_1", "block_2", "all"]
    found = conflicts(model, (x, y), by=by)
    assert found.parts == parts and found.cosines.shape == (1, len(parts), 3, 3)
    layers = {"block_1": ["block_1"], "block_2": ["block_2"], "all": ["block_1", "block_2"]}
    for p, part in enumerate(parts):
        backbone = model.get_layer("backbone")
        variables = [v for name in layers[part] for v in backbone.get_layer(name).trainable_variables]
        flat = []
        for task in found.tasks:
            with tf.GradientTape() as tape:
                loss = model.get_layer(task).make_loss()(y[task], model(x)[task])
            flat.append(np.concatenate([np.ravel(g) for g in tape.gradient(loss, variables)]))
        assert np.allclose(found.mean[p], cosine(flat), atol=1e-4)


def cosine(vectors):
    unit = np.stack(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def test_a_frozen_backbone_is_looked_at_through_its_features():
    model = linear({"up": [1, 0], "down": [-1, 0]})
    kt.freeze(model)
    with pytest.raises(ValueError, match='No variable that trains is shared by two tasks.* or give at="features"'):
        conflicts(model, rows({"up": 1, "down": 1}))
    found = conflicts(model, rows({"up": -1, "down": -1}), at="features")
    # residuals 2 y and 0; so "down" has no gradient, and nothing is known
    assert found.parts == ["features"] and np.isnan(found.mean[0, 0, 1]) and np.isclose(found.mean[0, 0, 0], 1)
    assert "No two tasks had labels and gradients in one batch." in str(found)


def test_batches_are_looked_at_one_by_one_and_those_without_labels_left_out():
    model = linear({"up": [1, 0], "down": [1, 0]})
    model.get_layer("backbone").layers[-1].set_weights([np.zeros((2, 2), "float32")])
    x, y = rows({"up": 1, "down": -1})
    y["down"][:4] = np.nan
    y["down"][8:] *= -1  # in the last batch both agree
    found = conflicts(model, tf.data.Dataset.from_tensor_slices((x, y)).batch(4), batches=8)
    assert np.allclose(found.cosines[:, 0, 0, 1], [np.nan, -1, 1], atol=1e-5, equal_nan=True)
    assert found.opposed[0, 0, 1] == 0.5 and found.mean[0, 0, 1] == pytest.approx(0, abs=1e-5)
    assert conflicts(model, tf.data.Dataset.from_tensor_slices((x, y)).batch(4), batches=2).cosines.shape[0] == 2


def test_a_look_leaves_no_trace_though_it_runs_as_in_training():
    model, data = small.network(norms=True, dropout=0.3), small.data()
    model.compile(optimizer="sgd", **kt.objectives(model))
    before = [v.numpy() for v in model.variables]
    first = conflicts(model, data)
    assert all(np.array_equal(a, b) for a, b in zip(before, [v.numpy() for v in model.variables]))
    assert np.array_equal(first.cosines, conflicts(model, data).cosines)  # the same dropout: its state is put back
    model(data[0], training=True)
    assert not np.array_equal(first.cosines, conflicts(model, data).cosines)


def test_it_reads_well():
    cosines = np.array([[[[1, c], [c, 1]] for c in batch] for batch in ((-0.5, 0.25), (-0.1, 0.15))])
    found = ConflictMap(["age", "breed"], ["block_1", "all"], cosines)
    assert str(found).splitlines() == [
        "block    age – breed",
        "block_1         -0.3",
        "all              0.2",
        "age and breed oppose each other most in block_1: cosine -0.30, below 0 in 2 of 2 batches.",
    ]
    assert repr(found) == str(found) and found.worst() == ((0, 1), 0)
    agreed = ConflictMap(["a", "b"], ["all"], np.ones((1, 1, 2, 2)))
    assert str(agreed).endswith("No two tasks oppose each other on average.")


def test_the_plot_has_a_cell_for_each_block_and_pair(tmp_path):
    axes = conflicts(small.network(), small.data()).plot(tmp_path / "conflicts.png")
    assert axes.images[0].get_array().shape == (3, 3)
    assert [label.get_text() for label in axes.get_xticklabels()][0] == "size – colour"
    assert (tmp_path / "conflicts.png").stat().st_size > 5000


@pytest.mark.parametrize("learns", [True, False])
def test_over_time_each_moment_is_what_conflicts_gives_then(learns, tmp_path):
    model, data = small.network(), small.data()
    trained = kt.MultiTask(model, kt.multitask.PCGrad()) if learns else model
    trained.compile(optimizer=keras.optimizers.SGD(0.1), **kt.objectives(model))
    first, watch = conflicts(model, data), Conflicts(data)
    trained.fit(*data, epochs=2, verbose=0, callbacks=[watch])
    assert len(watch.found) == 3 and np.allclose(watch.found[0].cosines, first.cosines, atol=1e-6)
    assert np.allclose(watch.found[-1].cosines, conflicts(model, data).cosines, atol=1e-5)
    assert not np.allclose(watch.found[-1].cosines, first.cosines, atol=1e-3)
    panels = watch.plot(tmp_path / "time.png", most=2)
    assert len(panels) == 2 and panels[0].images[0].get_array().shape == (3, 3)


def test_watching_changes_nothing_in_training():
    found = []
    for callbacks in ([], [Conflicts(small.data())]):
        model = small.network(norms=True)
        model.compile(optimizer=keras.optimizers.SGD(0.1), **kt.objectives(model))
        model.fit(*small.data(), epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
        found.append(values(model))
    assert all(np.array_equal(a, b) for a, b in zip(*found))


@pytest.mark.parametrize(
    "options, error",
    [
        ({"by": "stage"}, "Unknown grouping `by` 'stage'. There is: block, layer, model."),
        ({"batches": 0}, "`batches` must be a whole number of at least 1. Received: 0"),
        ({"at": "feature"}, "Unknown layer for `at` 'feature'. Did you mean 'features'?"),
    ],
)
def test_wrong_arguments(options, error):
    with pytest.raises(ValueError) as raised:
        conflicts(small.network(), small.data(), **options)
    assert error in str(raised.value)
