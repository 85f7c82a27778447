"""Filling a store: only what is missing, shared by workers, gone on with after a kill, clear when it can't be done."""

import contextlib
import errno
import functools
import itertools
import os
import re
import resource
import sys
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.data import streaming
from keras_transfer.store import filling, shards, sources
from keras_transfer.store.engines.choosing import ENGINES
from keras_transfer.store.filling import Filler, size
from keras_transfer.store.shards import Layout, Mapped, Shards, lock_of
from keras_transfer.store.sources import source_of
from support import pixels

COLUMNS = {"x0": ((2,), np.dtype("float32")), "y0": ((), np.dtype("int64")), "id": ((), np.dtype("int64"))}
ROWS, COUNT = 64, 500


class Engine:
    """Doubles x; notes what it was given, and can go wrong or wait."""

    name = "doubling"

    def __init__(self, wait=0.0, wrong_after=None, threads=False):
        self.wait, self.wrong_after, self.threads, self.rows = wait, wrong_after, threads, 0

    def run(self, batches, put):
        for number, (token, x) in enumerate(batches):
            if self.wrong_after is not None and number >= self.wrong_after:
                raise RuntimeError("the engine is broken")
            time.sleep(self.wait)
            self.rows += len(x)
            work = threading.Thread(target=put, args=(token, [np.asarray(x) * 2]))
            work.start()
            if not self.threads or number % 3 == 2:  # at most three at once, in any order
                work.join()
        time.sleep(0.1)


def numbers(count=COUNT):
    return np.arange(count * 2, dtype="float32").reshape(count, 2), np.arange(count)


def filler(path, engine=None, key="k", count=COUNT, **options):
    engine = engine or Engine()
    source = source_of(numbers(count), key="numbers")
    return Filler(Shards(path, Layout(key, COLUMNS, ROWS)), source, lambda: engine, **options)


def everything(shards, count=COUNT):
    return Mapped(shards, 0, "x0", count)[np.arange(count)], Mapped(shards, 0, "y0", count)[np.arange(count)]


def contents(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("threads", [False, True])
def test_rows_stand_beside_their_labels_whatever_the_order_they_come_in(tmp_path, threads):
    f = filler(tmp_path, Engine(0.001, threads=threads))
    assert f.fill() == [COUNT] == f.shards.counts()
    x, y = everything(f.shards)
    assert np.array_equal(x, numbers()[0] * 2) and np.array_equal(y, numbers()[1])


def test_only_what_is_missing_is_computed(tmp_path):
    filler(tmp_path).fill()
    before = contents(tmp_path)
    (tmp_path / "0-000002" / "y0.npy").write_bytes(b"torn")
    (tmp_path / "0-000005" / "shard.json").unlink()
    (tmp_path / ".0-000005.abcd").mkdir()
    engine = Engine()
    filler(tmp_path, engine).fill()
    assert engine.rows == 2 * ROWS and contents(tmp_path) == before and not list(tmp_path.glob(".0*"))
    engine = Engine()
    filler(tmp_path, engine).fill()
    assert engine.rows == 0


def test_an_engine_that_breaks_leaves_whole_shards_and_no_complete_store(tmp_path):
    broken = filler(tmp_path, Engine(wrong_after=5))
    with pytest.raises(RuntimeError, match="the engine is broken"):
        broken.fill()
    assert broken.shards.counts() is None and not (tmp_path / "store.json").exists()
    engine = Engine()
    filler(tmp_path, engine).fill()
    assert engine.rows in (COUNT - 2 * ROWS, COUNT - ROWS)
    assert np.array_equal(everything(broken.shards)[0], numbers()[0] * 2)


def test_a_set_of_unknown_length_is_counted_where_shards_may_be_used_again(tmp_path):
    def unknown(engine, count=COUNT):
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices(numbers(count)).batch(32).filter(lambda x, y: True)
        return Filler(Shards(tmp_path, Layout("k", COLUMNS, ROWS)), source_of(data, key="k"), lambda: engine)

    first, again, torn = Engine(), Engine(), Engine()
    assert unknown(first).fill() == [COUNT] and first.rows == COUNT
    assert unknown(again).fill() == [COUNT] and again.rows == 0
    (tmp_path / "0-000007" / "id.npy").unlink()
    assert unknown(torn).fill() == [COUNT] and torn.rows == COUNT - 7 * ROWS


def test_what_a_worker_of_a_cluster_is_writing_stays_beside_a_run_outside_of_it(tmp_path):
    for is_used in (True, False):  # a lock that nobody holds is of a run that has ended
        folder = tmp_path / str(is_used)
        begun = folder / ".0-000003.abcd"
        begun.mkdir(parents=True)
        (begun / "x0.npy").write_bytes(b"half")
        f = filler(folder)
        with lock_of(folder, 1):
            pass
        with lock_of(folder, 1) if is_used else contextlib.nullcontext():
            assert f.fill() == [COUNT]
        assert begun.exists() == is_used
    assert np.array_equal(everything(f.shards)[0], numbers()[0] * 2)


def test_two_workers_write_what_one_writes(tmp_path):
    engines = [Engine(0.01), Engine(0.02)]
    fillers = [filler(tmp_path / "two", engines[k], worker=(k, 2)) for k in range(2)]
    threads = [threading.Thread(target=f.fill) for f in fillers]
    [t.start() for t in threads]
    [t.join() for t in threads]
    filler(tmp_path / "one").fill()
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert [e.rows for e in engines] == [4 * ROWS, COUNT - 4 * ROWS]


def test_the_shards_of_a_worker_that_stands_still_are_taken_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(filling, "WAIT", 0.5)
    engine = Engine()
    began = time.monotonic()
    f = filler(tmp_path, engine, worker=(1, 2), verbose=2)
    f.fill()
    assert engine.rows == COUNT and f.shards.counts() == [COUNT] and time.monotonic() - began > 0.5
    assert "Another worker has written nothing for 0 s; its 4 shards are computed here." in capsys.readouterr().out
    assert np.array_equal(everything(f.shards)[0], numbers()[0] * 2)



def test_a_worker_that_comes_back_finds_the_others_helping(tmp_path, monkeypatch):
    """The shards of one that stands still are taken over one at a time, so that it can go on with the rest."""
    monkeypatch.setattr(filling, "WAIT", 0.3)
    helper = Engine(0.1)
    waiting = threading.Thread(target=filler(tmp_path, helper, worker=(1, 2)).fill)
    waiting.start()
    time.sleep(1.5)  # its own four shards take 0.9 s, and each of the others' 0.3 s
    late = Engine()
    filler(tmp_path, late, worker=(0, 2)).fill()
    waiting.join()
    own = COUNT - 4 * ROWS
    assert late.rows > 0 and own < helper.rows < COUNT
    assert np.array_equal(everything(filler(tmp_path).shards)[0], numbers()[0] * 2)


def test_the_shards_of_a_living_worker_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "WAIT", 30.0)
    slow, fast = Engine(0.1), Engine()
    other = threading.Thread(target=filler(tmp_path, slow, worker=(0, 2)).fill)
    other.start()
    filler(tmp_path, fast, worker=(1, 2)).fill()
    other.join()
    assert fast.rows == COUNT - 4 * ROWS and slow.rows == 4 * ROWS


def test_too_little_space_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "room", lambda path: 9000)
    engine = Engine()
    with pytest.raises(OSError, match="The features take 12 kB, and .* has 9 kB left.*bfloat16"):
        filler(tmp_path, engine).fill()
    assert engine.rows == 0
    monkeypatch.setattr(filling, "room", lambda path: 12000)
    filler(tmp_path, engine).fill()


def test_a_disk_that_is_full_is_a_clear_error_and_the_rest_can_be_computed_later(tmp_path):
    """A limit on the size of files stands for the disk: the third column of a shard doesn't fit."""
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
    try:
        with pytest.raises(OSError, match="can't be kept in .*What was written stays: make room") as caught:
            filler(tmp_path).fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert not [p for p in os.listdir(tmp_path) if p.startswith(("0-", ".0-", "store"))]
    f = filler(tmp_path)
    assert f.fill() == [COUNT] == f.shards.counts()


def test_no_more_than_a_few_shards_wait_in_memory(tmp_path, monkeypatch):
    """A slow disk holds the engine back."""
    waiting = []
    write = Shards.write

    def slow(self, *arguments):
        time.sleep(0.05)
        write(self, *arguments)

    class Watched(filling._Writer):
        def check(self):
            super().check()
            waiting.append(len([future for future in self.written if not future.done()]))

    monkeypatch.setattr(Shards, "write", slow)
    monkeypatch.setattr(filling, "_Writer", Watched)
    filler(tmp_path, count=1500).fill()
    assert 1 <= max(waiting) <= 3


def test_reading_computing_and_writing_overlap(tmp_path, monkeypatch):
    """Without a clock: a batch is computed only when later ones were read, and a shard written when later rows were computed."""
    read, computed, write = [], [], Shards.write
    later = threading.Condition()

    def note(where):
        with later:
            where.append(None)
            later.notify_all()

    def wait_for(where, count):
        with later:
            assert later.wait_for(lambda: len(where) >= count, timeout=60), "nothing went on beside it"

    def batches():
        read.clear()
        for start in range(0, COUNT, 32):
            note(read)
            yield tuple(a[start:start + 32] for a in numbers())

    class Patient(Engine):
        def run(self, batches, put):
            for number, (token, x) in enumerate(batches):
                wait_for(read, min(number + 3, 16))  # two batches after it are there already
                note(computed)
                put(token, [np.asarray(x) * 2])

    def patient(self, view, shard, arrays):
        wait_for(computed, min(2 * shard + 4, 16))  # of two batches each: the next one is computed meanwhile
        write(self, view, shard, arrays)

    monkeypatch.setattr(Shards, "write", patient)
    spec = tuple(tf.TensorSpec((None, *a.shape[1:]), a.dtype) for a in numbers())
    source = source_of(tf.data.Dataset.from_generator(batches, output_signature=spec), key="numbers")
    f = Filler(Shards(tmp_path, Layout("k", COLUMNS, ROWS)), source, Patient)
    assert f.fill() == [COUNT]
    assert np.array_equal(everything(f.shards)[0], numbers()[0] * 2)


class Order:
    """What happens, one after the other; and what has to wait until something else has happened, in vain but once."""

    def __init__(self, patience):
        self.events, self.changed, self.patience = [], threading.Condition(), patience

    def note(self, *event):
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def wait(self, *event):
        with self.changed:
            if not self.changed.wait_for(lambda: event in self.events, self.patience):
                self.patience = 0


def in_order(monkeypatch, folder, path, engine, patience=60.0):
    """The order of what happens to 192 photos in 24 batches and 12 shards: by batch or shard, when it was.

    No clock plays a part: a batch is handed over only when the one after the next has been decoded, and a shard is whole
    on the disk only when a batch of the next one has come.
    """
    order, decoded, begun = Order(patience), [], itertools.count()
    module = sys.modules[ENGINES[engine].__module__]
    reader, put, write, inputs = streaming._reader, filling._Writer.put, Shards.write, module.inputs_of

    def noted(row, photo):
        with order.changed:
            decoded.append(row // 8)
            if decoded.count(row // 8) == 8:
                order.note("decoded", row // 8)
        return photo

    def watched_reader(*arguments):
        inner = reader(*arguments)

        def read(row):
            photo, label = inner(row)
            return tf.ensure_shape(tf.numpy_function(noted, [row, photo], tf.float32), photo.shape), label

        return read

    def watched_put(self, shard, offset, *rest):
        batch = 2 * shard + offset // 8
        order.wait("decoded", min(batch + 2, 23))
        if offset == 0 and shard:
            order.wait("writing", shard - 1)
        order.note("computed", batch)
        put(self, shard, offset, *rest)

    def watched_write(self, view, shard, arrays):
        order.note("writing", shard)
        write(self, view, shard, arrays)
        order.wait("computed", min(2 * shard + 2, 23))
        order.note("written", shard)

    def watched_inputs(*arguments):
        order.note("begun", next(begun))
        return inputs(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(streaming, "_reader", watched_reader)
        patch.setattr(filling._Writer, "put", watched_put)
        patch.setattr(Shards, "write", watched_write)
        patch.setattr(module, "inputs_of", watched_inputs)
        patch.setattr(sources, "BATCH", 8)
        patch.setattr(shards, "ROWS", 16)
        patch.setattr(filling, "READ_AHEAD", 0)  # else so few photos are read while the engine is made
        keras.utils.set_random_seed(0)
        train = kt.data.photos(folder, size=16, validation=0.0)[0]
        model = kt.attach(keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(4)]),
                          kt.heads.Classifier(2))
        kt.freeze(model)
        kt.cache_features(model, train, path, store=kt.Store(engine=engine), verbose=0)
    assert len(set(order.events)) == len(order.events) == 3 * 24 + 2 * 12
    print(*(f"{what} {number}" for what, number in order.events), sep=", ")
    return {event: when for when, event in enumerate(order.events)}


def reading_goes_on(when):
    """Whether each batch was handed over after the second next one was decoded; and not the whole set was decoded first."""
    return all(when["decoded", k + 2] < when["computed", k] for k in range(22)) and when["computed", 0] < when["decoded", 23]


def writing_goes_on(when):
    """Whether beside each shard that was written a batch was computed."""
    return all(when["writing", s] < when["computed", 2 * s + 2] < when["written", s] for s in range(11))


@pytest.fixture
def photos(tmp_path):
    for number, photo in enumerate(pixels(192)):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_jpeg(photo.astype("uint8")).numpy())
    return tmp_path / "photos"


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_photos_are_decoded_and_shards_written_while_an_engine_computes(photos, tmp_path, monkeypatch, engine):
    when = in_order(monkeypatch, photos, tmp_path / "cache", engine)
    assert reading_goes_on(when) and writing_goes_on(when)
    ahead = [when["begun", k + 1] < when["computed", k] for k in range(23)]  # several at once, or one after the other
    assert all(ahead) if engine == "openvino" else not any(ahead)


def test_what_does_one_thing_after_the_other_does_not_pass_for_overlapping(photos, tmp_path, monkeypatch):
    """The control: photos that are decoded when they are asked for, and a writer that the engine waits for."""
    def on_demand(self, view, shards, rows):
        read = streaming._reader(*self.info.reader.args[:3])
        for start in range(0, self.count, self.step):
            ids = np.arange(start, start + self.step)
            x, y = map(np.stack, zip(*map(read, ids)))
            yield start // rows, start % rows, x, [y], ids

    def at_once(self, shard):
        self._save(shard, self.open.pop(shard))

    with monkeypatch.context() as patch:
        patch.setattr(sources.Rows, "batches", on_demand)
        when = in_order(monkeypatch, photos, tmp_path / "reading", "tensorflow", patience=1.0)
        assert not reading_goes_on(when)
        assert all(when["computed", k] < when["decoded", k + 1] for k in range(23))
    monkeypatch.setattr(filling._Writer, "_write", at_once)
    when = in_order(monkeypatch, photos, tmp_path / "writing", "tensorflow", patience=1.0)
    assert not writing_goes_on(when)
    assert all(when["written", s] < when["computed", 2 * s + 2] for s in range(11))


@pytest.mark.parametrize("limit, read", [(1 << 27, 16), (3000, 4), (0, 1)])
def test_while_the_engine_is_made_photos_are_read_up_to_a_limit(tmp_path, monkeypatch, limit, read):
    """Batches of 32 rows: 256 bytes of x, of labels and of numbers each, and where they begin."""
    monkeypatch.setattr(filling, "READ_AHEAD", limit)
    given, made = [], Engine()
    one = filler(tmp_path, made)
    batches, enough = one.source.batches, threading.Event()

    def counted(*arguments):
        for batch in batches(*arguments):
            given.append(batch)
            if len(given) == read:
                enough.set()
            yield batch

    def slowly():
        assert enough.wait(60)
        time.sleep(0.1)  # more would be read meanwhile
        assert len(given) == read
        return made

    one.source.batches, one.engine = counted, functools.cache(slowly)
    one.fill()
    assert len(given) == 16 and made.rows == COUNT
    np.testing.assert_array_equal(everything(one.shards)[0], numbers()[0] * 2)


def test_what_it_weighs_and_takes_is_told_once(tmp_path, monkeypatch, capsys):
    filler(tmp_path / "a", verbose=2).fill()
    told = capsys.readouterr().out
    assert told.count("Features:") == 1 and "12 kB" in told and "doubling" in told and str(tmp_path / "a") in told
    filler(tmp_path / "b", verbose=0).fill()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(filling, "_MEASURED", 0.1)
    monkeypatch.setattr(filling, "_LONG", 0.2)
    filler(tmp_path / "c", Engine(0.05), verbose=1).fill()
    told = capsys.readouterr().out
    assert re.search(r"about \d+ s", told) and "500/500" in told  # 16 batches of 0.05 s


@pytest.mark.parametrize("wait", [0.11, 0.37])
def test_weight_and_time_are_told_from_the_first_batches_and_come_true(tmp_path, monkeypatch, wait):
    """16 batches of a known pace, in 8 shards; for one pace the other's time would be out of bounds."""
    class Wide(Engine):
        def run(self, batches, put):
            super().run(batches, lambda token, features: put(token, [np.tile(features[0], (1, 1000))]))

    def say(text):
        told.append((text, engine.rows, len(list(tmp_path.glob("0-*"))), time.monotonic() - began))

    monkeypatch.setattr(filling, "_MEASURED", 3.5 * wait)
    engine, told = Wide(wait), []
    wide = Layout("k", COLUMNS | {"x0": ((2000,), np.dtype("float32"))}, ROWS)
    f = Filler(Shards(tmp_path, wide), source_of(numbers(), key="numbers"), lambda: engine, verbose=2)
    f.say, began = say, time.monotonic()
    f.fill()
    took = time.monotonic() - began
    ((text, rows, whole, after),) = told
    weight, seconds = re.fullmatch(r"Features: (.*), about (\d+) s \(doubling, .*\)", text).groups()
    print(f"{text}: after {after:.1f} of {took:.1f} s, {rows} of {COUNT} rows and {whole} of 8 shards")
    assert rows < 0.45 * COUNT and whole <= 3 and after < 0.45 * took
    assert weight == size(sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())) == "4.01 MB"
    assert took / 2 < float(seconds) < took * 2


def test_size_time_and_space_are_those_of_all_passes_together(tmp_path, monkeypatch, capsys):
    def passes(path):
        source = source_of(numbers(), views=3, key="numbers")
        return Filler(Shards(path, Layout("k", COLUMNS, ROWS, views=3)), source, Engine, verbose=2)

    monkeypatch.setattr(filling, "room", lambda path: 30_000)
    with pytest.raises(OSError, match="The features take 36 kB, and .* has 30 kB left"):
        passes(tmp_path / "a").fill()
    monkeypatch.setattr(filling, "room", lambda path: 40_000)
    assert passes(tmp_path / "b").fill() == [COUNT] * 3
    told = capsys.readouterr().out
    assert told.count("Features:") == 1 and "36 kB" in told and "in 3 passes" in told


def test_sizes_as_people_say_them():
    assert [size(n) for n in (12, 1234, 5.6e6, 7.89e9, 1e13)] == ["12 bytes", "1.23 kB", "5.6 MB", "7.89 GB", "10 TB"]
