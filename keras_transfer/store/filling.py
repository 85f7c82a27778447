"""Computes what a feature store lacks: reading, computing and writing at the same time."""
import collections
import concurrent.futures
import threading
import time

import keras
import numpy as np
import tensorflow as tf

from .shards import NoRoom, room, unwritable, used_by_others
from .sources import ALL

WAIT = 60.0  # seconds without a new shard of another worker, after which its shards are computed here
READ_AHEAD = 1 << 26  # bytes of photos and labels that are read while the engine is made
_POLL = 0.2  # seconds between two looks at what the others have written
_OLD = 600.0  # seconds after which an unfinished folder among those of several workers is a dead one's
_LONG = 20.0  # seconds that deserve a progress bar
_MEASURED = 2.0  # seconds after which the rate is known well enough to be told


class Filler:
    """Fills the shards of a store.

    Args:
        shards: the `Shards`.
        source: what to read.
        engine: a function that returns the engine, the same one each time; it's called if something is to be computed.
        worker: (number, how many): worker k of n computes shards k, k + n, k + 2n, ...
        verbose: 0, 1, 2 or "auto": whether size and time are told, and (not for 2) a progress bar is shown.
    """

    def __init__(self, shards, source, engine, worker=(0, 1), verbose=0):
        self.shards, self.source, self.engine, self.worker = shards, source, engine, worker
        self.whole, self.told = {}, False  # the shards of each view that are known to be whole; whether size and time were told
        self.say, self.progress = print if verbose else (lambda text: None), verbose in (1, "auto")

    def fill(self):
        """Computes the shards that are missing, and returns the rows of each view."""
        alone = self.worker[1] == 1 and not used_by_others(self.shards.path, self.worker[0])
        self.shards.clean(0 if alone else _OLD)
        if not self.source.repeatable:  # what another pass began holds other rows
            self.shards.clear()
        try:
            try:
                counts = [self._fill(view) for view in range(self.shards.layout.views)]
                if self.worker[1] > 1:
                    self._await_others(counts)
            except tf.errors.OpError:  # so a file ends the pass that is gone meanwhile, or no photo any more
                self.source.check_unchanged()
                raise
            self.source.check_unchanged()
        except ValueError:  # the data aren't what the key stands for
            self.shards.take_back()
            raise
        self.shards.finish(counts)
        return counts

    def _fill(self, view):
        """Computes this worker's shards of a view, and returns the rows of the view."""
        number, of = self.worker
        if self.source.count is None and (of > 1 or self.shards.any() or self.source.unchecked):
            self.source.read_through()
        count = self.source.count
        if count is None:
            self._compute(view, ALL)
            return self.source.count
        numbers = self.shards.numbers(count)
        self.whole[view] = {s for s in numbers if self.shards.whole(view, s, count)}
        missing = [s for s in numbers if s not in self.whole[view]]
        self._compute(view, [s for s in missing if (view * len(numbers) + s) % of == number])
        return count

    def _compute(self, view, numbers):
        if numbers is not ALL and not numbers:
            return
        writer = _Writer(self.shards, view)
        rows = None if numbers is ALL else sum(self.shards.expected(s, self.source.count) for s in numbers)
        pace = _Pace(self, rows, self.shards.layout.views - view)
        self._check_space((pace.rows or 0) * pace.passes)

        def put(token, features):
            _check_rows(features, len(token[-1]))
            writer.put(*token, features)
            pace.step(len(token[-1]))

        stream = (((shard, offset, rest, ids), x)
                  for shard, offset, x, rest, ids in self.source.batches(view, numbers, self.shards.layout.rows))
        made = threading.Event()
        try:
            with concurrent.futures.ThreadPoolExecutor(1) as pool:  # the first photos are read while the engine is made
                first = pool.submit(_read_until, made, stream)
                try:
                    engine = self.engine()
                finally:
                    made.set()
            engine.run(_handed_over(first.result(), stream, writer), put)
        except BaseException:
            stream.close()
            writer.close(finish=False)
            raise
        writer.close()
        pace.end()
        self.whole.setdefault(view, set()).update(() if numbers is ALL else numbers)

    def _check_space(self, rows):
        need, free = rows * self.shards.layout.row_bytes, room(self.shards.path)
        if need > free:
            raise NoRoom(f"The features take {size(need)}, and {str(self.shards.path)!r} has {size(free)} left. Make room, "
                          "choose another folder (`directory`; of temporary ones the environment variable TMPDIR decides), or "
                          "keep them in bfloat16, with store=kt.Store(dtype=\"bfloat16\").")

    def _await_others(self, counts):
        """Waits for the shards of other workers; those of one that stands still are computed here."""
        lacking, since, told = None, time.monotonic(), False
        while True:
            for view, count in enumerate(counts):
                self.whole[view].update(s for s in self.shards.numbers(count)
                                        if s not in self.whole[view] and self.shards.whole(view, s, count))
            missing = {view: [s for s in self.shards.numbers(count) if s not in self.whole[view]]
                       for view, count in enumerate(counts)}
            left = sum(map(len, missing.values()))
            if not left:
                return
            if left != lacking:
                lacking, since = left, time.monotonic()
            if time.monotonic() - since > WAIT:
                if not told:
                    self.say(f"Another worker has written nothing for {WAIT:.0f} s; its {left} shards are computed here.")
                view, shard = next((view, numbers[self.worker[0] % len(numbers)]) for view, numbers in missing.items() if numbers)
                self._compute(view, [shard])  # one at a time, since the other may come back, and others help
                told, lacking = True, left - 1
            else:
                time.sleep(_POLL)


def _check_rows(features, rows):
    found = {len(array) for array in features}
    if found != {rows}:
        raise ValueError(f"The frozen part of the model gives {', '.join(map(str, found))} rows for a batch of {rows}, so no "
                         "features can be kept. Train without them, with cache=False.")


def _check_kept(name, array, dtype):
    """The labels of the first batch say how all are kept, which would cut a longer text, or a fraction after whole numbers."""
    cut = dtype.kind in "US" and array.dtype.itemsize > dtype.itemsize or not np.can_cast(array.dtype, dtype, "same_kind")
    if name[0] == "y" and cut:
        raise ValueError(f"The labels of a batch have the dtype {array.dtype}, those of the first one {dtype}, which can't hold "
                         "them. Give all batches labels of one dtype.")


def _read_until(made, stream):
    """Returns the first batches of `stream`: until the event is set, but no more than `READ_AHEAD` bytes and one batch."""
    read, bytes = collections.deque(), 0
    for token, x in stream:
        read.append((token, x))
        bytes += sum(np.asarray(array).nbytes for array in keras.tree.flatten((x, token)))
        if made.is_set() or bytes > READ_AHEAD:
            break
    return read


def _handed_over(read, stream, writer):
    """Yields what was read, letting each batch go, and then the others, while the writer keeps up."""
    while read:
        yield read.popleft()
        writer.check()
    for batch in stream:
        yield batch
        writer.check()


class _Writer:
    """Collects batches to shards, in memory, and writes each when it's full, on a thread of its own."""

    def __init__(self, shards, view):
        self.shards, self.view = shards, view
        self.pool, self.written = concurrent.futures.ThreadPoolExecutor(1), []
        self.open, self.filled, self.lock = {}, {}, threading.Lock()

    def put(self, shard, offset, rest, ids, features):
        columns = self.shards.layout.columns
        named = dict(zip(columns, [*features, *keras.tree.flatten(rest), ids], strict=True))
        with self.lock:
            if shard not in self.open:
                self.open[shard] = {name: np.empty((self.shards.layout.rows, *shape), dtype)
                                    for name, (shape, dtype) in columns.items()}
                self.filled[shard] = 0
            for name, array in named.items():
                _check_kept(name, np.asarray(array), columns[name][1])
                self.open[shard][name][offset:offset + len(ids)] = array
            self.filled[shard] += len(ids)
            if self.filled[shard] == self.shards.layout.rows:
                self._write(shard)

    def _write(self, shard):
        rows, arrays = self.filled.pop(shard), self.open.pop(shard)
        self.written.append(self.pool.submit(self._save, shard, {name: array[:rows] for name, array in arrays.items()}))

    def _save(self, shard, arrays):
        try:
            self.shards.write(self.view, shard, arrays)
        except OSError as error:
            raise unwritable(self.shards.path, error) from error

    def check(self):
        """Raises what went wrong while writing, and holds the reader back while two shards wait to be written."""
        while self.written and (self.written[0].done() or len(self.written) > 2):
            self.written.pop(0).result()

    def close(self, finish=True):
        if finish:
            for shard in list(self.open):
                self._write(shard)
        self.pool.shutdown(cancel_futures=not finish)
        if finish:
            for future in self.written:
                future.result()


class _Pace:
    """Tells once what the store will weigh and how long it will take, all the `passes` (views) that are left together."""

    def __init__(self, filler, rows, passes=1):
        self.filler, self.rows, self.passes, self.done, self.began = filler, rows, passes, 0, None
        self.told = filler.told
        self.bar, self.lock = None, threading.Lock()

    def step(self, rows):
        with self.lock:
            now = time.monotonic()
            if self.began is None:  # the first batch waits for what happens once
                self.began, self.first = now, rows
            self.done += rows
            if not self.told and now - self.began > _MEASURED:
                self._tell(now - self.began, self.done - self.first)
            if self.bar is not None:
                self.bar.update(self.done)

    def _tell(self, seconds, rows):
        self.told = self.filler.told = True
        layout = self.filler.shards.layout
        if self.rows is None:
            weight = f"{layout.row_bytes:,} bytes a row, {rows / seconds:.0f} rows a second"
        else:
            expected = self.rows * seconds / rows
            weight = f"{size(self.rows * layout.row_bytes * self.passes)}, about {expected * self.passes:.0f} s"
            weight += f" in {self.passes} passes" * (self.passes > 1)
            if self.filler.progress and expected > _LONG:
                self.bar = keras.utils.Progbar(self.rows, unit_name="row")
        self.filler.say(f"Features: {weight} ({self.filler.engine().name}, {self.filler.shards.path})")

    def end(self):
        if self.done and not self.told:
            self.rows = self.done
            self._tell(time.monotonic() - self.began, self.done)


def size(bytes):
    """Returns a number of bytes as people say it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if bytes < 1000:
            return f"{bytes:.3g} {unit}"
        bytes /= 1000
    return f"{bytes:.3g} TB"
