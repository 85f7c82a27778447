"""Features out of a store, in the order that training asks for."""

import gc
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.data.streaming import AHEAD
from keras_transfer.store import reading
from keras_transfer.store import shards as module
from keras_transfer.store.shards import BFLOAT16, Layout, Shards
from keras_transfer.store.sources import Passes

COUNT, ROWS = 21, 8


class _Passes(Passes):
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


def store(path, views=1, dtype="float32", order=None, count=COUNT):
    """Row k of view v holds k + 100 v, its label k; `order` says which row is written where."""
    columns = {"x0": ((2,), np.dtype(dtype)), "y0": ((), np.dtype("int64")), "id": ((), np.dtype("int64"))}
    shards = Shards(path, Layout("k", columns, ROWS, views))
    for view in range(views):
        ids = np.arange(count) if order is None else order[view]
        for shard in shards.numbers(count):
            part = ids[shard * ROWS : (shard + 1) * ROWS]
            x = np.repeat(part + 100 * view, 2).reshape(-1, 2).astype(dtype)
            shards.write(view, shard, {"x0": x, "y0": part, "id": part})
    shards.finish([count] * views)
    return shards


def source(info=None, kind=types.SimpleNamespace, spec=(0, tf.TensorSpec((None,), tf.int64))):
    return kind(info=info, batch_size=4, spec=spec, rest=spec[1:] if isinstance(spec, tuple) else ())


def made(shards, source, shuffle=False, dtype="float32", views=1, count=COUNT):
    outputs = [keras.KerasTensor((None, 2), dtype=dtype)]
    return reading.dataset(shards, [count] * views, source, outputs, shuffle)[:2]


def rows(dataset):
    elements = list(dataset.as_numpy_iterator())
    assert [len(x) for x, _ in elements] == [4] * 5 + [1]
    x, y = (np.concatenate(part) for part in zip(*elements))
    assert np.array_equal(x[:, 0], x[:, 1]) and np.array_equal(x[:, 0] % 100, y)
    return x[:, 0].astype(int).tolist()


def test_in_order_every_epoch_is_the_same_and_counts_nothing(tmp_path):
    dataset, epoch = made(store(tmp_path), source())
    assert epoch is None and len(dataset) == 6
    assert rows(dataset) == rows(dataset) == list(range(COUNT))


def test_shuffled_by_seed_and_epoch(tmp_path):
    shards = store(tmp_path)
    dataset, epoch = made(shards, source(), shuffle=True)
    first, second = rows(dataset), rows(dataset)
    assert sorted(first) == sorted(second) == list(range(COUNT)) and first != second and epoch == 2
    epoch.assign(0)
    assert rows(dataset) == first
    info = types.SimpleNamespace(seed=1, epoch=tf.Variable(0))
    other, _ = made(shards, source(info))  # the set's own seed, and its order also where no shuffling is asked for
    assert sorted(rows(other)) == list(range(COUNT)) and rows(other) != first


class Noted:
    """The rows of a shard, of which any can be asked for by their numbers, and nothing else; notes which were."""

    def __init__(self, array, first, asked):
        self.array, self.first, self.asked = array, first, asked
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, numbers):
        self.asked.extend((self.first + numbers).tolist())
        return self.array[numbers]


def test_a_batch_reads_its_own_rows_and_those_of_the_batches_made_ahead(tmp_path, monkeypatch):
    """Shuffled over all shards; an epoch reads every row once."""
    opened, asked = module._mapped, {"x0": [], "y0": []}

    def noted(path, dtype):
        array, mapped = opened(path, dtype)
        return Noted(array, int(path.parent.name.split("-")[1]) * ROWS, asked[path.stem]), mapped

    monkeypatch.setattr(module, "_mapped", noted)
    count = 25 * ROWS
    dataset, epoch = made(store(tmp_path, count=count), source(), shuffle=True, count=count)
    assert not any(asked.values())
    order = np.concatenate([y for _, y in dataset.as_numpy_iterator()]).tolist()
    for numbers in asked.values():
        assert sorted(numbers) == list(range(count))
        numbers.clear()
    epoch.assign(0)
    _, first = next(iter(dataset))
    assert first.numpy().tolist() == order[:4] and np.ptp(np.array(order[:4]) // ROWS) > 0
    for numbers in map(list, asked.values()):
        assert set(order[:4]) <= set(numbers) <= set(order[:4 * (1 + AHEAD)]) and len(set(numbers)) == len(numbers)


def test_views_take_turns(tmp_path):
    dataset, epoch = made(store(tmp_path, views=2), source(), views=2)
    expected = list(range(COUNT))
    assert [rows(dataset) for _ in range(3)] == [expected, [100 + k for k in expected], expected] and epoch == 3


def test_views_of_passes_come_as_they_were_and_then_in_a_new_order(tmp_path):
    from keras_transfer.data.streaming import permutation

    order = [permutation(COUNT, 3, np.int64(view)).numpy() for view in range(2)]
    info = types.SimpleNamespace(seed=3, epoch=tf.Variable(0))
    dataset, _ = made(store(tmp_path, 2, order=order), source(info, _Passes), views=2)
    epochs = [rows(dataset) for _ in range(4)]
    assert epochs[0] == order[0].tolist() and epochs[1] == (order[1] + 100).tolist()
    assert sorted(epochs[2]) == list(range(COUNT)) and epochs[2] != epochs[0]
    assert sorted(epochs[3]) == list(range(100, 100 + COUNT))


@pytest.mark.parametrize("stored", ["float32", BFLOAT16])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_features_have_the_dtype_of_the_network_whatever_is_stored(tmp_path, stored, dtype):
    shards = store(tmp_path, dtype=stored)
    dataset, _ = made(shards, source(), dtype=dtype)
    assert dataset.element_spec[0] == tf.TensorSpec((None, 2), dtype)
    assert rows(dataset) == list(range(COUNT))
    x, y = reading.arrays(shards, COUNT, source(), [keras.KerasTensor((None, 2), dtype=dtype)])
    assert x.dtype == ("float32" if dtype == "bfloat16" else dtype) and np.array_equal(x[:, 0], y)


def test_structures(tmp_path):
    spec = (0, {"deep": {"label": tf.TensorSpec((None,), tf.int64)}})
    dataset, _ = made(store(tmp_path), source(spec=spec))
    assert next(iter(dataset))[1]["deep"]["label"].numpy().tolist() == [0, 1, 2, 3]
    _, labels = reading.arrays(store(tmp_path), COUNT, source(spec=spec), [keras.KerasTensor((None, 2))])
    assert labels.keys() == {"deep"}


def test_reading_in_parallel_with_others_is_right(tmp_path):
    dataset, _ = made(store(tmp_path), source(), shuffle=True)
    both = list(tf.data.Dataset.zip(dataset, dataset).as_numpy_iterator())
    for (x, y), (other, label) in both:
        assert np.array_equal(x[:, 0], y) and np.array_equal(other[:, 0], label)


def test_maps_are_let_go_with_the_data_set(tmp_path):
    from keras_transfer.store.shards import Mapped

    dataset, _ = made(store(tmp_path), source())
    rows(dataset)

    def alive():
        gc.collect()
        return [o for o in gc.get_objects() if isinstance(o, Mapped) and o.shards.path == tmp_path]

    assert len(alive()) == 2
    derived = dataset.take(2)
    del dataset
    assert len(alive()) == 2 and len(list(derived)) == 2
    del derived
    assert not alive()
