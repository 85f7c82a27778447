"""Files that are whole or not there."""
import contextlib
import os
import pathlib
import shutil
import tempfile


class atomic:
    """Context: a binary file beside `path` that takes its place when all is written, and vanishes on an error."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # not NamedTemporaryFile: its file could not take the place of another on every system
        try:
            handle, self.beside = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        except OSError as error:  # which would name the file beside
            raise type(error)(error.errno, error.strerror, str(self.path)) from error
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(self.beside, 0o666 & ~mask)  # mkstemp makes files that only their owner can read
        self.file = os.fdopen(handle, "wb")
        return self.file

    def __exit__(self, kind, error, trace):
        try:
            self.file.close()
            if kind is None:
                os.replace(self.beside, self.path)
        finally:
            if os.path.exists(self.beside):
                os.unlink(self.beside)


class folder:
    """Context: a new folder beside `path` that takes its place when all is written, and vanishes on an error.

    Folders above it that had to be made vanish with it. With `keep=False` it vanishes in any case.
    """

    def __init__(self, path, keep=True):
        self.path, self.keep = pathlib.Path(path), keep

    def __enter__(self):
        self.made = [parent for parent in self.path.parents if not parent.exists()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.beside = pathlib.Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        except OSError:
            self._unmake()
            raise
        return self.beside

    def __exit__(self, kind, error, trace):
        try:
            if kind is None and self.keep:
                os.chmod(self.beside, 0o755)  # mkdtemp makes folders that only their owner can read
                os.rename(self.beside, self.path)
        finally:
            if self.beside.exists():
                shutil.rmtree(self.beside, ignore_errors=True)
                self._unmake()

    def _unmake(self):
        for parent in self.made:  # the deepest first; one that holds something else stays
            with contextlib.suppress(OSError):
                parent.rmdir()
