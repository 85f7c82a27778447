"""Several data sets into one: shares, order, missing labels, and what a step makes of them."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.evaluating import answers
from keras_transfer.multitask.mixing import mix, quotas
from support import colour_task

SIZES = {"colour": 60, "light": 12, "tags": 4}


def arrays(sizes=SIZES):
    """For each task rows that say which task and row they are, and labels: a class, a number, several of them."""
    found = {}
    for place, (task, count) in enumerate(sizes.items()):
        rows = np.arange(count)
        labels = {"colour": rows.astype("int32") % 3, "light": rows.astype("float32"),
                  "tags": np.ones((count, 2), "float32")}
        found[task] = np.stack([np.full(count, place), rows, 0 * rows], 1).astype("float32"), labels[task]
    return found


def drawn(dataset):
    """The tasks and rows of one epoch, in order: `[(task, row)]`."""
    names = list(SIZES)
    return [(names[int(task)], int(row)) for x, _ in dataset for task, row, _ in x.numpy()]


def counts(dataset):
    return collections.Counter(task for task, _ in drawn(dataset))


@pytest.mark.parametrize("sampling, options, power", [
    ("proportional", {}, 1.0), ("temperature", {"temperature": 2.0}, 0.5), ("equal", {}, 0.0),
    ("temperature", {"temperature": 1 / 0.3}, 0.3)])
def test_shares_are_those_of_the_formula_but_for_rounding(sampling, options, power):
    dataset = mix(arrays(), sampling, batch_size=8, **options)
    shares = np.array(list(SIZES.values())) ** power
    expected = 76 * shares / shares.sum()
    found = counts(dataset)
    assert sum(found.values()) == 76 and all(abs(found[t] - e) < 1 for t, e in zip(SIZES, expected))
    assert int(dataset.cardinality()) == 10 == len(list(dataset))


def test_annealed_shares_begin_proportional_and_end_nearly_equal():
    """alpha = 1, 0.6, 0.2 in three epochs, and it stays there."""
    dataset = mix(arrays(), "annealed", epochs=3, batch_size=8)
    for alpha in (1.0, 0.6, 0.2, 0.2):
        shares = np.array(list(SIZES.values())) ** alpha
        found = counts(dataset)
        assert all(abs(found[t] - e) < 1 for t, e in zip(SIZES, 76 * shares / shares.sum())), alpha
    assert counts(mix(arrays(), "annealed", epochs=1, batch_size=8)) == SIZES


def test_proportional_shows_each_row_once_an_epoch_in_another_order():
    dataset = mix(arrays(), batch_size=8, seed=3)
    first, second = drawn(dataset), drawn(dataset)
    assert sorted(first) == sorted(second) == sorted((t, i) for t, n in SIZES.items() for i in range(n))
    assert first != second
    in_batches = [{t for t, _ in first[k:k + 8]} for k in range(0, 72, 8)]
    assert sum(len(tasks) > 1 for tasks in in_batches) > 4  # rows of several tasks meet in a batch


def test_the_order_is_a_function_of_seed_and_epoch():
    one, other, else_ = (mix(arrays(), "temperature", batch_size=8, seed=seed) for seed in (3, 3, 4))
    epochs = [drawn(one) for _ in range(3)]
    assert [drawn(other) for _ in range(3)] == epochs and drawn(else_) != epochs[0]
    next(iter(one))  # a look at the first batch, as a summary takes it
    kt.data.info(one).epoch.assign(1)
    assert drawn(one) == epochs[1]


def test_sets_of_photos_follow_seed_and_epoch_too(photo_folder):
    """Also their augmentation, and where a small set begins anew within an epoch."""
    def mixed():
        options = {"size": 16, "batch_size": 4, "seed": 5, "augment": keras.layers.RandomFlip()}
        folders = {name: kt.data.photos(photo_folder, validation=share, **options)[0]
                   for name, share in (("a", 0.0), ("b", 0.8))}
        return mix(folders, "equal", batch_size=8, seed=1)

    one, other = mixed(), mixed()
    first, second = ([(x.numpy(), y["a"].numpy()) for x, y in one] for _ in range(2))
    kt.data.info(other).epoch.assign(1)
    again = [(x.numpy(), y["a"].numpy()) for x, y in other]
    assert all(np.array_equal(a, b) and np.array_equal(c, d) for (a, c), (b, d) in zip(second, again, strict=True))
    assert not np.array_equal(first[0][0], second[0][0])
    assert kt.data.info(one).labels == {"a": ["blue", "green", "red"], "b": ["blue", "green", "red"]}
    assert kt.data.info(one).fingerprint == kt.data.info(other).fingerprint


def test_labels_of_other_tasks_are_missing():
    for x, y in mix(arrays(), batch_size=8):
        task = x.numpy()[:, 0]
        assert y["colour"].dtype == tf.int32 and y["light"].dtype == tf.float32 and y["tags"].shape[1:] == (2,)
        assert np.array_equal(y["colour"] == -1, task != 0) and np.array_equal(np.isnan(y["light"]), task != 1)
        assert np.array_equal(np.isnan(y["tags"]), np.repeat(task[:, None] != 2, 2, 1))
        assert np.array_equal(y["light"][task == 1], x.numpy()[task == 1, 1])


def test_no_task_starves():
    sizes = {"colour": 5000, "light": 3, "tags": 1}
    for sampling in ("proportional", "temperature"):
        assert min(counts(mix(arrays(sizes), sampling, steps=2, batch_size=8)).values()) >= 1
    assert counts(mix(arrays(sizes), steps=2, batch_size=8))["colour"] == 14
    with pytest.raises(ValueError, match="3 data sets don't fit into an epoch of 2 rows. Give more `steps`."):
        mix(arrays(sizes), steps=1, batch_size=2)


def test_quotas():
    assert quotas(np.array([1.0, 1.0, 1.0]), 10).numpy().tolist() == [4, 3, 3]
    assert quotas(np.array([60.0, 30.0, 10.0]), 10).numpy().tolist() == [6, 3, 1]
    assert quotas(np.array([1e9, 1.0, 1.0]), 5).numpy().tolist() == [3, 1, 1]
    assert quotas(np.array([23.0, 23.0, 2.0, 1.0, 1.0]), 5).numpy().tolist() == [1, 1, 1, 1, 1]
    assert quotas(np.array([1000.0] * 2 + [1.0] * 98), 192).numpy().tolist() == [47, 47] + [1] * 98
    random = np.random.default_rng(0)
    for _ in range(200):
        sets = int(random.integers(1, 120))
        shares, rows = random.lognormal(0, 3, sets), int(random.integers(sets, 3 * sets + 50))
        found = quotas(shares, rows).numpy()
        assert found.sum() == rows and found.min() >= 1
        assert np.all(np.diff(found[np.argsort(shares)]) >= -1), "larger sets don't get less, but for rounding"


def test_sets_of_several_tasks_are_mixed_with_others():
    x, y = colour_task(8)
    both = tf.data.Dataset.from_tensor_slices((x, {"colour": y, "light": x.mean((1, 2, 3))})).batch(4)
    alone = tf.data.Dataset.from_tensor_slices((x, y)).batch(3)
    rows = [(int(c), float(v)) for _, y in mix({"table": both, "colour": alone}, batch_size=5)
            for c, v in zip(y["colour"], y["light"])]
    assert len(rows) == 16 and sum(np.isnan(v) for _, v in rows) == 8 and all(c >= 0 for c, _ in rows)


def test_a_step_on_the_mixture_is_a_step_on_each_sets_rows(small_backbone):
    x, y = colour_task(12)
    sets = {"colour": (x[:8], y[:8]), "light": (x[8:], x[8:].mean((1, 2, 3)))}
    heads = {"colour": kt.heads.Classifier(3), "light": kt.heads.Regressor({"mean": 120.0, "std": 30.0})}
    model = kt.attach(small_backbone(), heads)
    kt.unfreeze(model)
    for layer in model.get_layer("backbone").layers:
        layer.trainable = "dropout" not in layer.name and "bn" not in layer.name  # which see the other rows, or draw
    model.compile(optimizer=keras.optimizers.SGD(1.0), **kt.objectives(model))
    before = [v.numpy() for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        total = sum(heads[task].make_loss()(labels, model(rows, training=True)[task])
                    for task, (rows, labels) in sets.items())
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    model.fit(mix(sets, batch_size=12), verbose=0)
    for v, start, gradient in zip(model.trainable_variables, before, gradients):
        np.testing.assert_allclose(start - v.numpy(), gradient, rtol=1e-3, atol=1e-5)
    assert any(np.abs(g).max() > 1e-3 for g in gradients)


def test_a_learner_fits_it_and_a_run_goes_on(small_backbone, tmp_path):
    x, y = colour_task(24)
    sets = {"colour": (x[:16], y[:16]), "light": (x[16:], x[16:].mean((1, 2, 3)))}

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(directory, *callbacks):
        keras.utils.set_random_seed(2)
        heads = {"colour": kt.heads.Classifier(3), "light": kt.heads.Regressor({"mean": 120.0, "std": 30.0})}
        learner = kt.MultiTask(kt.attach(small_backbone(), heads), kt.multitask.Uncertainty())
        data = mix(sets, "annealed", epochs=3, batch_size=8)
        return kt.fine_tune(learner, data, head_epochs=3, epochs=0, seed=1, directory=directory, verbose=0,
                            callbacks=callbacks)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Stop())
    assert run(tmp_path / "stopped").history["loss"] == pytest.approx(run(tmp_path / "whole").history["loss"], rel=1e-5)


def dataset(*arrays, batch=2):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(batch)


X = np.zeros((4, 3), "float32")


@pytest.mark.parametrize("sets, options, kind, said", [
    ({}, {}, ValueError, "`datasets` must be a dict {task: dataset}. Received: {}"),
    ({"a": [1]}, {}, TypeError, "'a' must be a tf.data.Dataset or a tuple of arrays (x, y). Received: list"),
    ({"a": (X, np.zeros(4))}, {"sampling": "equally"}, ValueError, "Unknown sampling 'equally'. Did you mean 'equal'?"),
    ({"a": (X, np.zeros(4))}, {"sampling": "temperature", "temperature": 0}, ValueError,
     "`temperature` must be a number over 0."),
    ({"a": (X, np.zeros(4))}, {"sampling": "annealed"}, ValueError, "depend on the number of epochs. Give `epochs`."),
    ({"a": (X[:0], np.zeros(0))}, {}, ValueError, "The data set 'a' is empty."),
    ({"a": (X, np.zeros(3))}, {}, ValueError, "The arrays of the data set 'a' have 3 and 4 rows. Give a label for each row."),
    ({"a": dataset(X, np.zeros(4)).repeat()}, {}, ValueError, "The data set 'a' has no end"),
    ({"a": dataset(X, np.zeros(4), np.ones(4))}, {}, ValueError, "must give (x, y). Sample weights come after mixing"),
    ({"a": dataset(X)}, {}, ValueError, "The data set 'a' must give (x, y)."),
    ({"a": (X, np.zeros(4)), "b": (X[:, :2], np.zeros(4))}, {}, ValueError, "The sets 'a' and 'b' differ in x: "),
    ({"a": (X, np.zeros(4, "uint8"))}, {}, ValueError,
     "The labels of task 'a' in the set 'a' are uint8, which has no value for a missing one."),
    ({"a": (X, np.array(["x"] * 4))}, {}, ValueError, "are string, which has no value for a missing one."),
    ({"a": (X, np.zeros(4, "int32")), "b": (X, {"a": np.zeros(4, "int64")})}, {}, ValueError,
     "The sets 'a' and 'b' differ in the labels of task 'a'"),
    ({"a": (X, np.zeros(4))}, {"steps": 0}, ValueError, "`steps` must be a whole number of at least 1. Received: 0"),
])
def test_what_does_not_fit_is_refused(sets, options, kind, said):
    with pytest.raises(kind) as error:
        mix(sets, **options)
    assert said in str(error.value)


def test_sets_whose_class_numbers_mean_other_classes_are_refused(photo_folder, tmp_path):
    for name in ("red", "rose"):
        (tmp_path / name).mkdir()
        for photo in (photo_folder / "red").iterdir():
            (tmp_path / name / photo.name).write_bytes(photo.read_bytes())
    one, other = (kt.data.photos(folder, size=16)[0] for folder in (photo_folder, tmp_path))
    said = "The classes of task 'a' aren't the same in all sets: blue, green, red and, in 'b', red, rose."
    with pytest.raises(ValueError, match=said):
        mix({"a": one, "b": _named(other)})


def _named(dataset):
    from keras_transfer.data.describing import described

    return described(dataset.map(lambda x, y: (x, {"a": y})), kt.data.info(dataset))


def test_the_labels_of_a_mixture_are_found_in_its_elements(small_backbone):
    """What `kt.data` knows of it has none, as each element has those of its own task."""
    x, y = colour_task(24)
    mixed = mix({"colour": (x, y), "other": (x, 2 - y)}, batch_size=8)
    _, labels, weights = next(iter(kt.data.balance(mixed)))
    assert weights["colour"].shape == labels["colour"].shape
    model = kt.attach(small_backbone(), {"colour": kt.heads.Classifier(3), "other": kt.heads.Classifier(3)})
    found = answers(model, mixed)
    assert (found["colour"][0] >= 0).sum() == (found["other"][0] >= 0).sum() == 24 and found["colour"][1].shape == (48, 3)
