"""What a dataset of ours knows about itself: its labels, its files, a fingerprint."""
import collections.abc
import dataclasses
import hashlib
import os

import numpy as np
import tensorflow as tf

_NAME = "_keras_transfer_info"


@dataclasses.dataclass(frozen=True)
class Info:
    """What `kt.data.info` returns of a dataset made by `photos`, `table` or `balance`.

    Attributes:
        fingerprint: hex digest of the files' paths within their folder, sizes and times, the labels, the decoding
            options and, if there is augmentation, its layers, seed and batch size. Equal sets have equal ones.
        random: whether augmentation gives other pixels in another epoch.
        epoch: int64 `tf.Variable` of a shuffled set, None for others. An iteration that starts reads the epoch's
            number from it and adds one; order and augmentation depend on the seed and this number only.
        labels: as returned beside the dataset: class names, or `{"mean", "std"}`, or a dict of them.
        targets: `{name: array}`, the labels of `files` in the same order; the one name is None for `photos`.
        files: paths, in unshuffled order.
        size: (height, width) in pixels.
        fit: "stretch", "crop" or "pad".
        seed: of the order and the augmentation.
        skipped: `[(file, reason)]`, the photos that `on_error="skip"` left out, of all parts together.
    """

    fingerprint: str
    random: bool
    epoch: tf.Variable | None
    labels: object
    targets: dict
    files: list
    size: tuple
    fit: str
    skipped: list = dataclasses.field(default_factory=list)
    seed: int = 0
    reader: collections.abc.Callable | None = None
    batch_size: int = 0
    stamps: list = dataclasses.field(default_factory=list)

    def changed(self):
        """Returns the files that have been changed or removed since the dataset was made."""
        return [file for file, before in zip(self.files, self.stamps) if stamp(file) != before]


def info(dataset):
    """Returns the `Info` of a dataset that `kt.data` made, or None for any other.

    Datasets derived from it (`dataset.take(3)`) hold other elements and so have none.

    Args:
        dataset: a `tf.data.Dataset`.

    Example:
        >>> train, valid, labels = photos("pets/")
        >>> info(train).files[0]
        'pets/cat/1.jpg'
    """
    return getattr(dataset, _NAME, None)


def described(dataset, info):
    """Returns the dataset, with its `Info` attached."""
    setattr(dataset, _NAME, info)
    return dataset


def stamps(files):
    """Returns `[(size, time)]` of files, in bytes and nanoseconds; None for one that isn't there."""
    return [stamp(file) for file in files]


def stamp(file):
    """Returns (size, time) of a file, which tell it from itself after a change; None for one that isn't there."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def fingerprint(names, stamps, targets, options):
    """Hashes what a dataset is made of.

    Args:
        names: paths relative to their folder, so that a moved or copied folder (with its times) stays the same.
        stamps: their sizes and times, as `stamps` returns them.
        targets: `{name: array}`.
        options: anything with a faithful `repr`.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(repr(options).encode())
    for name, (size, time) in zip(names, stamps):
        digest.update(f"{name}\0{size}\0{time}\0".encode("utf-8", "surrogateescape"))
    for name, array in targets.items():
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
