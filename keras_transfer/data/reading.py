"""What `photos` and `table` share: their options, and the way from samples to datasets."""
import dataclasses
import functools

import tensorflow as tf

from .. import _check
from .augmenting import Augmentation
from .decoding import FITS, height_and_width
from .describing import Info, described, fingerprint, stamps
from .streaming import ordered, shuffled


@dataclasses.dataclass(frozen=True)
class Reading:
    """The options of `photos` and `table`, which documents them; checked when made."""

    size: int | tuple = 224
    batch_size: int = 32
    validation: float | None = None
    test: float = 0.0
    seed: int = 0
    part: str = "train"
    augment: object = None
    fit: str = "stretch"
    on_error: str = "raise"

    def __post_init__(self):
        height_and_width(self.size)
        _check.whole(self.batch_size, "batch_size", 1)
        _check.whole(self.seed, "seed")
        _check.one_of(self.part, ("train", "test"), "part")
        _check.one_of(self.fit, tuple(FITS), "fit")
        _check.one_of(self.on_error, ("raise", "skip"), "on_error")
        held = _check.share(self.validation or 0.0, "validation") + _check.share(self.test, "test")
        if held >= 1:
            raise ValueError(f"`validation` and `test` must leave photos to train on: together less than 1. "
                             f"Received: validation={self.validation}, test={self.test}")

    def deliver(self, samples, parts, labels, skipped):
        """Returns what the caller of `photos` or `table` gets.

        Args:
            samples: `Samples` of all parts.
            parts: NumPy array `(samples,)` of "train", "valid" and "test".
            labels: class names and the like, passed on.
            skipped: `[(file, reason)]` of photos left out.

        Returns:
            `(train, valid, labels)` with None for a `valid` of no samples, or `(test, labels)`.
        """
        wanted = ("test",) if self.part == "test" else ("train", "valid")
        sets = [self._dataset(samples.where(parts == part), part, labels, skipped) for part in wanted]
        if sets[0] is None:
            raise ValueError(f"There are no {wanted[0]} photos: hold some out with test=0.1, or name them in the column "
                             "of `split`." if wanted[0] == "test" else "There are no train photos: all were held out.")
        return (*sets, labels)

    def _dataset(self, samples, part, labels, skipped):
        if not samples.files:
            return None
        size, augmentation, epoch = height_and_width(self.size), None, None
        options = [size, self.fit]
        if part == "train":
            if self.augment is not None and self.augment != []:
                augmentation = Augmentation(self.augment, size)
                options += [augmentation.config(), self.seed, self.batch_size]
            dataset, epoch = shuffled(samples, size, self.fit, self.batch_size, self.seed, augmentation)
        else:
            dataset = ordered(samples, size, self.fit, self.batch_size)
        times = stamps(samples.files)
        mark = fingerprint(samples.names, times, samples.targets, options)
        random = bool(augmentation and augmentation.random)
        reader = None if random else functools.partial(_rows, samples, size, self.fit, augmentation)
        return described(dataset, Info(mark, random, epoch, labels, samples.targets, samples.files, size, self.fit, skipped,
                                       self.seed, reader, self.batch_size, times))


def _rows(samples, size, fit, augmentation, rows, batch_size):
    dataset = ordered(samples, size, fit, batch_size, rows)
    if augmentation is None:
        return dataset
    seed = tf.zeros((2,), tf.int64)  # which draws nothing: this augmentation isn't random
    return dataset.map(lambda photos, labels: (augmentation(photos, seed), labels), tf.data.AUTOTUNE)
