"""Files that are whole or not there."""
import os
import pathlib
import tempfile


class atomic:
    """Context: a binary file beside `path` that takes its place when all is written, and vanishes on an error."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # not NamedTemporaryFile: its file could not take the place of another on every system
        handle, self.beside = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
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
