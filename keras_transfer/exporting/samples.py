"""What an export is tried on: the user's own data, or a few made-up inputs of the right kind."""
import dataclasses
import os
import pathlib

import numpy as np
import tensorflow as tf

from ..data.scanning import readable
from ..data.streaming import decoder
from ..loading import photo_files

MOST = 128  # rows of calibration data; more hardly changes the ranges
SECOND = 16_000  # the length of a made-up sound where any will do, a second at 16 kHz
WORDS = ["one photo of a cat", "", "Zwei Straßen, 3 €!", "good good good"]


@dataclasses.dataclass(frozen=True)
class Samples:
    """Rows to try an export on.

    Attributes:
        bytes: for photos a list of encoded photos, else None.
        inputs: `{name: array (rows, ...)}`, the inputs of the model; for photos with the pixels of `bytes`, or of the
            arrays given.
    """

    bytes: list | None
    inputs: dict

    @property
    def count(self):
        """How many rows there are."""
        return len(next(iter(self.inputs.values())))


def samples(subject, calibration=None):
    """Returns the `Samples` for a `Subject`.

    Args:
        subject: what is exported.
        calibration: None for made-up inputs; for photos a folder, a photo, or a list of both; or, for any kind, an
            array, a dict of arrays, or a `tf.data.Dataset` of batches (with or without labels). Up to 128 rows are
            taken: of files evenly spaced ones, of anything else the first.

    Raises:
        FileNotFoundError: a photo is missing.
        ValueError: photos can't be read, or `calibration` isn't of the model's kind.
    """
    if subject.kind == "photos":
        return _photos(subject, calibration)
    if calibration is not None:
        return Samples(None, _arrays(subject, calibration))
    return Samples(None, {name: _made_up(tensor, place) for place, (name, tensor) in enumerate(subject.inputs.items())})


def decoded(subject, bytes):
    """Returns encoded photos as pixels in the model's dtype, `(photos, height, width, 3)`."""
    dtype = subject.inputs["pixels"].dtype
    photos = np.stack([decoder(subject.size, subject.fit)(one).numpy() for one in bytes])
    return (np.round(photos) if np.issubdtype(dtype, np.integer) else photos).astype(dtype)


def spaced(count, most):
    """Returns up to `most` of the numbers below `count`, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def _photos(subject, calibration):
    if calibration is None:
        bytes = generated(subject.size)
    elif _are_files(calibration):
        bytes = _read(photo_files(calibration))
    else:
        return Samples(generated(subject.size), _arrays(subject, calibration))
    return Samples(bytes, {"pixels": decoded(subject, bytes)})


def _are_files(calibration):
    return isinstance(calibration, (str, os.PathLike)) or (
        isinstance(calibration, (list, tuple)) and bool(calibration) and isinstance(calibration[0], (str, os.PathLike)))


def _read(names):
    names = [names[i] for i in spaced(len(names), MOST)]
    readable(names, names, "raise")
    return [pathlib.Path(name).read_bytes() for name in names]


def generated(size):
    """Returns four encoded photos, JPEG and PNG, larger and smaller than `size`: gradients of colour with noise."""
    random, photos = np.random.default_rng(0), []
    for scale, encode in [(1.4, tf.io.encode_jpeg), (1.0, tf.io.encode_png), (0.7, tf.io.encode_jpeg), (2.0, tf.io.encode_png)]:
        rows, columns = (max(1, round(n * scale)) for n in (size[0], 1.2 * size[1]))
        ramp = np.linspace(0, 1, rows)[:, None, None] * np.linspace(0, 1, columns)[None, :, None]
        photo = random.uniform(20, 235, 3) * (1 - ramp) + random.uniform(20, 235, 3) * ramp
        photo = photo + random.normal(0, 20, (rows, columns, 3))
        photos.append(encode(np.clip(photo, 0, 255).astype("uint8")).numpy())
    return photos


def _arrays(subject, calibration):
    """The rows of arrays or of a dataset, by input name."""
    if isinstance(calibration, tf.data.Dataset):
        batches = [_inputs_of(element) for element in calibration.take(MOST)]  # of at least one row each
        merged = tf.nest.map_structure(lambda *parts: np.concatenate([part.numpy() for part in parts]), *batches)
        return _arrays(subject, merged)
    names = list(subject.inputs)
    given = calibration if isinstance(calibration, dict) else {names[0]: calibration} if len(names) == 1 else None
    if given is None or set(given) != set(names):
        raise ValueError(f"`calibration` must have the inputs {', '.join(names)} of the model, as a dict of arrays. "
                         f"Received: {type(calibration).__name__} {sorted(given) if given else ''}".rstrip())
    arrays = {name: np.asarray(given[name])[:MOST] for name in names}
    for name, tensor in subject.inputs.items():
        arrays[name] = arrays[name].astype(object if tensor.dtype == "string" else tensor.dtype)
        shape = (len(arrays[name]), *(() if subject.kind == "text" else tensor.shape[1:]))
        if not len(arrays[name]) or not tf.TensorShape(shape).is_compatible_with(arrays[name].shape):
            raise ValueError(f"`calibration` for the input {name!r} must be rows of shape {shape[1:]}, at least one. "
                             f"Received an array of shape {arrays[name].shape}")
    return arrays


def _inputs_of(element):
    return element[0] if isinstance(element, tuple) else element


def _made_up(tensor, place):
    random, dtype = np.random.default_rng(place), tensor.dtype
    rows = tensor.shape[0] or 4
    free = SECOND if len(tensor.shape) == 2 else 8
    shape = (rows, *(free if n is None else n for n in tensor.shape[1:]))
    if dtype == "string":
        return np.resize(np.array(WORDS, object), shape)
    if "float" in dtype:
        return random.normal(0, 1, shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)  # 0 and 1 are in the range of any index
