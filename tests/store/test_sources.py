"""What a feature store reads: any row, whole passes, or elements of other origin; and what it refuses."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.store import sources
from keras_transfer.store.sources import ALL, Elements, Passes, Rows, source_of
from support import pixels

ROWS = 16


@pytest.fixture
def photos(photo_folder):
    def read(**options):
        return kt.data.photos(photo_folder, size=16, batch_size=8, validation=0.0, **options)[0]

    return read


class Sequence(keras.utils.PyDataset):
    def __init__(self, x, y, batches=None, step=8):
        super().__init__()
        self.x, self.y, self.step = x, y, step
        self.batches = batches

    def __len__(self):
        return -(-len(self.x) // self.step)

    @property
    def num_batches(self):
        return super().num_batches if self.batches is None else self.batches()

    def __getitem__(self, number):
        part = slice(number * self.step, (number + 1) * self.step)
        return self.x[part], self.y[part]


def numbers(count=50):
    return np.arange(count * 2, dtype="float32").reshape(count, 2), np.arange(count)


def gathered(source, shards=ALL, view=0, rows=ROWS):
    """`{(shard, place): (id, first number of x, y)}` of what a source yields."""
    found = {}
    for shard, offset, x, rest, ids in source.batches(view, shards, rows):
        x, y = keras.tree.flatten(x)[0], keras.tree.flatten(rest)[0]
        assert len(x) == len(y) == len(ids) and offset + len(ids) <= rows
        for k in range(len(ids)):
            assert (shard, offset + k) not in found
            found[shard, offset + k] = int(ids[k]), float(np.ravel(x[k])[0]), int(y[k])
    return found


def test_the_source_follows_from_the_data(photos):
    x, y = numbers()
    assert type(source_of(photos())) is Rows
    assert type(source_of(photos(augment=keras.layers.RandomFlip()), 2)) is Passes
    assert type(source_of(photos(augment=keras.layers.Rescaling(0.5)), 2)) is Rows  # all passes are the same
    assert type(source_of(photos().take(2), key="two")) is Elements
    for other in ((x, y), Sequence(x, y), tf.data.Dataset.from_tensor_slices((x, y)).batch(8)):
        assert type(source_of(other)) is Elements


def test_rows_of_kt_data_are_read_in_the_order_of_the_files_and_only_those_asked_for(photos):
    train = photos()
    source, known = source_of(train), kt.data.info(train)
    known.epoch.assign(5)
    every = gathered(source, [0, 1], rows=32)
    assert [every[k][0] for k in sorted(every)] == list(range(42))
    assert [every[k][2] for k in sorted(every)] == known.targets[None].tolist()
    assert gathered(source, [1], rows=32) == {k: v for k, v in every.items() if k[0] == 1} and len(every) == 42
    assert source.count == 42 and source.batch_size == 8 and known.epoch == 5
    assert list(source.batches(0, [], 32)) == []


def test_a_view_is_a_pass_of_the_augmented_set_and_leaves_its_epoch_alone(photos):
    train = photos(augment=keras.layers.RandomFlip("horizontal"), seed=3)
    source, epoch = source_of(train, 2), kt.data.info(train).epoch
    epoch.assign(7)
    views = [[x for _, _, x, _, _ in source.batches(view, [0, 1, 2], ROWS)] for view in (0, 1)]
    assert epoch == 7 and source.views == 2
    for view in (0, 1):
        epoch.assign(view)
        passed = [x for x, _ in train.as_numpy_iterator()]
        assert all(np.array_equal(a, b) for a, b in zip(views[view], passed, strict=True))
    assert not np.array_equal(views[0][0], views[1][0])
    last = list(source.batches(1, [2], ROWS))
    assert [b[:2] for b in last] == [(2, 0), (2, 8)] and np.array_equal(last[0][2], views[1][4])
    first = list(source.batches(1, [0], ROWS))
    assert [b[:2] for b in first] == [(0, 0), (0, 8)]
    order = np.concatenate([b[4] for b in source.batches(1, [0, 1, 2], ROWS)])
    assert sorted(order) == list(range(42)) and list(order) != sorted(order)


def test_the_mark_of_photos_covers_what_decides_their_elements(photos, photo_folder):
    flip = keras.layers.RandomFlip("horizontal", seed=1)
    marks = [
        source_of(photos()).mark(),
        source_of(photos(fit="crop")).mark(),
        source_of(photos(augment=flip, seed=1)).mark(),
        source_of(photos(augment=flip, seed=2)).mark(),
        source_of(kt.data.photos(photo_folder, size=12)[0]).mark(),
        source_of(kt.data.balance(photos(), {0: 2.0})).mark(),
    ]
    assert len(set(marks)) == 6 and source_of(photos(), key="mine").mark() == marks[0]


@pytest.mark.parametrize("kind", ["arrays", "dataset", "sequence"])
def test_elements_of_any_origin_are_the_same_rows(kind):
    x, y = numbers()
    data = {
        "arrays": lambda: (x, y),
        "dataset": lambda: tf.data.Dataset.from_tensor_slices((x, y)).batch(8),
        "sequence": lambda: Sequence(x, y),
    }[kind]()
    source = source_of(data)
    found = gathered(source)
    assert found == {(k // ROWS, k % ROWS): (k, float(2 * k), k) for k in range(50)}
    assert source.count == 50 and source.batch_size == (32 if kind == "arrays" else 8)
    assert gathered(source, [1]) == {k: v for k, v in found.items() if k[0] == 1}
    assert source.mark() == source_of(data).mark()


def test_later_batches_may_be_larger_and_reach_over_several_shards():
    x, y = numbers(60)
    batches = tf.data.Dataset.from_generator(
        lambda: ((x[a:b], y[a:b]) for a, b in [(0, 4), (4, 50), (50, 51), (51, 60)]),
        output_signature=(tf.TensorSpec((None, 2)), tf.TensorSpec((None,), tf.int64)),
    )
    source = source_of(batches)
    assert gathered(source) == {(k // ROWS, k % ROWS): (k, float(2 * k), k) for k in range(60)} and source.step == 4


def test_structures_and_text():
    x, y = numbers(6)
    data = tf.data.Dataset.from_tensor_slices(({"b": x, "a": y}, {"t": y}, {"t": x[:, 0]})).batch(4)
    source = source_of(data)
    assert set(source.rest[0]) == {"t"} and len(source.rest) == 2
    _, _, x0, rest, _ = next(source.batches(0, ALL, ROWS))
    assert set(x0) == {"a", "b"} and rest[0]["t"].shape == (4,)
    assert source_of(tf.data.Dataset.from_tensor_slices(x).batch(4)).rest == ()
    words = tf.data.Dataset.from_tensor_slices((np.array(["a", "b"]), y[:2])).batch(2)
    assert [b[2].tolist() for b in source_of(words).batches(0, ALL, ROWS)] == [[b"a", b"b"]]


@pytest.mark.parametrize("kind", ["arrays", "dataset", "sequence"])
def test_none_at_the_end_is_no_part_of_the_elements(kind):
    """As `(x, y, sample_weight)` of which nothing is weighted."""

    class Unweighted(Sequence):
        def __getitem__(self, number):
            return *super().__getitem__(number), None

    data = {
        "arrays": lambda: (*numbers(), None),
        "dataset": lambda: tf.data.Dataset.from_tensor_slices(numbers()).batch(8).map(lambda x, y: (x, y, None)),
        "sequence": lambda: Unweighted(*numbers()),
    }[kind]()
    source = source_of(data)
    assert len(source.rest) == 1 and gathered(source) == gathered(source_of(numbers()))


def test_the_mark_of_elements_follows_every_value():
    x, y = numbers()
    mark = source_of((x, y)).mark()
    x[49, 1] += 1
    other = source_of((x, y)).mark()
    y[49] += 1
    assert len({mark, other, source_of((x, y)).mark()}) == 3
    assert source_of(Sequence(x, y), key="numbers").mark() == source_of(Sequence(x + 1, y), key="numbers").mark()
    assert source_of(Sequence(x, y), 2).mark() != source_of(Sequence(x, y), 2).mark()  # passes that may differ


def test_sets_that_give_other_elements_in_the_next_pass_are_refused():
    x, y = numbers()
    shuffled = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(50).batch(8)
    with pytest.raises(ValueError, match="gives other elements in the next pass.*shuffle=True"):
        source_of(shuffled)
    assert gathered(source_of(shuffled, key="one pass")).keys() == {(k // ROWS, k % ROWS) for k in range(50)}
    late = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)  # only what comes after the first batch moves
    late = late.take(1).concatenate(late.skip(1).shuffle(10))
    source = source_of(late)
    source.mark()
    with pytest.raises(ValueError, match="other elements in the next pass"):
        for _ in range(5):
            gathered(source)


class Shuffled(Sequence):
    """Shuffles where Keras's guide does it."""

    began = 0

    def on_epoch_begin(self):
        self.began += 1

    def on_epoch_end(self):
        order = np.random.default_rng(self.began).permutation(len(self.x))
        self.x, self.y = self.x[order], self.y[order]


def test_a_pydataset_that_shuffles_between_epochs_is_refused():
    with pytest.raises(ValueError, match="gives other elements in the next pass"):
        source_of(Shuffled(*numbers()))
    source = source_of(Shuffled(*numbers()), views=2)
    first, second = gathered(source, view=0), gathered(source, view=1)
    assert first.keys() == second.keys() and first != second and source.dataset.began == 3
    assert {row[2] for row in first.values()} == {row[2] for row in second.values()} == set(range(50))


def test_a_pydataset_may_give_lists():
    class Lists(Sequence):
        def __getitem__(self, number):
            return list(super().__getitem__(number))

    assert gathered(source_of(Lists(*numbers()))) == gathered(source_of(Sequence(*numbers())))


def test_sets_that_give_another_number_of_rows_are_refused():
    x, y = numbers()
    data = Sequence(x, y)
    source = source_of(data, key="k")
    source.read_through()
    data.x, data.y = x[:40], y[:40]
    with pytest.raises(ValueError, match="other elements in the next pass"):
        gathered(source)


def test_what_can_not_be_read_is_refused():
    x, y = numbers()
    data = tf.data.Dataset.from_tensor_slices((x, y))
    with pytest.raises(TypeError, match="must be a tf.data.Dataset.*Received: list"):
        source_of([x, y])
    with pytest.raises(ValueError, match="has no end.*take"):
        source_of(data.batch(8).repeat())
    with pytest.raises(ValueError, match="has no end"):
        source_of(Sequence(x, y, batches=lambda: None))
    with pytest.raises(ValueError, match="is empty"):
        source_of(data.take(0).batch(8))
    with pytest.raises(ValueError, match=r"must give batches.*dataset.batch\(32\)"):
        source_of(data)
    with pytest.raises(ValueError, match=r"same number of rows. Received arrays of shape \[\(50, 2\), \(40,\)\]"):
        source_of((x, y[:40]))
    with pytest.raises(ValueError, match=r"must hold arrays .*\[\(2, 2\), \(\), \(\)\]"):
        source_of((x[:2], [0, 1]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(bad):
    x, y = numbers()
    x[20, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinite numbers in x, in rows 16 to 23"):
        gathered(source_of(Sequence(x, y)))
    x[20, 1] = 0
    gathered(source_of(Sequence(x, np.where(y == 3, 0, y))))


def test_photos_that_change_are_noticed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for k in range(3):
            (tmp_path / name / f"{k}.png").write_bytes(tf.io.encode_png(pixels(1, k)[0].astype("uint8")).numpy())
    source = source_of(kt.data.photos(tmp_path, size=16)[0])
    source.check_unchanged()
    (tmp_path / "b" / "1.png").unlink()
    with pytest.raises(ValueError, match="1 photos have changed or gone.*1.png.*Read the data again"):
        source.check_unchanged()
    source_of((np.zeros((2, 2)), np.zeros(2))).check_unchanged()


def test_a_pass_over_ones_own_set_does_not_wait_for_autotuning_unless_asked_to(monkeypatch):
    plain = tf.data.Dataset.range(6).map(lambda n: (tf.cast(n, tf.float32), n), tf.data.AUTOTUNE).batch(2)
    asked = tf.data.Options()
    asked.autotune.enabled = True
    made, steady = [], sources.steady
    monkeypatch.setattr(sources, "steady", lambda dataset: made.append(steady(dataset)) or made[-1])
    for dataset in (plain, plain.with_options(asked)):
        assert [x.tolist() for _, _, x, _, _ in Elements(dataset, 1, None).batches(0, ALL, 6)] == [[0, 1], [2, 3], [4, 5]]
    assert made and not any(dataset.options().autotune.enabled for dataset in made)
    del made[:]
    Elements(plain.with_options(asked), 1, None).read_through()
    assert not made


def test_the_next_batch_of_a_pydataset_is_read_while_the_one_before_is_computed():
    second, x = threading.Event(), np.arange(64, dtype="float32").reshape(32, 2)

    class Noted(Sequence):
        def __getitem__(self, index):
            if index == 1:
                second.set()
            return super().__getitem__(index)

    source = source_of(Noted(x, x[:, 0]), key="noted")
    source.read_through()
    second.clear()
    batches = source.batches(0, ALL, ROWS)
    first = next(batches)
    assert second.wait(10), "without that the second one is asked for"
    found = [first[2], *(batch[2] for batch in batches)]
    assert np.array_equal(np.concatenate(found), x)


def test_an_error_of_a_pydataset_comes_through():
    class Broken(Sequence):
        def __getitem__(self, index):
            if index == 2:
                raise RuntimeError("the disk is gone")
            return super().__getitem__(index)

    x = np.zeros((32, 2), "float32")
    source = source_of(Broken(x, x[:, 0]), key="broken")
    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(source.batches(0, ALL, ROWS))
