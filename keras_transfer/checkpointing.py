"""The state of a run of `fine_tune`, and its checkpoint: one file, replaced whole after every epoch."""
import contextlib
import dataclasses
import io
import json
import pathlib
import zipfile

import filelock
import numpy as np

from . import distributing
from ._files import atomic
from .store.shards import BFLOAT16

FILE = "checkpoint.npz"
_LOCK = ".lock"  # there while a run uses the folder
_STORED = np.dtype([("bfloat16", "uint16")])  # what bfloat16 is in the file, of which NumPy would only keep the size


@dataclasses.dataclass
class RunState:
    """Where a run is, its history, and its best weights so far.

    Attributes:
        settings: what a run must have in common with a checkpoint to go on from it, by name.
        seed: the seed of shuffling, augmentation and dropout.
        phase: the number of the phase that the run is in.
        begun: the number of epochs done before this phase.
        epoch: the number of epochs done in all phases.
        epochs_over: whether the phase has had its last epoch, by their number or early.
        phase_over: whether `fit` has returned after that, which may still change weights: to their averages, to the best.
        finished: whether the whole run has ended.
        wait: epochs of this phase without a better validation loss.
        best: the lowest validation loss so far, None before the first.
        history: lists with a value for each epoch, by name.
        best_weights: the weights at `best`, None without validation.
    """

    settings: dict
    seed: int
    phase: int = 0
    begun: int = 0
    epoch: int = 0
    epochs_over: bool = False
    phase_over: bool = False
    finished: bool = False
    wait: int = 0
    best: float | None = None
    history: dict = dataclasses.field(default_factory=dict)
    best_weights: list | None = None

    def log(self, **values):
        """Adds one epoch to the history."""
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)

    def save(self, directory, variables, strategy=None):
        """Writes the state and the values of `variables`, beside the old file and then in its place.

        Of several workers the chief alone writes, but all have to call it: values may have to be gathered.

        Raises:
            OSError: the disk is full or the folder can't be written; the old checkpoint is untouched.
        """
        arrays = {f"now_{i}": v.numpy() for i, v in enumerate(variables)}
        arrays |= {f"best_{i}": a for i, a in enumerate(self.best_weights or [])}
        if not distributing.is_chief(strategy):
            return
        text = json.dumps({name: value for name, value in vars(self).items() if name != "best_weights"})
        try:
            with atomic(pathlib.Path(directory) / FILE) as file:
                np.savez(file, told=np.array(text), **{name: _seen_as(_STORED, BFLOAT16, a) for name, a in arrays.items()})
        except OSError as error:
            raise type(error)(error.errno, f"The checkpoint can't be written to {str(directory)!r} ({error.strerror}). The one "
                              "before it stays: make room, or give another `directory`.") from error

    def load(self, directory, strategy=None):
        """Takes over the checkpoint in `directory`, if there is one, and returns the values of its variables.

        Several workers all take over the chief's, so that they are at the same epoch and need no shared disk.

        Raises:
            ValueError: the checkpoint is of a run with other settings, or no checkpoint of ours.
        """
        path = pathlib.Path(directory) / FILE
        is_here = distributing.is_chief(strategy) and path.exists()
        content = distributing.from_chief(path.read_bytes() if is_here else b"", strategy)
        if not content and not is_here:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                told = json.loads(str(arrays["told"]))
                numbered = {prefix: [_seen_as(BFLOAT16, _STORED, arrays[f"{prefix}_{i}"]) for i in range(len(arrays.files))
                                     if f"{prefix}_{i}" in arrays.files] for prefix in ("now", "best")}
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is no checkpoint of `fine_tune` ({error}). Delete it to start anew.") from error
        changed = differing(told["settings"], self.settings)
        if changed:
            raise ValueError(f"{path} is of another run: {changed}. Give the same settings to go on with "
                             "it, or another `directory` to start anew.")
        vars(self).update(told, best_weights=numbered["best"] or None)
        return numbered["now"]


def _seen_as(dtype, other, array):
    """The same bytes as `dtype` if they are of the `other` one."""
    array = np.asarray(array)  # scalars can't be seen otherwise
    return array.view(dtype) if array.dtype == other else array


@contextlib.contextmanager
def owned(directory, strategy=None):
    """Context: no other run may use `directory`, which is made if needed; the claim of a run that was killed dies with it.

    Of several workers the chief claims it, and all of them have to call it. A thread may claim again what it has.

    Raises:
        RuntimeError: another run uses it.
        OSError: it can't be made or written.
    """
    path, error = pathlib.Path(directory), None
    lock = filelock.FileLock(path / _LOCK, is_singleton=True) if distributing.is_chief(strategy) else None
    try:
        if lock is not None:
            path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except filelock.Timeout:
        error = RuntimeError(f"Another run uses {str(directory)!r}, and would write over the checkpoint of this one. Wait for it, "
                             "or give another `directory`.")
    except OSError as found:
        error = type(found)(found.errno, f"Nothing can be written to {str(directory)!r} ({found.strerror}). Give another "
                            "`directory`.")
    told = distributing.from_chief(str(error or "").encode(), strategy)
    if told:
        raise (error or RuntimeError(told.decode())) from None
    try:
        yield
    finally:
        if lock is not None:
            if lock.lock_counter == 1:
                with contextlib.suppress(OSError):  # some systems keep a file that is open
                    (path / _LOCK).unlink()
            lock.release()


def differing(begun, now):
    """Returns in words which settings of a run, by name, are not those that it was begun with; "" if all are."""
    return "; ".join(f"{name} was {begun.get(name)!r} and is {value!r}" for name, value in now.items()
                     if begun.get(name) != value)
