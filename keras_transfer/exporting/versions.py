"""Folders `name/1`, `name/2`, as TF Serving wants them: it serves the highest number."""
import pathlib


def target(path):
    """Returns the version folder to write.

    A path that ends in a number is the folder itself; under any other, and under one that holds versions already, it's
    the next free number.

    Raises:
        FileExistsError: that version exists.
        NotADirectoryError: `path` is a file.
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{str(path)!r} is a file; an export is a folder such as served/pets/1. Give another path.")
    held = [int(one.name) for one in path.iterdir() if is_version(one)] if path.exists() else []
    if not is_version(path) or held:
        return path / str(max(held, default=0) + 1)
    if path.exists():
        raise FileExistsError(f"{str(path)!r} exists already, and a version that may be in service isn't overwritten. "
                              f"Give {str(path.parent)!r} for the next free number.")
    return path


def is_version(path):
    """Whether the name of a path, a `pathlib.Path`, is a version's number."""
    return path.name.isascii() and path.name.isdecimal()
