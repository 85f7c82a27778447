"""Every photo is decoded once before training, so that all the bad ones are known at once."""
import concurrent.futures
import functools
import os
import re
import warnings

import tensorflow as tf

from .formats import picture
from .streaming import steady

SHOWN = 20
_known = {}  # (path, size, time) -> reason or None: the second part of a split needn't decode everything again


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
    keys = [_key(file) for file in files]
    _scan({key: file for key, file in zip(keys, files) if key is not None and key not in _known})
    left = [number for number, key in enumerate(keys) if key not in _known]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = dict(zip(left, pool.map(_fault, [files[number] for number in left])))
    reasons = [faults[number] if number in faults else _known[key] for number, key in enumerate(keys)]
    bad = [(name, reason) for name, reason in zip(names, reasons) if reason]
    if bad:
        _say(bad, len(files), on_error)
    return [not reason for reason in reasons], bad


def _say(bad, total, on_error):
    count = f"{len(bad)} of {total} photos can't be read"
    shown = "".join(f"\n  {name}: {reason}" for name, reason in bad[:SHOWN])
    shown += f"\n  ... and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    if on_error == "raise":
        raise ValueError(f"{count}. Repair or remove them, or leave them out with on_error=\"skip\":{shown}")
    if len(bad) == total:
        raise ValueError(f"{count}, so on_error=\"skip\" would leave none:{shown}")
    warnings.warn(f"{count} and are left out:{shown}", stacklevel=5)


def _scan(files):
    """Enters the good ones of `{key: file}`, in one stream, which takes half as long as a call for each."""
    if not files:  # a graph isn't traced for nothing
        return
    paths = tf.constant([os.fsencode(file) for file in files.values()], tf.string)

    def size(number, path):
        return number, tf.size(_decoder()(tf.io.read_file(path)))

    numbers = tf.data.Dataset.from_tensor_slices(paths).enumerate().map(size, tf.data.AUTOTUNE, deterministic=False)
    keys = list(files)
    for batch, _ in steady(numbers.ignore_errors().batch(128)).as_numpy_iterator():
        _known.update(dict.fromkeys(keys[number] for number in batch))


def _fault(file):
    try:
        with open(file, "rb") as opened:
            reason = fault(opened.read())
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"
    if (key := _key(file)) is not None:
        _known[key] = reason
    return reason


def _key(file):
    """What tells a file from others and from itself after a change; None for one that isn't there."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return os.fspath(file), status.st_size, status.st_mtime_ns


def fault(bytes):
    """Returns why the bytes of a photo can't be decoded, in a few words, or None if they can."""
    try:
        _decoder()(bytes)
    except tf.errors.InvalidArgumentError as error:
        return _reason(error.message, len(bytes))
    except tf.errors.ResourceExhaustedError:
        return "too large for this machine's memory"
    return None


@functools.cache
def _decoder():
    # scaled down by 8, the decoder of JPEGs still reads every byte, but takes a fraction of the time
    return tf.function(lambda bytes: picture(bytes, lambda height, width: 8.0)[0],
                       input_signature=[tf.TensorSpec((), tf.string)])


def _reason(message, size):
    """Our own words if it is one of our refusals, otherwise the decoder's without the names of graph nodes."""
    ours = re.search(r"assertion failed: \[(.*)\]", message)
    if ours:
        return ours.group(1)
    told = re.sub(r"\{\{.*?\}\} ?", "", message.strip().splitlines()[0])
    return f"corrupt or truncated, {size:,} bytes ({told})"
