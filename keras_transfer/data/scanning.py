"""Every photo is decoded once before training, so that all the bad ones are known at once."""
import concurrent.futures
import functools
import os
import re
import warnings

import tensorflow as tf

from . import seen
from .formats import ANY, JPEG, UPRIGHT_JPEG, is_jpeg, picture, without_exif
from .streaming import steady

SHOWN = 20
UNKNOWN = -1


def readable(files, names, on_error):
    """Decodes every photo and tells which are good.

    Args:
        files: paths.
        names: how an error shows them.
        on_error: "raise" or "skip" with a warning.

    Returns:
        A list of bools, one a file, and `[(name, reason)]` of the bad ones.

    Raises:
        ValueError: lists all bad photos, if `on_error` is "raise" or if no photo is good.
    """
    keys = [seen.key(file) for file in files]
    for look in _if_jpeg, _if_any:
        _scan({key: file for key, file in zip(keys, files) if key is not None and key not in seen.found}, look)
    left = [number for number, key in enumerate(keys) if key not in seen.found]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = dict(zip(left, pool.map(_fault, [files[number] for number in left])))
    found = [faults[number] if number in faults else seen.found[key] for number, key in enumerate(keys)]
    bad = [(name, reason) for name, reason in zip(names, found) if isinstance(reason, str)]
    if bad:
        _say(bad, len(files), on_error)
    return [not isinstance(reason, str) for reason in found], bad


def _say(bad, total, on_error):
    count = f"{len(bad)} of {total} photos can't be read"
    shown = "".join(f"\n  {name}: {reason}" for name, reason in bad[:SHOWN])
    shown += f"\n  ... and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    if on_error == "raise":
        raise ValueError(f"{count}. Repair or remove them, or leave them out with on_error=\"skip\":{shown}")
    if len(bad) == total:
        raise ValueError(f"{count}, so on_error=\"skip\" would leave none:{shown}")
    warnings.warn(f"{count} and are left out:{shown}", stacklevel=5)


def _scan(files, look):
    """Enters what the good ones of `{key: file}` are, in one stream, which takes half as long as a call for each."""
    if not files:  # a graph isn't traced for nothing
        return
    paths = tf.constant([os.fsencode(file) for file in files.values()], tf.string)
    looks = tf.data.Dataset.from_tensor_slices(paths).enumerate().map(
        lambda number, path: (number, look()(tf.io.read_file(path))), tf.data.AUTOTUNE, deterministic=False)
    keys = list(files)
    for numbers, kinds in steady(looks.ignore_errors().batch(128)).as_numpy_iterator():
        seen.found.update((keys[number], int(kind)) for number, kind in zip(numbers, kinds) if kind != UNKNOWN)


def _fault(file):
    try:
        with open(file, "rb") as opened:
            reason = fault(opened.read())
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"
    if (key := seen.key(file)) is not None:
        seen.found[key] = ANY if reason is None else reason
    return ANY if reason is None else reason


def fault(bytes):
    """Returns why the bytes of a photo can't be decoded, in a few words, or None if they can."""
    try:
        _if_any()(bytes)
    except tf.errors.InvalidArgumentError as error:
        return _reason(error.message, len(bytes))
    except tf.errors.ResourceExhaustedError:
        return "too large for this machine's memory"
    return None


@functools.cache
def _if_any():
    """A function of the bytes of any photo, which fails for bad ones."""
    return _graph(lambda bytes: _all_of(bytes, ANY, ANY))


@functools.cache
def _if_jpeg():
    """The same for JPEGs, whose graph is made in a moment; others it leaves unknown."""
    def look(bytes):
        return _all_of(bytes, UPRIGHT_JPEG, tf.where(without_exif(bytes), UPRIGHT_JPEG, JPEG))

    return _graph(lambda bytes: tf.cond(is_jpeg(bytes), lambda: look(bytes), lambda: UNKNOWN))


def _all_of(bytes, known, kind):
    """Returns `kind` when a photo has been decoded, of which that much is `known`."""
    # scaled down by 8, the decoder of JPEGs still reads every byte, but takes a fraction of the time
    with tf.control_dependencies([picture(bytes, lambda height, width: 8.0, known)[0]]):
        return tf.identity(kind)


def _graph(look):
    return tf.function(look, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


def _reason(message, size):
    """Our own words if it is one of our refusals, otherwise the decoder's without the names of graph nodes."""
    ours = re.search(r"assertion failed: \[(.*)\]", message)
    if ours:
        return ours.group(1)
    told = re.sub(r"\{\{.*?\}\} ?", "", message.strip().splitlines()[0])
    return f"corrupt or truncated, {size:,} bytes ({told})"
