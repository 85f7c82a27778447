"""The folder of a run in progress, beside the one that it will be: made first, with the settings it was begun with."""
import contextlib
import json
import pathlib
import shutil

from ._files import atomic
from .checkpointing import FILE, differing, owned

SETTINGS = "settings.json"


@contextlib.contextmanager
def unfinished(output, settings):
    """Context: the folder of a run that is being trained for `output`; it goes when nothing was trained yet.

    A run that was stopped goes on when it's begun again with the same settings; with others it's refused, since its
    record would tell of a training that never was.

    Args:
        output: the folder that the finished run will have.
        settings: a dict that JSON can hold.

    Raises:
        ValueError: another run for the same `output` is unfinished, or going on just now.
        OSError: the folder can't be made or written: known before anything is read or trained.
    """
    output = pathlib.Path(output)
    folder, settings = output.with_name(f".{output.name}.unfinished"), json.loads(json.dumps(settings))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(owned(folder))
        except RuntimeError as error:
            raise ValueError(f"{str(output)!r} is being trained by another run just now. Wait for it, or give another "
                             "output.") from error
        file = folder / SETTINGS
        if file.is_file() and _has_trained(folder):
            changed = differing(json.loads(file.read_text(encoding="utf-8")), settings)
            if changed:
                raise ValueError(f"{str(folder)!r} is of another run: {changed}. Give the same settings to go on with it, another "
                                 "output, or delete that folder to start anew.")
        try:
            with atomic(file) as opened:
                opened.write(json.dumps(settings, indent=1).encode())
            yield folder
        except BaseException:
            if not _has_trained(folder):
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _has_trained(folder):
    """Whether an epoch has ended, of the model or of one that it's to be compared with."""
    return any(folder.rglob(FILE))
