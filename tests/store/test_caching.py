"""`kt.cache_features` and `kt.features`: what they give, what they find again, and what they refuse."""

import errno
import gc
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import threading
import time

import filelock
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
import replicas
from keras_transfer.data.streaming import AHEAD
from keras_transfer.store import caching, filling, shards, sources
from keras_transfer.store.engines.openvino import OpenVINOEngine
from keras_transfer.store.engines.tensorflow import TensorFlowEngine
from keras_transfer.store.engines.unsuitable import Unsuitable
from support import colour_task, run_python

STORE = kt.Store(engine="tensorflow")


def frozen(backbone, classes):
    model = kt.attach(backbone, kt.heads.Classifier(classes))
    kt.freeze(model)
    return model


@pytest.fixture
def model():
    """A dense backbone, which traces fast: 3 numbers -> 4 features."""
    inputs = keras.Input((3,))
    x = keras.layers.Dense(5, activation="tanh", name="block_1_dense")(inputs)
    return frozen(keras.Model(inputs, keras.layers.Dense(4, name="block_2_dense")(x)), 2)


@pytest.fixture
def computed(monkeypatch):
    """A list that grows by the rows of every batch that an engine computes."""
    seen = []
    run = TensorFlowEngine.run

    def counted(self, batches, put):
        run(self, ((seen.append(len(token[-1])) or token, x) for token, x in batches), put)

    monkeypatch.setattr(TensorFlowEngine, "run", counted)
    return seen


def numbers(count=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 3)).astype("float32"), rng.integers(0, 2, count)


def batches(data, step=8):
    return tf.data.Dataset.from_tensor_slices(data).batch(step)


def cached(model, data, directory=None, store=STORE, **options):
    return kt.cache_features(model, data, directory, store=store, verbose=0, **options)[0]


def read(features):
    elements = list(features.as_numpy_iterator())
    return np.concatenate([e[0] for e in elements]), np.concatenate([e[1] for e in elements])


def backbone(model, x):
    return model.get_layer("backbone")(x, training=False).numpy()


# --- what it gives


def test_features_stand_in_the_place_of_x(model):
    x, y = numbers()
    features, tail = kt.cache_features(model, batches((x, y)), store=STORE, verbose=0)
    assert features.element_spec[0] == tf.TensorSpec((None, 4)) and len(features) == 7
    assert [len(b[0]) for b in features.as_numpy_iterator()] == [8] * 6 + [2]
    got, labels = read(features)
    np.testing.assert_allclose(got, backbone(model, x), rtol=1e-5, atol=1e-6)
    assert np.array_equal(labels, y) and labels.dtype == y.dtype
    np.testing.assert_allclose(tail(got), model(x), rtol=1e-5, atol=1e-6)
    assert {id(w) for w in tail.weights} < {id(w) for w in model.weights}


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="the system doesn't tell which pages are mapped")
def test_a_shuffled_batch_touches_the_pages_of_its_rows(tmp_path):
    """Also while some are read ahead: rows of 2 MB, of which the system may map as much around each."""
    inputs = keras.Input((3,))
    model, data = frozen(keras.Model(inputs, keras.layers.Dense(1 << 19)(inputs)), 2), batches(numbers(32), 1)
    cached(model, data, tmp_path)
    features = cached(model, data, tmp_path, shuffle=True)  # the store is there, and only opened
    assert mapped(tmp_path)[0] == 0
    one = iter(features)
    next(one)
    touched, size = mapped(tmp_path)
    print(f"{touched / 2**20:.1f} of {size / 2**20:.1f} MB are touched")
    assert size >> 20 == 64 and 2 <= touched >> 20 <= 4 * (1 + AHEAD) < 32
    assert len(list(one)) == 31 and mapped(tmp_path)[0] > 0.99 * size


def mapped(folder):
    """How many bytes of the features in a folder this process has touched, and how many there are."""
    total = {"Rss:": 0, "Size:": 0}
    for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            counts = str(folder) in line and line.endswith("x0.npy")
        elif counts and name in total:
            total[name] += int(rest[0]) << 10
    return tuple(total.values())


def test_labels_and_weights_in_any_structure(model):
    x, y = numbers(20)
    labels = {"a": y, "b": {"c": x, "d": y[:, None].astype("float32")}}
    features = cached(model, batches((x, labels, {"a": x[:, 0].astype("float64")})))
    element = next(iter(features))
    assert tf.nest.map_structure(lambda t: (t.shape, t.dtype.name), element[1:]) == (
        {"a": ((8,), "int64"), "b": {"c": ((8, 3), "float32"), "d": ((8, 1), "float32")}},
        {"a": ((8,), "float64")},
    )
    got = np.concatenate([e[1]["b"]["c"] for e in features.as_numpy_iterator()])
    assert np.array_equal(got, x)
    bare = cached(model, batches(x))
    assert bare.element_spec == tf.TensorSpec((None, 4)) and len(list(bare)) == 3


def test_lists_of_labels_are_tuples_as_keras_has_them(model):
    x, y = numbers(20)
    for second in (1.0 - y, y[:, None].astype("float32")):  # alike, tf.data would make one tensor of them
        element = next(iter(cached(model, (x, [y, second], [x[:, 0], x[:, 1]]))))
        assert isinstance(element[1], tuple) and np.array_equal(np.ravel(element[1][1]), np.ravel(second))
        assert isinstance(element[2], tuple) and element[2][1].shape == element[2][0].shape
    _, labels = kt.features(model, (x, [y, y]), store=STORE)
    assert isinstance(labels, list)


@pytest.mark.parametrize("kind", ["float64", "int32"])
def test_x_in_another_dtype_is_cast_as_fit_would(model, kind):
    x, y = numbers()
    x = (10 * x).astype(kind)
    expected = backbone(model, x.astype("float32"))
    np.testing.assert_allclose(read(cached(model, (x, y)))[0], expected, rtol=1e-5, atol=1e-6)


def test_several_tensors_that_cross_are_a_tuple():
    inputs = keras.Input((3,))
    first = keras.layers.Dense(4, trainable=False)(inputs)
    second = keras.layers.Dense(4)(first)
    model = kt.attach(keras.Model(inputs, keras.layers.Concatenate()([first, second, inputs])), kt.heads.Classifier(2))
    x, y = numbers()
    features, tail = kt.cache_features(model, batches((x, y)), store=STORE, verbose=0)
    assert {t.shape for t in features.element_spec[0]} == {(None, 4), (None, 3)}
    got = np.concatenate([tail(list(b[0])) for b in features.as_numpy_iterator()])
    np.testing.assert_allclose(got, model(x), rtol=1e-5, atol=1e-6)
    tail.compile(optimizer="sgd", **kt.objectives(tail))
    assert np.isfinite(tail.fit(features, epochs=1, verbose=0).history["loss"])
    bare, tail = kt.cache_features(model, batches(x), store=STORE, verbose=0)  # a pair alone would be x and y
    np.testing.assert_allclose(tail.predict(bare, verbose=0), model(x), rtol=1e-5, atol=1e-6)


def test_sets_of_kt_data_keep_their_own_order_and_others_are_shuffled_on_demand(small_backbone, sets):
    model = frozen(small_backbone(), 3)
    train, valid = sets(seed=5)
    features, known = cached(model, train), kt.data.info(train)
    for epoch in range(3):
        known.epoch.assign(epoch)
        for (x, y), (got, labels) in zip(train.as_numpy_iterator(), features.as_numpy_iterator(), strict=True):
            assert np.array_equal(y, labels)
            np.testing.assert_allclose(got, backbone(model, x), rtol=1e-4, atol=1e-5)
    info = kt.data.info(features)
    assert info.epoch is not known.epoch and info.epoch == 3
    info.epoch.assign(0)
    again = read(features)
    known.epoch.assign(0)
    assert np.array_equal(again[1], np.concatenate([y for _, y in train.as_numpy_iterator()]))
    first, second = read(cached(model, valid)), read(cached(model, valid))
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    assert np.array_equal(first[1], np.concatenate([y for _, y in valid.as_numpy_iterator()]))


def test_shuffle_is_over_all_rows_and_a_function_of_seed_and_epoch(model):
    x, y = numbers(200)
    data = batches((x, np.arange(200)))
    features = cached(model, data, shuffle=True)
    epochs = [read(features)[1] for _ in range(3)]
    assert all(sorted(e) == list(range(200)) for e in epochs)
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])
    moved = np.abs(epochs[0] - np.arange(200))
    assert moved.mean() > 40  # of rows in a random order it's a third of their number: not a shuffle within a window
    other = cached(model, data, shuffle=True)
    got, order = read(other)
    assert np.array_equal(order, epochs[0])
    np.testing.assert_allclose(got, backbone(model, x[order]), rtol=1e-5, atol=1e-6)
    still = cached(model, data)
    assert np.array_equal(read(still)[1], np.arange(200)) and np.array_equal(read(still)[1], np.arange(200))


def test_views_are_the_passes_of_the_augmented_set_and_come_round_again(small_backbone, sets, tmp_path):
    model = frozen(small_backbone(), 3)
    train, _ = sets(augment=keras.layers.RandomFlip("horizontal"), seed=2)
    features = cached(model, train, tmp_path, kt.Store(engine="tensorflow", views=2))
    known, passes = kt.data.info(train), []
    for epoch in range(2):
        known.epoch.assign(epoch)
        passes.append([(backbone(model, x), y) for x, y in train.as_numpy_iterator()])
        for (x, y), (got, labels) in zip(passes[-1], features.as_numpy_iterator(), strict=True):
            assert np.array_equal(y, labels)
            np.testing.assert_allclose(got, x, rtol=1e-4, atol=1e-5)
    third = read(features)  # view 0 in a new order
    first = np.concatenate([x for x, _ in passes[0]])
    assert not np.allclose(third[0], first, atol=1e-4)
    np.testing.assert_allclose(np.sort(third[0], 0), np.sort(first, 0), rtol=1e-4, atol=1e-5)
    assert not np.allclose(np.sort(first, 0), np.sort(np.concatenate([x for x, _ in passes[1]]), 0), atol=1e-3)


def test_bfloat16_takes_half_the_space_and_gives_float32(model, tmp_path):
    x, y = numbers(512)
    store = kt.Store(engine="tensorflow", dtype="bfloat16")
    got, _ = read(cached(model, (x, y), tmp_path, store))
    exact = backbone(model, x)
    assert got.dtype == "float32" and 1e-5 < np.abs(got - exact).max() < 2**-8 * np.abs(exact).max()
    whole = [p.stat().st_size for p in tmp_path.rglob("x0.npy")]
    assert sum(whole) < 512 * 4 * 2 + 200 * len(whole)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_backbone_in_mixed_precision(small_backbone, dtype):
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(f"mixed_{dtype}")
        model = kt.attach(small_backbone(), kt.heads.Classifier(3))
    finally:
        keras.config.set_dtype_policy(before)
    kt.unfreeze(model, "block_3")
    x, y = colour_task(64)
    for engine in ("tensorflow", "openvino"):
        features, tail = kt.cache_features(model, (x, y), store=kt.Store(engine=engine), verbose=0)
        assert features.element_spec[0] == tf.TensorSpec((None, 4, 4, 8), dtype)
        held = list(features.as_numpy_iterator())
        got = np.concatenate([tail(x, training=False) for x, _ in held])
        np.testing.assert_allclose(got, model(x, training=False), rtol=0.1, atol=0.05)
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
        tail.compile(optimizer=optimizer, steps_per_execution=2, **kt.objectives(tail))
        assert isinstance(tail.optimizer, keras.optimizers.LossScaleOptimizer) == (dtype == "float16")
        untrained = tail.evaluate(features, verbose=0, return_dict=True)["loss"]
        tail.fit(features, epochs=20, verbose=0)
        assert tail.evaluate(features, verbose=0, return_dict=True)["loss"] < 0.9 * untrained
        assert tail(held[0][0]).dtype == tf.float32


def test_features_as_arrays(model, small_backbone, sets):
    x, y = numbers()
    got, labels, weights = kt.features(model, (x, {"a": y}, x[:, 0]), store=STORE)
    np.testing.assert_allclose(got, backbone(model, x), rtol=1e-5, atol=1e-6)
    assert np.array_equal(labels["a"], y) and np.array_equal(weights, x[:, 0])
    assert kt.features(model.get_layer("backbone"), batches(x), store=STORE).shape == (50, 4)
    train, _ = sets()
    got, labels = kt.features(small_backbone(), train, store=STORE)
    assert got.shape[1] == 12 and np.array_equal(labels, kt.data.info(train).targets[None])


@pytest.mark.parametrize("sharing, several", [("CrossStitch", True), ("MTAN", True), ("MMoE", False)])
def test_features_of_each_head_where_sharing_taps_the_backbone(model, sharing, several):
    """A layer that shares reads one array for all of them."""
    options = {"at": ["block_1"]} if several else {}
    heads = {"b": kt.heads.Classifier(2), "a": kt.heads.Classifier(3)}
    shared = kt.attach(model.get_layer("backbone"), heads, sharing=getattr(kt.multitask, sharing)(**options))
    x, y = numbers()
    got, labels = kt.features(shared, (x, {"a": y, "b": y}), store=STORE)
    assert np.array_equal(labels["a"], y)
    assert keras.tree.map_structure(np.shape, got) == ({"a": (50, 4), "b": (50, 4)} if several else (50, 4))
    joints = {task: f"features_{task}" for task in heads} if several else "features"
    read = keras.Model(shared.inputs, keras.tree.map_structure(lambda name: shared.get_layer(name).output, joints))
    expected = read([x], training=False)
    for found in (got, kt.features(shared, batches(x), store=STORE)):
        keras.tree.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_a_temporary_folder_goes_with_the_data_set(model):
    features = cached(model, numbers())
    gc.collect()
    mapped = [o for o in gc.get_objects() if isinstance(o, shards.Shards)]
    path = mapped[-1].path
    del mapped
    derived = features.take(1)
    del features
    gc.collect()
    assert path.exists() and len(next(iter(derived))[0]) == 32
    del derived
    gc.collect()
    assert not path.exists()


# --- what it finds again, and what it doesn't


def test_the_same_call_finds_its_features_again(model, tmp_path, computed):
    first = read(cached(model, numbers(), tmp_path))
    assert sum(computed) == 50
    again = read(cached(model, numbers(), tmp_path))
    assert sum(computed) == 50 and all(np.array_equal(a, b) for a, b in zip(first, again))


def test_the_inputs_that_tensors_go_to_by_name_count(tmp_path):
    """The names of inputs play a part where x is a dict, and only there."""
    dense = keras.layers.Dense(3, trainable=False)

    def model(first, second):
        left, right = keras.Input((3,), name=first), keras.Input((3,), name=second)
        joined = keras.layers.Subtract()([dense(left), right])
        return keras.Model([left, right], keras.layers.Dense(2)(joined))

    x, y = numbers()
    found = [read(cached(model(*names), ({"a": x, "b": 2 * x}, y), tmp_path))[0] for names in ("ab", "ba", "ab")]
    np.testing.assert_allclose(found[0], dense(x) - 2 * x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], dense(2 * x) - x, rtol=1e-5, atol=1e-6)
    assert np.array_equal(found[0], found[2]) and len(list(tmp_path.glob("*/store.json"))) == 2
    for names in ("cd", "ef"):
        cached(model(*names), ((x, 2 * x), y), tmp_path)
    assert len(list(tmp_path.glob("*/store.json"))) == 3


def test_whatever_changes_is_computed_anew(model, tmp_path, computed):
    x, y = numbers()

    def rows(data=(x, y), **options):
        before = sum(computed)
        got, labels = read(cached(model, data, tmp_path, kt.Store(**{"engine": "tensorflow"} | options)))
        np.testing.assert_allclose(got, backbone(model, data[0]), rtol=1e-2, atol=1e-2)
        assert np.array_equal(labels, data[1])
        return sum(computed) - before

    assert rows() == 50 and rows() == 0
    changed = x.copy()
    changed[49, 2] += 1
    assert rows((changed, y)) == 50
    assert rows((x, 1 - y)) == 50
    assert rows((x[:40], y[:40])) == 40
    assert rows(dtype="bfloat16") == 50
    layer = model.get_layer("backbone").get_layer("block_1_dense")
    layer.bias.assign(layer.bias + 0.5)
    assert rows() == 50
    layer.bias.assign(layer.bias - 0.5)
    layer.activation = keras.activations.relu
    assert rows() == 50
    layer.activation = keras.activations.tanh
    assert rows() == 0  # all that stands there still
    before = set(tmp_path.iterdir())
    cached(model, (x, y), tmp_path, kt.Store(engine="openvino"))  # whose features have other bits
    assert len(set(tmp_path.iterdir()) - before) == 1


def test_a_key_stays_while_the_batches_become_others(model, tmp_path, computed):
    """Shards are as long as fits the batches, so that those of other batches are another store."""
    x, n = numbers(3000)[0], np.arange(3000)
    for step, times in ((32, 1), (100, 2), (32, 2)):
        got, order = read(cached(model, batches((x, n), step), tmp_path, kt.Store(engine="tensorflow", key="mine")))
        assert np.array_equal(order, n) and sum(computed) == times * 3000
        np.testing.assert_allclose(got, backbone(model, x), rtol=1e-5, atol=1e-6)


def test_arrays_that_grow_under_a_key_are_read_to_their_end(model, tmp_path, computed):
    x, n = numbers(1100)[0], np.arange(1100)
    for count, times in ((1060, 1060), (1100, 1060 + 1100 - 1024)):  # the last shard isn't whole any more
        got, order = read(cached(model, (x[:count], n[:count]), tmp_path, kt.Store(engine="tensorflow", key="mine")))
        assert np.array_equal(order, n[:count]) and sum(computed) == times
        np.testing.assert_allclose(got, backbone(model, x[:count]), rtol=1e-5, atol=1e-6)


def test_photos_that_changed_are_refused_and_read_again_they_are_computed(small_backbone, tmp_path, computed):
    model = frozen(small_backbone(), 2)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k, photo in enumerate(colour_task(5, seed=len(name))[0]):
            (tmp_path / "photos" / name / f"{k}.png").write_bytes(tf.io.encode_png(photo.astype("uint8")).numpy())

    def photos(**options):
        return kt.data.photos(tmp_path / "photos", **{"size": 16, "validation": 0.0} | options)[0]

    train = photos()
    cached(model, train, tmp_path / "cache")
    assert sum(computed) == 10
    cached(model, photos(size=16, fit="crop"), tmp_path / "cache")  # decoded in another way
    assert sum(computed) == 20
    cached(model, photos(), tmp_path / "cache")
    assert sum(computed) == 20
    changed = tmp_path / "photos" / "a" / "1.png"
    changed.write_bytes((tmp_path / "photos" / "b" / "2.png").read_bytes())
    with pytest.raises(ValueError, match="1 photos have changed or gone.*1.png.*Read the data again with kt.data"):
        cached(model, train, tmp_path / "cache")
    cached(model, photos(), tmp_path / "cache")
    assert sum(computed) == 30
    gone = photos()
    changed.unlink()
    with pytest.raises(ValueError, match="1 photos have changed or gone"):
        cached(model, gone, tmp_path / "cache")


@pytest.mark.parametrize("what", ["gone", "text"])
def test_a_photo_that_changes_during_the_pass_is_told_in_the_same_words(small_backbone, photo_folder, tmp_path, monkeypatch, what):
    folder = pathlib.Path(shutil.copytree(photo_folder, tmp_path / "photos"))
    changed = sorted(folder.rglob("*.*"))[-1]
    check = sources.Rows.check_unchanged

    def checked(self):
        check(self)
        changed.unlink() if what == "gone" else changed.write_text("no photo")

    train = kt.data.photos(folder, size=16, validation=0.0)[0]
    monkeypatch.setattr(sources.Rows, "check_unchanged", checked)
    with pytest.raises(ValueError, match=f"1 photos have changed or gone.*{changed.name}.*Read the data again with kt.data"):
        cached(frozen(small_backbone(), 3), train, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/store.json"))


def test_what_is_no_functional_model_is_refused(tmp_path):
    class Own(keras.Model):
        def call(self, x):
            return x

    for model in (Own(), "model", keras.Sequential([keras.layers.Dense(2)])):
        for run in (kt.cache_features, kt.features):
            with pytest.raises(TypeError, match="`model` must be what kt.attach or kt.backbone returned, or another Functional"):
                run(model, (np.zeros((4, 3)), np.zeros(4)))


def test_a_model_that_trains_in_a_way_of_its_own_is_refused_but_gives_features(small_backbone):
    class Own(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    backbone, data = small_backbone(), colour_task(4)
    model = Own(backbone.input, keras.layers.Dense(1)(backbone.output))
    backbone.trainable = False
    with pytest.raises(ValueError, match="has a method `train_step` of its own, without which the rest of it would train"):
        kt.cache_features(model, data)
    assert kt.features(model, data)[0].shape == (4, 1)


@pytest.mark.slow
def test_flipped_bytes_are_found_or_harmless_in_every_file(model, tmp_path, monkeypatch, computed):
    monkeypatch.setattr(shards, "ROWS", 32)
    data = numbers(80)
    expected = read(cached(model, data, tmp_path))
    files = [p for p in sorted(tmp_path.rglob("*")) if p.is_file()]
    draw, found = random.Random(1), 0
    for k in range(120):
        file = files[k % len(files)]
        content = bytearray(file.read_bytes())
        if content:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            file.write_bytes(content)
        del computed[:]
        assert all(np.array_equal(a, b) for a, b in zip(expected, read(cached(model, data, tmp_path))))
        found += bool(computed) or file.name == "store.json"
    print(f"{found} of 120 flipped bytes were found, the others did no harm")
    assert found >= 100


def test_what_another_store_left_in_the_folder_is_not_used(model, tmp_path, computed):
    expected = read(cached(model, numbers(), tmp_path))
    (folder,) = tmp_path.iterdir()
    other = read(cached(model, numbers(seed=1), tmp_path))
    (foreign,) = set(tmp_path.iterdir()) - {folder}
    (foreign / "0-000000" / "x0.npy").replace(folder / "0-000000" / "x0.npy")
    (folder / "notes.txt").write_text("mine")
    assert all(np.array_equal(a, b) for a, b in zip(expected, read(cached(model, numbers(), tmp_path))))
    assert all(np.array_equal(a, b) for a, b in zip(other, read(cached(model, numbers(seed=1), tmp_path))))
    assert sum(computed) == 200 and (folder / "notes.txt").exists()


@pytest.mark.parametrize("later", ["horse", 1.5], ids=["a longer text", "a fraction"])
def test_labels_that_would_be_cut_to_those_of_the_first_batch_are_refused(model, later):
    """Those of a `PyDataset` are as its first batch has them; wider numbers of the same kind may follow."""
    class Two(keras.utils.PyDataset):
        def __init__(self, *labels):
            super().__init__()
            self.labels = labels

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return numbers(8)[0], np.array([self.labels[index]] * 8)

    first = "cat" if isinstance(later, str) else 1
    with pytest.raises(ValueError, match="The labels of a batch have the dtype .*Give all batches labels of one dtype"):
        kt.features(model, Two(first, later))
    assert kt.features(model, Two(later, first))[1].tolist() == [later] * 8 + [first] * 8


@pytest.mark.parametrize("directory", [True, False])
def test_a_key_spares_the_pass_that_tells_data_apart(model, tmp_path, directory):
    x, y = numbers()
    drawn = []

    def elements():
        for low in range(0, 50, 8):
            drawn.append(low)
            yield x[low:low + 8], y[low:low + 8]

    spec = tf.TensorSpec((None, 3)), tf.TensorSpec((None,), tf.int64)
    data, passes = tf.data.Dataset.from_generator(elements, output_signature=spec), []
    for number, key in enumerate(("word", None)):
        drawn.clear()
        kt.cache_features(model, data, tmp_path / f"{number}" if directory else None, verbose=0, store=kt.Store(
            engine="tensorflow", key=key))
        passes.append(drawn.count(48))
    assert passes == [1, 2]


# --- refusals and faults


def test_refusals(model, tmp_path):
    x, y = numbers()
    kt.unfreeze(model)
    with pytest.raises(ValueError, match="Nothing at the input of .* is frozen.*kt.freeze"):
        cached(model, (x, y))
    kt.freeze(model)
    with pytest.raises(ValueError, match=r"takes inputs of shape \[\(3,\)\], a row, but the data set gives \[\(2,\)\]"):
        cached(model, (x[:, :2], y))
    with pytest.raises(TypeError, match="`store` must be a kt.Store"):
        cached(model, (x, y), store="bfloat16")
    with pytest.raises(ValueError, match="only numbers of one fixed shape.*text labels as class numbers"):
        cached(model, batches((x, np.full(50, "cat"))))
    with pytest.raises(TypeError, match="`store` must be a kt.Store"):
        kt.features(model, (x, y), store="bfloat16")
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        cached(model, (x, y))
    with pytest.raises(ValueError, match="NaN or infinite"):
        cached(model, (x, y), tmp_path)
    shuffled = batches(numbers()).unbatch().shuffle(50).batch(8)
    with pytest.raises(ValueError, match="gives other elements in the next pass"):
        cached(model, shuffled, tmp_path)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"dtype": "float16"}, "Unknown dtype 'float16'. Did you mean 'bfloat16'"),
        ({"engine": "onnx"}, "Unknown engine 'onnx'"),
        ({"views": 0}, "`views` must be a whole number of at least 1"),
        ({"key": 3}, "`key` must be text. Received: 3"),
    ],
)
def test_a_store_of_other_options_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        kt.Store(**options)


def test_a_folder_that_can_not_be_written_is_a_clear_error(model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="can't be kept in .*Not a directory.*give a `directory` that can be written"):
        cached(model, numbers(), tmp_path / "file" / "cache")

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(PermissionError, match="can't be kept in .*Permission denied"):
        cached(model, numbers(), tmp_path)


def test_a_complete_cache_in_a_place_that_can_only_be_read_is_used(model, tmp_path, computed):
    expected = read(cached(model, numbers(), tmp_path))
    if subprocess.run(["mount", "--bind", tmp_path, tmp_path], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", tmp_path], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (tmp_path / "x").write_text("")
        got = read(cached(model, numbers(), tmp_path))
        assert sum(computed) == 50 and all(np.array_equal(a, b) for a, b in zip(expected, got))
        with pytest.raises(OSError, match="can't be kept in .*Read-only"):
            cached(model, numbers(seed=1), tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_second_run_waits_for_the_first_and_reads(model, tmp_path, computed, capsys, monkeypatch):
    inside, go = threading.Event(), threading.Event()
    fill = caching.Filler.fill

    def held(self):
        inside.set()
        go.wait(30)
        return fill(self)

    monkeypatch.setattr(caching.Filler, "fill", held)
    found = {}
    options = {"store": STORE, "verbose": 1}
    runs = [
        threading.Thread(
            target=lambda k=k: found.update({k: kt.cache_features(model, numbers(), tmp_path, **options)[0]})
        )
        for k in range(2)
    ]
    runs[0].start()
    inside.wait(30)
    runs[1].start()
    said, until = "", time.monotonic() + 30
    while "Another run is filling" not in said and time.monotonic() < until:
        time.sleep(0.1)
        said += capsys.readouterr().out
    assert "Another run is filling" in said and not found
    go.set()
    [run.join() for run in runs]
    assert sum(computed) == 50
    assert all(np.array_equal(a, b) for a, b in zip(read(found[0]), read(found[1])))


def test_the_lock_of_a_killed_run_is_free(model, tmp_path, computed):
    cached(model, numbers(), tmp_path)
    (folder,) = tmp_path.iterdir()
    (folder / "store.json").unlink()
    code = (
        "import filelock, sys, time; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
        "print(1, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(folder / ".lock-0")], stdout=subprocess.PIPE)
    holder.stdout.readline()
    waiting = threading.Thread(target=cached, args=(model, numbers(), tmp_path))
    waiting.start()
    waiting.join(2)
    assert waiting.is_alive()
    holder.kill()
    holder.wait()
    waiting.join(30)
    assert not waiting.is_alive() and (folder / "store.json").exists() and sum(computed) == 50


# --- engines


def test_auto_falls_back_on_tensorflow_with_a_message(model, monkeypatch, capsys):
    def unsuitable(self, *_):
        raise Unsuitable('OpenVINO can\'t run it. Give engine="tensorflow".')

    both = [OpenVINOEngine, TensorFlowEngine]
    monkeypatch.setattr(caching, "candidates", lambda engine: both if engine == "auto" else both[:1])
    monkeypatch.setattr(OpenVINOEngine, "__init__", unsuitable)
    x, y = numbers()
    features, _ = kt.cache_features(model, (x, y), store=kt.Store(engine="auto"), verbose=1)
    np.testing.assert_allclose(read(features)[0], backbone(model, x), rtol=1e-5, atol=1e-6)
    assert "OpenVINO can't run it. TensorFlow runs it." in capsys.readouterr().out
    assert len(kt.features(model, (x, y), store=kt.Store(engine="auto"))[0]) == 50
    for call in (cached, lambda *a, store: kt.features(*a, store=store)):
        with pytest.raises(Unsuitable, match='Give engine="tensorflow"'):
            call(model, (x, y), store=kt.Store(engine="openvino"))


# --- killed, large, and spread


KILLED = """
import os, pathlib, random, signal, sys, time, json
import keras, numpy as np
import keras_transfer as kt
from keras_transfer.store import shards
from keras_transfer.store.engines.tensorflow import TensorFlowEngine
shards.ROWS = 32
folder, ROWS, KILLS = pathlib.Path(sys.argv[1]), 640, 20
x = np.random.default_rng(0).normal(size=(ROWS, 3)).astype("float32")
seen = []

class Slow(keras.utils.PyDataset):
    wait = 0.0
    def __len__(self): return ROWS // 16
    def __getitem__(self, k):
        time.sleep(self.wait)
        return x[k * 16:k * 16 + 16], np.arange(k * 16, k * 16 + 16)

def run(path, wait=0.0, ready=lambda: None):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    model = kt.attach(keras.Model(inputs, keras.layers.Dense(4)(inputs)), kt.heads.Classifier(2))
    kt.freeze(model)
    data = Slow()
    data.wait = wait
    compute = TensorFlowEngine.run
    def counted(self, batches, put):
        ready()
        compute(self, ((seen.append(len(t[-1])) or t, b) for t, b in batches), put)
    TensorFlowEngine.run = counted
    try:
        return kt.cache_features(model, data, path, store=kt.Store(engine="tensorflow", key="k"), verbose=0)[0]
    finally:
        TensorFlowEngine.run = compute

def contents(path):
    files = [p for p in sorted(path.rglob("*")) if p.is_file() and "lock" not in p.name]
    return {str(p.relative_to(path)): p.read_bytes() for p in files}

def slow(path, array, write=shards._saved):
    write(path, array[:len(array) // 2])
    time.sleep(0.01)
    return write(path, array)

draw = random.Random(0)
for number in range(KILLS):
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        shards._saved = slow  # of the time between two shards, most is that of one that is half written
        run(folder / str(number), 0.02, lambda: os.write(sender, b"1"))
        os._exit(0)
    os.read(receiver, 1)
    time.sleep(0.85 * (number + draw.random()) / KILLS)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
run(folder / "whole")
whole, told = contents(folder / "whole"), []
for number in range(KILLS):
    path = folder / str(number)
    before = {p.parent.name for p in path.glob("*/0-*/shard.json")}
    left = len(list(path.glob("*/.0-*")))
    del seen[:]
    features = run(path)
    order = np.concatenate([b[1] for b in features.as_numpy_iterator()])
    same = contents(path) == whole and np.array_equal(order, np.arange(ROWS)) and not list(path.glob("*/.0-*"))
    told.append([len(before), ROWS - sum(seen), left, same])
print("told", json.dumps(told))
"""


@pytest.mark.slow
def test_killed_at_twenty_points_it_goes_on_to_the_same_bits(tmp_path):
    told = json.loads(run_python(KILLED, tmp_path).stdout.split("told")[1])
    print("whole shards found, rows not computed again, unfinished folders, same bits:", told)
    assert len(told) == 20 and all(same for *_, same in told)
    assert all(reused == 32 * whole for whole, reused, *_ in told)
    assert len({whole for whole, *_ in told}) > 8 and sum(whole for whole, *_ in told) > 100
    assert sum(left for *_, left, _ in told) > 0


MEMORY = """
import sys, numpy as np, keras, tensorflow as tf, gc, pathlib
import keras_transfer as kt
rows, width = int(sys.argv[1]), 16384
inputs = keras.Input((4,))
layer = keras.layers.Dense(width)
model = kt.attach(keras.Model(inputs, layer(inputs)), kt.heads.Classifier(2))
kt.freeze(model)
numbers = lambda k: tf.cast(tf.stack([k, k + 1, k * 2, k % 7], -1), tf.float32) / 1e4
data = tf.data.Dataset.range(rows).map(lambda k: (numbers(k), k)).batch(64)
status = lambda key: int([l for l in open("/proc/self/status") if l.startswith(key)][0].split()[1]) / 1024
def read(features):
    for x, k in features:
        pass
    return x, k
def measured(count):
    small = data.take(count // 64)
    features, tail = kt.cache_features(model, small, sys.argv[2], shuffle=True,
                                       store=kt.Store(engine="tensorflow", key=str(count)), verbose=0)
    for _ in range(2):
        x, k = read(features)
    expected = model.get_layer("backbone")(numbers(k))
    assert np.allclose(x, expected, rtol=1e-4, atol=1e-5)
measured(1024)  # what happens once
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = status("VmRSS")
measured(rows)
size = sum(p.stat().st_size for p in pathlib.Path(sys.argv[2]).rglob("*.npy")) / 2**20
print("told", before, status("VmHWM"), size)
"""


@pytest.mark.slow
def test_memory_stays_flat_as_the_data_grow(tmp_path):
    """Both sets are larger than what may stay mapped."""
    grown = []
    for times in (1, 8):
        out = run_python(MEMORY, 8192 * times, tmp_path / str(times)).stdout
        before, peak, size = map(float, out.split("told")[1].split())
        print(f"{size:.0f} MB of features: {before:.0f} MB before, {peak:.0f} MB at most")
        grown.append((peak, size))
    (small, its_size), (large, size) = grown
    assert its_size > 2 * shards._RESIDENT / 2**20 and size / its_size > 7
    assert large < 1.1 * small and large - small < 0.03 * (size - its_size)


WORKER = """
import json, sys, time, numpy as np, keras
import keras_transfer as kt
strategy = kt.strategy("auto")
from keras_transfer.store import filling, shards
from keras_transfer.store.engines.tensorflow import TensorFlowEngine
shards.ROWS, filling.WAIT, seen, run = 32, float(sys.argv[3]), [], TensorFlowEngine.run
folder = sys.argv[1].format(kt.distributing.position(strategy)[0])
def noted(batches):
    for token, x in batches:
        seen.extend(token[-1].tolist())
        print("row", seen[-1])
        time.sleep(float(sys.argv[2]))
        yield token, x
TensorFlowEngine.run = lambda self, batches, put: run(self, noted(batches), put)
keras.utils.set_random_seed(0)
with strategy.scope():
    inputs = keras.Input((3,))
    model = kt.attach(keras.Model(inputs, keras.layers.Dense(4)(inputs)), kt.heads.Classifier(2))
    kt.freeze(model)
x = np.random.default_rng(0).normal(size=(300, 3)).astype("float32")
features, _ = kt.cache_features(model, (x, np.arange(300)), folder, store=kt.Store(engine="tensorflow"), verbose=2)
got = np.concatenate([b[0] for b in features.as_numpy_iterator()])
kernel, bias = (w.numpy() for w in model.get_layer("backbone").weights)
print("told", json.dumps([seen, bool(np.allclose(got, x @ kernel + bias, rtol=1e-4, atol=1e-5))]))
"""


def workers(folder, count=2, pause=0.0, wait=3.0):
    return replicas.start([sys.executable, "-c", WORKER, str(folder), str(pause), str(wait)], count)


def told_by(said):
    return [json.loads(text.split("told")[1]) for text in said]


def content(folder):
    """The bytes of all shards by the path in their store."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.npy"))}


@pytest.mark.slow
def test_two_workers_of_one_cluster_compute_a_share_each(tmp_path):
    """Together they write what one process writes, to the byte, also when one is killed: the other does its share then."""
    (first, right), (second, also) = told_by(replicas.finish(workers(tmp_path / "two")))
    assert right and also and sorted(first + second) == list(range(300))  # nothing twice
    assert {row // 32 % 2 for row in first} == {0} and {row // 32 % 2 for row in second} == {1}
    assert len(list((tmp_path / "two").glob("*/store.json"))) == 1
    ((alone, right),) = told_by(replicas.finish(workers(tmp_path / "one", count=1)))
    assert right and alone == list(range(300))
    assert len(content(tmp_path / "one")) > 10 and content(tmp_path / "two") == content(tmp_path / "one")
    killed = workers(tmp_path / "killed", pause=0.5)
    replicas.read_until(killed[1], "row", 3)
    killed[1].kill()
    said, *_ = replicas.finish(killed, timeout=120, check=False)
    assert killed[0].returncode == 0 and "Another worker has written nothing for 3 s" in said, replicas.errors_of(killed[0])
    ((rows, right),) = told_by([said])
    assert right and len(set(rows)) == len(rows) >= 300 - 128  # what the dead one had begun, too
    assert content(tmp_path / "killed") == content(tmp_path / "one")


@pytest.fixture
def many_photos(tmp_path):
    """A folder with 300 of them, whose features are five shards of 64."""
    for number, (photo, label) in enumerate(zip(*colour_task(300, seed=4))):
        path = tmp_path / "photos" / "rgb"[label] / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_jpeg(photo.astype("uint8")).numpy())
    return tmp_path


@pytest.mark.slow
def test_two_workers_read_and_compute_a_share_of_the_photos_each(many_photos):
    """No photo is read by both, all are read by one, and the files written are those of one process, to the byte."""
    alone = replicas.spread(many_photos)
    told = [worker["spread"] for worker in replicas.run("workers", "spread", arguments=[many_photos], count=2)]
    for engine in ("tensorflow", "openvino"):
        shares = []
        for number, worker in enumerate(told):
            rows, read = worker[engine]["computed"], worker[engine]["read"]
            print(engine, number, len(worker["before"]), "photos checked,", len(read), "read,", len(rows), "rows computed")
            assert worker["files"] == alone["files"] and worker[engine]["apart"] < 1e-4
            assert sorted(read) == sorted(worker["files"][row] for row in rows)  # each once, and none in vain
            assert {row // 64 % 2 for row in rows} == {number}
            shares.append(read)
        assert not set(shares[0]) & set(shares[1]) and sorted(sum(shares, [])) == sorted(alone["files"])
        assert sorted(alone[engine]["read"]) == sorted(alone["files"]) and alone[engine]["computed"] == list(range(300))
        one, two = (content(many_photos / f"{engine}{count}") for count in (1, 2))
        assert len(one) == 5 * 3 and one == two


@pytest.mark.slow
def test_two_processes_that_ask_at_once_compute_all_rows_once(many_photos, monkeypatch):
    """One computes, the other waits and reads what the first has written."""
    (many_photos / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(many_photos / "temporary"))
    command = [sys.executable, replicas.__file__, "one", "at_once", str(many_photos)]
    said = replicas.finish([*replicas.start(command), *replicas.start(command)], timeout=180)
    told = [json.loads(text.splitlines()[-1])["at_once"] for text in said]
    for engine in ("tensorflow", "openvino"):
        one, other = (process[engine] for process in told)
        assert sorted([one["computed"], other["computed"]], key=len) == [[], list(range(300))]
        assert max(one["apart"], other["apart"]) < 1e-4 and one["digest"] == other["digest"]
        for process in (one, other):
            waits, computes = "Another run is filling" in process["said"], "Features:" in process["said"]
            assert waits != computes and computes == bool(process["computed"])
        (store,) = (many_photos / "cache" / engine).iterdir()
        assert set(os.listdir(store)) - {".lock-0"} == {"store.json", *(f"0-{shard:06d}" for shard in range(5))}
        assert {*map(len, map(os.listdir, store.glob("0-*")))} == {4}
    assert not os.listdir(many_photos / "temporary")


@pytest.mark.slow
def test_workers_that_see_no_common_folder_compute_all_at_once(tmp_path):
    """Shards of the others can't come, so none of them waits: each has every row, in one pass."""
    for rows, right in told_by(replicas.finish(workers(tmp_path / "own{}", wait=filling.WAIT))):
        assert right and rows == list(range(300))
    assert len(content(tmp_path / "own0")) > 10 and content(tmp_path / "own0") == content(tmp_path / "own1")


def test_a_dict_goes_to_the_inputs_of_a_list_by_their_names():
    """As Keras has it, whatever the order of the alphabet; swapped, the features would be others."""
    second, first = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    backbone = keras.Model([second, first], keras.layers.Subtract()([keras.layers.Dense(3)(second), first]))
    model = frozen(backbone, 2)
    x = {"a": numbers(20, seed=1)[0], "b": numbers(20, seed=2)[0]}
    expected = backbone([x["b"], x["a"]]).numpy()
    got, _ = kt.features(model, (x, np.zeros(20, "int32")), store=STORE)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(backbone([x["a"], x["b"]]).numpy() - expected).max() > 0.1
    with pytest.raises(ValueError, match="takes the inputs b, a, but the data set gives a, c. Name them alike"):
        kt.features(model, ({"a": x["a"], "c": x["b"]}, np.zeros(20, "int32")))


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_a_dict_goes_to_the_inputs_of_a_dict_by_its_keys(engine):
    """As in `predict`, also where the keys aren't the names, in another order of the alphabet."""
    first, second = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    difference = keras.layers.Subtract()([keras.layers.Dense(3)(first), second])
    own = keras.Model({"p": first, "q": second}, difference)
    x = {"q": numbers(20, seed=1)[0], "p": numbers(20, seed=2)[0]}
    store = kt.Store(engine=engine)
    for model in (own, frozen(own, 2)):
        got = kt.features(model, batches(x), store=store)
        np.testing.assert_allclose(got, own.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="takes the inputs p, q, but the data set gives a, b. Name them alike"):
        kt.features(own, batches({"a": x["q"], "b": x["p"]}), store=store)
    alike = keras.Model({"b": first, "a": second}, difference)  # then x may hold more
    by_name = {"a": x["q"], "b": x["p"]}
    more = {"aa": np.zeros((20, 3), "float32"), **by_name}
    np.testing.assert_allclose(kt.features(alike, batches(more), store=store), alike.predict(by_name, verbose=0), rtol=1e-4,
                               atol=1e-5)


def test_outputs_in_a_dict_are_features_in_a_dict():
    """As from `predict`; in other structures they are a tuple."""
    inputs = keras.Input((3,))
    parts = {"z": keras.layers.Dense(2)(inputs), "a": keras.layers.Dense(4)(inputs)}
    x, y = numbers()
    own = keras.Model(inputs, parts)
    expected = own.predict(x, verbose=0)
    for got in (kt.features(own, (x, y), store=STORE)[0], kt.features(own, batches(x), store=STORE)):
        assert isinstance(got, dict) and got.keys() == expected.keys()
        for name in parts:
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-5)
    listed, _ = kt.features(keras.Model(inputs, list(parts.values())), (x, y), store=STORE)
    assert isinstance(listed, tuple) and [part.shape for part in listed] == [(50, 2), (50, 4)]


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_a_column_without_its_last_axis_among_several_inputs(engine):
    """Keras adds the axis, and drops one of 1 that is too much."""
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((1,), name="b"), "c": keras.Input((), name="c")}
    columns = [inputs["a"], inputs["b"], keras.ops.expand_dims(inputs["c"], -1)]
    backbone = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Concatenate()(columns)))
    x = {"a": numbers()[0], "b": numbers(seed=1)[0][:, 0], "c": numbers(seed=2)[0][:, :1]}
    got, _ = read(cached(frozen(backbone, 2), batches((x, np.arange(50))), store=kt.Store(engine=engine)))
    np.testing.assert_allclose(got, backbone.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"takes inputs of shape \[\(3,\), \(1,\), \(\)\], a row, but the data set gives"):
        kt.features(backbone, (x | {"a": x["b"]}, np.arange(50)))


def test_passes_that_differ_are_not_pieced_together(model, tmp_path, monkeypatch):
    """A key doesn't make a shuffled set repeatable: what a broken run left of another order is computed again."""
    monkeypatch.setattr(shards, "ROWS", 16)
    x = np.arange(192, dtype="float32").reshape(64, 3)
    data = tf.data.Dataset.from_tensor_slices((x, np.arange(64))).shuffle(64).batch(16)
    store = kt.Store(engine="tensorflow", key="mine")
    run = TensorFlowEngine.run

    def broken(self, batches, put):
        run(self, (batch for _, batch in zip(range(2), batches)), put)
        raise RuntimeError("no more")

    monkeypatch.setattr(TensorFlowEngine, "run", broken)
    with pytest.raises(RuntimeError, match="no more"):
        kt.cache_features(model, data, tmp_path, store=store)
    monkeypatch.setattr(TensorFlowEngine, "run", run)
    for _ in range(2):
        features, _ = kt.cache_features(model, data, tmp_path, store=store)
        rows = np.concatenate([y for _, y in features.as_numpy_iterator()])
        assert sorted(rows) == list(range(64))


def test_passes_that_nobody_would_find_again_are_not_kept(model, tmp_path):
    with pytest.raises(ValueError, match="can't be told from others.*key="):
        cached(model, batches(numbers()), tmp_path, kt.Store(engine="tensorflow", views=2))
    assert not list(tmp_path.iterdir())
    assert len(read(cached(model, batches(numbers()), store=kt.Store(engine="tensorflow", views=2)))[0]) == 50


def test_a_layer_of_the_backbone_s_own_may_be_named_features(model):
    inputs = keras.Input((3,))
    inner = keras.layers.Dense(5, name="features")(inputs)
    own = keras.Model(inputs, keras.layers.Dense(2)(inner))
    x, y = numbers()
    np.testing.assert_allclose(kt.features(own, (x, y), store=STORE)[0], own(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kt.features(model, (x, y), store=STORE)[0], backbone(model, x), rtol=1e-5, atol=1e-6)


def test_x_of_an_unknown_rank_is_refused(model):
    x, y = numbers()
    signature = (tf.TensorSpec(None, "float32"), tf.TensorSpec((None,), "int64"))
    data = tf.data.Dataset.from_generator(lambda: iter([(x, y)]), output_signature=signature)
    with pytest.raises(ValueError, match="doesn't tell the number of dimensions of x.*ensure_shape"):
        cached(model, data)


def test_data_that_change_between_two_passes_leave_nothing_behind(model, tmp_path):
    x, y = numbers()
    passes = []

    def changing():
        passes.append(0)
        yield from [(x[:25], y[:25]), (x[25:] + (len(passes) > 3), y[25:])]

    data = tf.data.Dataset.from_generator(
        changing, output_signature=(tf.TensorSpec((None, 3), "float32"), tf.TensorSpec((None,), "int64")))
    with pytest.raises(ValueError, match="gives other elements in the next pass"):
        cached(model, data, tmp_path)
    assert not list(tmp_path.rglob("*.npy")) and len(passes) > 3
