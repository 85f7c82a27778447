"""Shards: whole or not there, every flipped byte found out, rows in any order."""

import errno
import json
import pathlib
import random

import ml_dtypes
import numpy as np
import pytest

from keras_transfer.store import shards as module
from keras_transfer.store.shards import Layout, Mapped, Shards, room, rows_of, unwritable
from support import run_python

COLUMNS = {"x0": ((3,), np.dtype("float32")), "y0": ((), np.dtype("int32")), "id": ((), np.dtype("int64"))}
ROWS, COUNT = 8, 20


def columns_of(count, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x0": rng.normal(size=(count, 3)).astype("float32"),
        "y0": rng.integers(0, 9, count).astype("int32"),
        "id": np.arange(count),
    }


def filled(path, key="k", views=1, count=COUNT):
    store = Shards(path, Layout(key, COLUMNS, ROWS, views))
    everything = [columns_of(count, view) for view in range(views)]
    for view, columns in enumerate(everything):
        for shard in store.numbers(count):
            store.write(view, shard, {n: a[shard * ROWS : (shard + 1) * ROWS] for n, a in columns.items()})
    store.finish([count] * views)
    return store, everything


def test_what_was_written_is_read_in_any_order(tmp_path):
    store, (first, second) = filled(tmp_path, views=2)
    assert store.counts() == [COUNT, COUNT] == store.counts(COUNT)
    order = np.random.default_rng(1).permutation(COUNT)
    for view, columns in enumerate((first, second)):
        for name in COLUMNS:
            assert np.array_equal(Mapped(store, view, name, COUNT)[order], columns[name][order])
    assert not np.array_equal(first["x0"], second["x0"])
    assert Mapped(store, 0, "x0", COUNT)[np.array([], "int64")].shape == (0, 3)
    assert np.array_equal(Mapped(store, 0, "y0", COUNT)[np.array([19, 0, 19])], first["y0"][[19, 0, 19]])


def test_bfloat16_and_empty_columns(tmp_path):
    columns = {"x0": ((2,), np.dtype(ml_dtypes.bfloat16)), "y0": ((0,), np.dtype("float32"))}
    store = Shards(tmp_path, Layout("k", columns, 4))
    values = np.array([[1.5, -2], [3, 4], [5, 6]], ml_dtypes.bfloat16)
    store.write(0, 0, {"x0": values, "y0": np.zeros((3, 0), "float32")})
    store.finish([3])
    assert store.counts() == [3]
    assert np.array_equal(Mapped(store, 0, "x0", 3)[np.array([2, 0])], values[[2, 0]])
    assert Mapped(store, 0, "y0", 3)[np.array([1])].shape == (1, 0)


def test_the_parts_are_named_by_view_and_number(tmp_path):
    store, _ = filled(tmp_path, views=2)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {f"{v}-00000{s}" for v in range(2) for s in range(3)} | {"store.json"}
    assert list(store.numbers(COUNT)) == [0, 1, 2] and [store.expected(s, COUNT) for s in range(3)] == [8, 8, 4]


def files(path):
    return sorted(p for p in pathlib.Path(path).rglob("*") if p.is_file())


def test_any_flipped_byte_is_found_or_changes_nothing(tmp_path):
    """Every byte of a small store is flipped, one at a time, and at random more than one bit of it."""
    store, (columns,) = filled(tmp_path)
    draw, found, harmless = random.Random(0), 0, 0
    for file in files(tmp_path):
        whole = file.read_bytes()
        for place in range(0, len(whole), 1 if file.suffix == ".json" else 7):
            broken = bytearray(whole)
            broken[place] ^= draw.choice([1 << draw.randrange(8), draw.randrange(1, 256)])
            file.write_bytes(broken)
            if store.counts() is None:
                found += 1
            else:
                harmless += 1
                for name in COLUMNS:
                    assert np.array_equal(Mapped(store, 0, name, COUNT)[np.arange(COUNT)], columns[name])
        file.write_bytes(whole)
    assert store.counts() == [COUNT] and found > 700 and harmless < found / 50


def test_a_count_that_became_another_whole_number_of_shards_is_found(tmp_path):
    """8 and 0 differ in one bit: without a sum over the record a store of 8 rows could pass for an empty one."""
    store, _ = filled(tmp_path, count=8)
    file = tmp_path / "store.json"
    told = json.loads(file.read_text())
    assert store.counts() == [8]
    file.write_text(json.dumps(told | {"counts": [0]}))
    assert store.counts() is None


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_truncated_files_are_found(tmp_path, cut):
    store, _ = filled(tmp_path)
    for file in files(tmp_path):
        whole = file.read_bytes()
        file.write_bytes(whole[:cut])
        assert store.counts() is None, file
        file.write_bytes(whole)
    assert store.counts() == [COUNT]


def test_missing_files_foreign_folders_and_other_layouts_are_found(tmp_path):
    store, _ = filled(tmp_path)
    for file in files(tmp_path):
        file.rename(tmp_path / "away")
        assert store.counts() is None, file
        (tmp_path / "away").rename(file)
    assert store.counts() == [COUNT]
    for other in (
        Layout("another", COLUMNS, ROWS),
        Layout("k", COLUMNS, ROWS, 2),
        Layout("k", COLUMNS, 4),
        Layout("k", COLUMNS | {"x0": ((3,), np.dtype("int32"))}, ROWS),
        Layout("k", {n: c for n, c in COLUMNS.items() if n != "y0"}, ROWS),
    ):
        assert Shards(tmp_path, other).counts() is None
    assert store.counts(COUNT + 1) is None
    (tmp_path / "0-000000").rename(tmp_path / "away")
    (tmp_path / "0-000001").rename(tmp_path / "0-000000")
    (tmp_path / "away").rename(tmp_path / "0-000001")
    assert store.counts() is None and store.rows(0, 0) == 0  # a shard in the place of another
    assert Shards(tmp_path / "nowhere", store.layout).counts() is None
    (tmp_path / "0-000000" / "shard.json").write_text("[]")
    assert store.rows(0, 0) == 0


def test_a_damaged_shard_is_replaced(tmp_path):
    store, (columns,) = filled(tmp_path)
    (tmp_path / "0-000001" / "x0.npy").write_bytes(b"")
    assert [store.rows(0, s) for s in range(3)] == [8, 0, 4]
    store.write(0, 1, {n: a[8:16] for n, a in columns.items()})
    assert store.counts() == [COUNT]


def test_maps_of_a_replaced_shard_stay_what_they_were(tmp_path):
    store, (columns,) = filled(tmp_path)
    mapped = Mapped(store, 0, "x0", COUNT)
    store.write(0, 1, {n: a[:8] for n, a in columns.items()})
    assert np.array_equal(mapped[np.arange(COUNT)], columns["x0"])


def test_an_error_while_writing_leaves_nothing(tmp_path, monkeypatch):
    store, (columns,) = filled(tmp_path)

    def full(path, array):
        path.write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_saved", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(0, 7, columns)
    monkeypatch.undo()
    assert not [p for p in tmp_path.iterdir() if "000007" in p.name]


def test_a_shard_that_another_worker_wrote_meanwhile_is_taken(tmp_path, monkeypatch):
    store, (columns,) = filled(tmp_path)

    part = {name: array[:ROWS] for name, array in columns.items()}
    (tmp_path / "0-000000").rename(tmp_path / "theirs")

    def late(*_):
        if (tmp_path / "theirs").exists():
            (tmp_path / "theirs").replace(tmp_path / "0-000000")
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr("os.rename", late)
    store.write(0, 0, part)
    assert store.counts() == [COUNT]
    with pytest.raises(OSError, match="not empty"):
        store.write(0, 9, part)
    monkeypatch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(OSError, match="not empty"):  # what stands there has other rows
        store.write(0, 2, part)


def test_a_whole_shard_of_another_length_is_replaced(tmp_path):
    """As of data that have grown under the same key."""
    store, (columns,) = filled(tmp_path)
    store.write(0, 2, {name: array[:ROWS] for name, array in columns.items()})
    assert [store.rows(0, s) for s in range(3)] == [8, 8, 8]


def test_what_killed_runs_leave_is_removed_and_nothing_else(tmp_path):
    store, _ = filled(tmp_path)
    (tmp_path / ".0-000001.abcd").mkdir()
    (tmp_path / ".0-000001.abcd" / "x0.npy").write_bytes(b"half")
    (tmp_path / ".store.json.abcd").write_bytes(b"half")
    (tmp_path / ".lock-0").write_bytes(b"")
    store.clean(60)
    assert (tmp_path / ".0-000001.abcd").exists()
    store.clean()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == [".lock-0"]
    assert store.counts() == [COUNT]


def test_rows_of_a_shard():
    assert rows_of(5120, 32, 30000) == 1024  # a kill costs about a thousand rows
    assert rows_of(5120, 32, 3000) == 160 and rows_of(5120, 32, 300) == 64  # less of a small set, which workers can share
    assert rows_of(5120, 32, 10**7) == 13088  # 64 MB
    assert rows_of(4, 32, 10**6) == 3904  # about 256 shards
    assert rows_of(4, 48, None) == 1008
    assert rows_of(1 << 30, 32, 100) == 32  # never less than one batch
    assert rows_of(0, 5000, None) == 5000
    assert Layout("", COLUMNS, 8).row_bytes == 3 * 4 + 4 + 8


def test_room_is_asked_where_the_folder_will_be(tmp_path):
    assert room(tmp_path / "not" / "there" / "yet") == pytest.approx(room(tmp_path), rel=0.05)
    assert room(None) > 0


def test_the_error_of_a_folder_that_takes_nothing():
    error = unwritable("there", PermissionError(errno.EACCES, "Permission denied"))
    assert isinstance(error, PermissionError) and error.errno == errno.EACCES
    assert "can't be kept in 'there' (Permission denied)" in str(error) and "give a `directory`" in str(error)


def test_pages_are_given_back(tmp_path, monkeypatch):
    store, (columns,) = filled(tmp_path)
    given = []

    class Map:
        def __len__(self):
            return 1000

        def madvise(self, advice):
            given.append(advice)

    monkeypatch.setattr(module, "_RESIDENT", 100)
    mapped = Mapped(store, 0, "x0", COUNT)
    assert mapped.large
    monkeypatch.setattr(module, "_RESIDENT", 2000)
    mapped.maps = [Map(), Map(), Map()]
    mapped[np.array([0, 1])]
    mapped[np.array([9])]
    assert given == [] and mapped.resident == 2000
    assert np.array_equal(mapped[np.array([2, 10])], columns["x0"][[2, 10]])
    assert given == [module.mmap.MADV_DONTNEED] * 2 and (mapped.touched, mapped.resident) == ({1}, 1000)
    assert not Mapped(store, 0, "x0", COUNT).large


@pytest.mark.slow
def test_more_shards_than_files_may_be_open():
    """A mapped file is an open one, and a process may often open 1,024."""
    code = """
import numpy as np, pathlib, resource, tempfile
from keras_transfer.store.shards import Layout, Mapped, Shards
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
with tempfile.TemporaryDirectory() as folder:
    store = Shards(folder, Layout("k", {"x0": ((), np.dtype("int64"))}, 1))
    for shard in range(300):
        store.write(0, shard, {"x0": np.array([shard])})
    mapped = Mapped(store, 0, "x0", 300)
    assert np.array_equal(mapped[np.arange(299, -1, -1)], np.arange(299, -1, -1))
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 400
print("done")
"""
    assert run_python(code).stdout.strip() == "done"


def test_a_shard_that_is_whole_is_not_replaced_under_its_readers(tmp_path):
    store, (columns,) = filled(tmp_path)
    file = tmp_path / "0-000000" / "x0.npy"
    before = file.stat().st_ino
    part = {name: array[:ROWS] for name, array in columns.items()}
    store.write(0, 0, part)
    assert file.stat().st_ino == before
    file.write_bytes(b"damaged")
    store.write(0, 0, part)
    assert store.rows(0, 0) == ROWS
    store.clear()
    assert not list(tmp_path.glob("*-*"))
