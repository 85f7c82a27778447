"""What this process has found out about photos: a second look costs nothing, and what isn't there needn't be looked for."""
import os

from .describing import stamp
from .formats import ANY

found = {}  # (path, size, time) -> what a photo is known to be (see `formats`), or why it can't be decoded, a str


def key(file):
    """Returns what tells a file from others and from itself after a change; None for one that isn't there."""
    of_file = stamp(file)
    return None if of_file is None else (os.fspath(file), *of_file)


def least(files):
    """Returns what is known of all of the files, of which none has been found bad."""
    kinds = [found.get(key(file), ANY) for file in files]
    return max((ANY if isinstance(kind, str) else kind for kind in kinds), default=ANY)
