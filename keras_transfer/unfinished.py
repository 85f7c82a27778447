"""The folder of a run in progress, beside the one that it will be: made first, with the settings it was begun with."""
import json
import pathlib
import shutil

from ._files import atomic
from .checkpointing import FILE, differing

SETTINGS = "settings.json"


class unfinished:
    """Context: the folder of a run that is being trained for `output`; it goes when nothing was trained yet.

    A run that was stopped goes on when it's begun again with the same settings; with others it's refused, since its
    record would tell of a training that never was.

    Args:
        output: the folder that the finished run will have.
        settings: a dict that JSON can hold.

    Raises:
        ValueError: another run for the same `output` is unfinished.
        OSError: the folder can't be made or written: known before anything is read or trained.
    """

    def __init__(self, output, settings):
        output = pathlib.Path(output)
        self.folder = output.with_name(f".{output.name}.unfinished")
        self.settings = json.loads(json.dumps(settings))

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / SETTINGS
        if file.is_file() and (self.folder / FILE).is_file():
            changed = differing(json.loads(file.read_text(encoding="utf-8")), self.settings)
            if changed:
                raise ValueError(f"{str(self.folder)!r} is of another run: {changed}. Give the same settings to go on with "
                                 "it, another output, or delete that folder to start anew.")
        with atomic(file) as opened:
            opened.write(json.dumps(self.settings, indent=1).encode())
        return self.folder

    def __exit__(self, kind, error, trace):
        if kind is not None and not (self.folder / FILE).is_file():
            shutil.rmtree(self.folder, ignore_errors=True)
