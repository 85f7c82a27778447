"""The files of a feature store: folders of .npy files, whole or not there, and checked before they are used."""
import contextlib
import dataclasses
import io
import json
import mmap
import os
import pathlib
import shutil
import tempfile
import time
import zipfile
import zlib

import filelock
import ml_dtypes
import numpy as np

try:
    import resource
except ImportError:  # not on Windows, where mapped files don't count
    resource = None

from .._files import atomic, folder

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FORMAT = 1
BYTES = 64 << 20  # of a shard, at most
ROWS = 1024       # of a shard, at most: what a kill can cost
SHARDS = 256      # of a set of known size, at most about so many: larger sets have larger shards
_LEAST, _SOME = 64, 16  # rows of a shard of a small set, so that it has some, to go on from and for workers to share
_RESIDENT = 256 << 20  # bytes of mapped pages that may stay in memory
_FILES = 256           # files beside those of a store that a process may want to open
_PAGES = 1 << 21       # bytes that the system may map around a row that is read


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the files of a store hold.

    Attributes:
        key: hex digest of all that the features depend on.
        columns: `{name: (shape, dtype)}` of one row: "x0", "x1", ... (features), "y0", "y1", ... (what comes beside
            them) and "id" (the number of the element).
        rows: rows a shard.
        views: the number of views.
    """

    key: str
    columns: dict
    rows: int
    views: int = 1

    @property
    def row_bytes(self):
        return sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in self.columns.values())


def rows_of(row_bytes, step, count):
    """Returns how many rows a shard has: a multiple of `step`, the same for the same data."""
    rows = ROWS if count is None else max(min(ROWS, max(_LEAST, count // _SOME)), -(-count // SHARDS))
    most = min(BYTES // max(1, row_bytes), rows)
    return max(1, most // step) * step


def room(directory):
    """Returns the free bytes where `directory` is or would be; None: where temporary folders are."""
    path = pathlib.Path(directory or tempfile.gettempdir()).absolute()
    return shutil.disk_usage(next(parent for parent in (path, *path.parents) if parent.exists())).free


def held(directory):
    """Returns the bytes that stores in `directory` take already; 0 for None."""
    files = [] if directory is None else pathlib.Path(directory).rglob("*.npy")
    return sum(file.stat().st_size for file in files)


class NoRoom(OSError):
    """The disk has too little space for the features that are to be computed."""


def unwritable(path, error):
    """Returns the error to raise in the place of an `OSError` that came of writing to `path`."""
    return type(error)(error.errno, f"The features can't be kept in {str(path)!r} ({error.strerror}). What was written "
                       "stays: make room, or give a `directory` that can be written.")


def lock_of(path, worker):
    """Returns the lock that a worker holds while it fills the store; the system takes it from one that was killed."""
    return filelock.FileLock(path / f".lock-{worker}")


def used_by_others(path, worker):
    """Whether other workers than this one fill the store, such as those of a cluster."""
    for file in path.glob(".lock-*"):
        if file.name != f".lock-{worker}":
            try:
                with filelock.FileLock(file).acquire(timeout=0):
                    pass
            except filelock.Timeout:
                return True
    return False


class Shards:
    """The shards of one store, in a folder of their own.

    A shard is a folder with a .npy file for each column and `shard.json` with their checksums; it's written beside and
    renamed. `store.json`, written last, says how many rows there are.

    Args:
        path: the folder.
        layout: the `Layout`.
    """

    def __init__(self, path, layout):
        self.path, self.layout = pathlib.Path(path), layout
        self.written = set()  # (view, shard) of those that this object wrote

    def write(self, view, shard, arrays):
        """Writes the columns of a shard, `{name: (rows, ...)}`, whole or not at all."""
        target, rows = self.at(view, shard), len(next(iter(arrays.values())))
        if self.rows(view, shard) == rows:
            return  # another worker was faster, and may be reading it
        try:
            with folder(target) as beside:
                sums = {name: _saved(beside / f"{name}.npy", array) for name, array in arrays.items()}
                text = {"key": self.layout.key, "view": view, "shard": shard, "rows": rows, "sums": sums}
                (beside / "shard.json").write_text(json.dumps(text))
                if target.exists() and self.rows(view, shard) != rows:  # damaged, or of data that had another length
                    shutil.rmtree(target, ignore_errors=True)
            self.written.add((view, shard))
        except OSError:
            if self.rows(view, shard) != rows:  # another worker may have written the same one meanwhile
                raise

    def rows(self, view, shard):
        """Returns how many rows a shard has; 0 if it isn't there, is damaged, or is of another store."""
        path = self.at(view, shard)
        try:
            told = json.loads((path / "shard.json").read_text())
            mine = (told["key"], told["view"], told["shard"]) == (self.layout.key, view, shard)
            if not mine or set(told["sums"]) != set(self.layout.columns):
                return 0
            for name, (shape, dtype) in self.layout.columns.items():
                if told["sums"][name] != _checksum(path / f"{name}.npy"):
                    return 0
                array = np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                if array.shape != (told["rows"], *shape) or array.dtype.itemsize != np.dtype(dtype).itemsize:
                    return 0
            return int(told["rows"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return 0

    def counts(self, known=None):
        """Returns the rows of each view if the store is complete and whole (with `known` rows a view), else None."""
        try:
            told = json.loads((self.path / "store.json").read_text())
            counts = [int(count) for count in told["counts"]]
            fits = len(counts) == self.layout.views and (known is None or set(counts) == {known})
            if told != self._record(counts) or not fits:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return counts if all(self.whole(view, s, count) for view, count in enumerate(counts)
                             for s in self.numbers(count)) else None

    def any(self):
        """Whether there are shards, whole or not."""
        return any(self.path.glob("[0-9]*-*"))  # a lock has such a name, too, but for its dot

    def whole(self, view, shard, count):
        """Whether a shard of a view with `count` rows is there, and as it was written."""
        return self.rows(view, shard) == self.expected(shard, count)

    def clean(self, seconds=0):
        """Removes what runs that were killed have left behind `seconds` ago or earlier."""
        for beside in self.path.glob(".*.*"):
            with contextlib.suppress(OSError):
                if time.time() - beside.stat().st_mtime >= seconds:
                    shutil.rmtree(beside) if beside.is_dir() else beside.unlink()

    def clear(self):
        """Removes all shards."""
        for path in self.path.glob("[0-9]*-*"):
            shutil.rmtree(path, ignore_errors=True)

    def take_back(self):
        """Removes the shards that this object has written."""
        for view, shard in self.written:
            shutil.rmtree(self.at(view, shard), ignore_errors=True)

    def numbers(self, count):
        """The numbers of the shards that hold `count` rows."""
        return range(-(-count // self.layout.rows))

    def expected(self, shard, count):
        """How many rows of `count` a shard holds."""
        return min(self.layout.rows, count - shard * self.layout.rows)

    def finish(self, counts):
        """Writes `store.json`: from now on the store is complete."""
        with atomic(self.path / "store.json") as file:
            file.write(json.dumps(self._record(counts), indent=1).encode())

    def _record(self, counts):
        columns = {name: [list(shape), str(dtype)] for name, (shape, dtype) in self.layout.columns.items()}
        record = {"format": FORMAT, "key": self.layout.key, "columns": columns, "rows": self.layout.rows,
                  "counts": list(counts)}
        return record | {"sum": zlib.crc32(json.dumps(record).encode())}

    def at(self, view, shard):
        """The folder of a shard."""
        return self.path / f"{view}-{shard:06d}"


class Mapped:
    """All rows of one column of one view, mapped from its shards: random access without reading everything.

    Args:
        shards: complete `Shards`.
        view: the number of the view.
        name: the column.
        count: the rows of the view.
    """

    def __init__(self, shards, view, name, count):
        self.rows, self.count = shards.layout.rows, count
        shape, dtype = shards.layout.columns[name]
        self.row = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.shards = shards  # a temporary folder stays as long as it's read
        _allow(2 * len(shards.numbers(count)))
        opened = [_mapped(shards.at(view, number) / f"{name}.npy", dtype) for number in shards.numbers(count)]
        self.arrays, self.maps = [a for a, _ in opened], [m for _, m in opened]
        self.touched, self.resident = set(), 0  # shards that were read, and the bytes that this may have mapped
        self.large = sum(map(len, self.maps)) > _RESIDENT

    def __getitem__(self, numbers):
        """Returns the rows with these numbers, an int64 array, in this order."""
        places = numbers // self.rows
        result = np.empty((len(numbers), *self.arrays[0].shape[1:]), self.arrays[0].dtype)
        for shard in np.unique(places):
            here = places == shard
            result[here] = self.arrays[shard][numbers[here] % self.rows]
            if self.large:
                self._let_go(shard, np.count_nonzero(here))
        return result

    def _let_go(self, shard, count):
        """Gives mapped pages back, which would otherwise count as this process's memory until the system is short."""
        self.touched.add(shard)
        self.resident += min(count * max(self.row, _PAGES), len(self.maps[shard]))
        if self.resident > _RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
            touched, self.touched, self.resident = self.touched, set(), 0  # threads that read meanwhile add to a new set
            for number in touched:
                self.maps[number].madvise(mmap.MADV_DONTNEED)


def _mapped(path, dtype):
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        shape, _, _ = (np.lib.format.read_array_header_1_0 if version == (1, 0) else
                       np.lib.format.read_array_header_2_0)(file)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        array = np.frombuffer(mapped, np.dtype(dtype), offset=file.tell()) if 0 not in shape else np.empty(shape, dtype)
    return array.reshape(shape), mapped


def _allow(files):
    """Raises the number of files that this process may hold open, if it's too low: each mapped one takes one."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0
    wanted = held + files + _FILES
    if resource.RLIM_INFINITY != soft < wanted and (hard == resource.RLIM_INFINITY or soft < hard):
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _saved(path, array):
    """Writes a .npy file, and returns the checksum that it must have. `np.save` says nothing when a disk is full."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b""
    with open(path, "wb") as file:
        file.write(head.getvalue())
        file.write(data)
    return zlib.crc32(data, zlib.crc32(head.getvalue()))


def _checksum(path):
    total = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            total = zlib.crc32(chunk, total)
    return total
