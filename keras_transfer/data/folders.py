"""A folder of photos, one folder a class."""
import collections
import os
import pathlib
import warnings

import numpy as np

from .. import _check
from .reading import Reading
from .scanning import readable
from .splitting import split
from .streaming import Samples

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp")
CONVERT = (".heic", ".heif", ".avif", ".tif", ".tiff", ".dng", ".cr2", ".nef")
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def photos(folder, *, size=224, batch_size=32, validation=0.2, test=0.0, seed=0, part="train", augment=None,
           fit="stretch", on_error="raise"):
    """Reads a folder that holds a folder of photos for each class.

    Use it when each photo has one class; for several labels a photo, or labels in a file, use `table`. The split is
    stratified and depends on the seed and the names of the files only. Every photo is decoded once beforehand, so that
    bad ones are found now and not in the middle of training.

    Args:
        folder: path. The names of its folders are the classes; photos may lie deeper within them. Hidden files and
            files that aren't photos are ignored.
        size: height and width of the photos in pixels: an int, or (height, width).
        batch_size: photos a batch; the last batch may have fewer.
        validation: share of each class held out for validation, at least one photo; 0 for none.
        test: share of each class held out for the test.
        seed: whole number that fixes split, shuffling and augmentation.
        part: "train", or "test" for the photos that the same call held out.
        augment: a Keras layer or a list of them, applied to training batches only.
        fit: "stretch", "crop" or "pad", see `decode`.
        on_error: "raise" lists all bad photos in one error, "skip" leaves them out with a warning.

    Returns:
        `(train, valid, labels)`, or `(test, labels)` for `part="test"`: datasets of (photos, class numbers), float32
        `(batch, height, width, 3)`, pixels 0-255, and int32 `(batch,)`; labels are the class names in code-point order.
        The training set is shuffled anew in every epoch; `valid` is None for `validation=0`.

    Raises:
        FileNotFoundError, NotADirectoryError: for a `folder` that is none.
        ValueError: for a folder of another layout, fewer than two classes, a class with too few photos, bad photos, or
            an argument out of range.

    Example:
        >>> train, valid, labels = photos("pets/", size=160)
        >>> labels
        ['cat', 'dog']
    """
    reading = Reading(size, batch_size, validation, test, seed, part, augment, fit, on_error)
    folder = pathlib.Path(folder)
    names, classes = listed(folder)
    labels = sorted(set(classes))
    files = [os.fspath(folder / name) for name in names]
    good, skipped = readable(files, names, on_error)
    files, names, classes = ([x for x, keep in zip(column, good) if keep] for column in (files, names, classes))
    _check_counts(folder, collections.Counter(classes), labels, held_out=bool(validation or test))
    numbers = {name: k for k, name in enumerate(labels)}
    targets = {None: np.array([numbers[name] for name in classes], "int32")}
    samples = Samples(files, names, targets, plain=True)
    return reading.deliver(samples, split(names, classes, validation, test, seed), labels, skipped)


def listed(folder):
    """Returns the relative paths of all photos and their classes, in code-point order."""
    if not folder.exists():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}{_near(folder)}")
    if not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file; `photos` reads a folder that holds a folder of photos for "
                                 "each class, `table` reads a CSV file.")
    folders = sorted(one.name for one in folder.iterdir() if one.is_dir() and not _ignored(one.name))
    _check_layout(folder, folders)
    found = {name: _photos_in(folder, name) for name in folders}
    for path in (path for paths in found.values() for path in paths):
        _check.utf8(path)
    return [path for name in folders for path in found[name]], [name for name in folders for _ in found[name]]


def _near(folder):
    try:
        known = [one.name for one in folder.parent.iterdir() if one.is_dir()]
    except OSError:
        return ""
    return "." + _check.suggestion(folder.name, known) if known else "."


def _ignored(name):
    return name.startswith(".") or name in ("__MACOSX", "__pycache__")


def is_photo(path, folder):
    """Whether a path within a folder is a file with the name of a photo; hidden ones are not."""
    hidden = any(_ignored(part) for part in path.relative_to(folder).parts)
    return path.suffix.lower() in EXTENSIONS and not hidden and path.is_file()


def _subfolders(folder):
    return {one.name for one in folder.iterdir() if one.is_dir() and not _ignored(one.name)}


def _check_layout(folder, folders):
    if not folders:
        loose = any(one.suffix.lower() in EXTENSIONS for one in folder.iterdir())
        held = "photos, but no folders" if loose else "no folders"
        raise ValueError(f"{str(folder)!r} holds {held}; make one folder a class, named as the class, with its photos "
                         "within, or list the photos with their labels in a CSV file for `table`.")
    if len(folders) > 1 and {name.lower() for name in folders} <= SPLITS:
        raise ValueError(f"The folders of {str(folder)!r} are {', '.join(folders)}, which look like parts and not like "
                         f"classes; read one of them, photos({str(folder / folders[0])!r}), or pass a folder of classes.")
    divided = [name for name in folders if len(held := _subfolders(folder / name)) > 1 and held <= SPLITS]
    if divided:
        raise ValueError(f"{str(folder / divided[0])!r} holds {', '.join(sorted(_subfolders(folder / divided[0])))}, "
                         "which would be mixed; make the outer folders the parts (train/cat, test/cat) and read one.")


def _photos_in(folder, name):
    photos, others = [], collections.Counter()
    for root, inner, files in os.walk(folder / name, onerror=_refuse):
        inner[:] = sorted(one for one in inner if not _ignored(one))
        within = pathlib.Path(root).relative_to(folder).as_posix()
        for file in files:
            extension = os.path.splitext(file)[1].lower()
            if extension in EXTENSIONS and not _ignored(file):
                photos.append(f"{within}/{file}")
            elif not _ignored(file):
                others[extension or "no extension"] += 1
    lost = {extension: count for extension, count in others.items() if extension in CONVERT}
    advice = f" Convert to JPEG: {', '.join(f'{n} {extension}' for extension, n in lost.items())}." if lost else ""
    if not photos:
        held = f"only {', '.join(f'{n} {extension}' for extension, n in others.items())}" if others else "no files"
        raise ValueError(f"The folder of class {name!r} in {str(folder)!r} holds {held}; supported are "
                         f"{', '.join(EXTENSIONS)}.{advice}")
    if lost:
        warnings.warn(f"Photos of class {name!r} are left out.{advice}", stacklevel=4)
    return sorted(photos)


def _refuse(error):
    raise error


def _check_counts(folder, counts, labels, held_out):
    if len(labels) < 2:
        raise ValueError(f"{str(folder)!r} has one class, {labels[0]!r}; a classifier needs at least two, each a folder.")
    lost = [name for name in labels if not counts[name]]
    if lost:
        raise ValueError(f"No photo of class {lost[0]!r} can be read; repair them or remove the folder.")
    lone = [name for name in labels if counts[name] < 2]
    if lone and held_out:
        raise ValueError(f"Class {lone[0]!r} has 1 photo and needs at least 2, one to train on and one to hold out; add "
                         f"photos, remove the folder, or pass validation=0 and test=0. Such classes: {len(lone)}.")
