"""Models from files and run folders, and what they say of photos."""
import importlib
import os
import pathlib
import zipfile
import zlib

import keras
import numpy as np

import keras_transfer

from . import _check
from ._table import Table
from .assembling import heads_of
from .heads import MultiLabel, Regressor
from .running import read_run


def load(path, safe_mode=True):
    """Loads a model from a `.keras` file or a run folder, every class of this package registered beforehand.

    Args:
        path: the file, or a folder that `keras-transfer train` has written.
        safe_mode: as in `keras.models.load_model`: True refuses models that hold code. With False, load only what
            you trust.

    Returns:
        The `keras.Model`, compiled if it was.

    Raises:
        FileNotFoundError: there is no such file, or the folder is no run folder.
        ValueError: the file is no `.keras` file, or is damaged.

    Example:
        >>> model = kt.load("runs/pets")
    """
    for module in keras_transfer._REGISTERING:
        importlib.import_module(f"keras_transfer.{module}")
    path = pathlib.Path(path)
    if path.is_dir():
        read_run(path)
        path = path / "model.keras"
    if not path.is_file():
        raise FileNotFoundError(f"There is no model at {str(path)!r}. Give a .keras file or a run folder.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{str(path)!r} is no .keras file, or a damaged one. For weights alone (.weights.h5), build "
                         "the model and call `model.load_weights`.")
    try:
        return keras.models.load_model(path, safe_mode=safe_mode)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError) as error:
        raise ValueError(f"{str(path)!r} is damaged ({error}). Save the model again.") from error


def predict(model, files, *, size=None, fit=None, batch_size=32, on_error="raise"):
    """Says what a model sees in photos.

    Args:
        model: a model of `kt.attach` with heads of `kt.heads`, or the path of a run folder.
        files: a photo, a folder of photos, or a list of both.
        size: height and width in pixels to bring photos to; None: that of the model's input or of the run.
        fit: "stretch", "crop" or "pad", as in training; None: that of the run, else "stretch".
        batch_size: how many photos are held in memory at once.
        on_error: "raise" lists all photos that can't be read in one error, "skip" leaves them out and warns.

    Returns:
        A `Table` with a row for each photo: `file`, and for a classifier `label` and `probability`, for several
        labels `label` ("a|b") and the probability of each, for numbers `value`. With several heads, the columns are
        the head's name in place of `label` or `value`, and `NAME_probability`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: photos can't be read, there are none, or the model takes photos of any size and none is given.

    Example:
        >>> print(kt.predict("runs/pets", ["tom.jpg", "rex.jpg"]))
    """
    from .data.decoding import FITS
    from .data.scanning import readable
    from .data.streaming import Samples, ordered

    if isinstance(model, (str, os.PathLike)):
        config, _ = read_run(model)
        size, fit = size or config["image_size"], fit or config["fit"]
        model = load(model)
    if not hasattr(model, "outputs"):
        raise TypeError(f"`model` must be what `kt.attach` returned, or a run folder. Received: {type(model).__name__}")
    heads = heads_of(model)
    size = _size(model, size)
    fit = _check.one_of(fit or "stretch", tuple(FITS), "fit")
    names = photo_files(files)
    good, _ = readable(names, names, on_error)
    names = [name for name, keep in zip(names, good) if keep]
    photos = ordered(Samples(names, names, {"none": np.zeros(len(names))}, plain=True), size, fit, batch_size)
    outputs = model.predict(photos.map(lambda photo, _: photo), verbose=0)
    single = not isinstance(outputs, dict)
    rows = [{"file": name} for name in names]
    for name, head in heads.items():
        for row, said in zip(rows, read_outputs(head, outputs if single else outputs[name], None if single else name)):
            row.update(said)
    return Table(rows)


def read_outputs(head, outputs, name=None):
    """Turns the outputs of one head `(batch, units)` into a list of dicts for people; `name` begins the keys."""
    if isinstance(head, Regressor):
        keys = [name or "value"] if head.units == 1 else [f"{name or 'value'}_{i}" for i in range(head.units)]
        return [dict(zip(keys, map(float, row))) for row in outputs]
    if not hasattr(head, "probabilities"):
        raise ValueError(f"Head {head.name!r} ({type(head).__name__}) doesn't say how to read its outputs: give it a "
                         "method `probabilities` and `class_names`, or use `model.predict`.")
    probabilities = keras.ops.convert_to_numpy(head.probabilities(outputs))
    label, prefix = name or "label", f"{name}_" if name else ""
    if isinstance(head, MultiLabel):
        return [{label: "|".join(n for n, p in zip(head.class_names, row) if p > 0.5),
                 **{f"{prefix}{n}": float(p) for n, p in zip(head.class_names, row)}} for row in probabilities]
    return [{label: head.class_names[row.argmax()], f"{prefix}probability": float(row.max())} for row in probabilities]


def _size(model, size):
    shape = model.input_shape[1:3]
    if size is None and None in shape:
        raise ValueError("The model takes photos of any size, so it must be said: give `size` in pixels.")
    size = tuple(shape) if size is None else (size, size) if isinstance(size, int) else tuple(size)
    if any(own not in (None, side) for own, side in zip(shape, size)):
        raise ValueError(f"The model takes photos of {shape[0]} x {shape[1]} pixels. Received: size={size!r}. Leave it out.")
    return size


def photo_files(files):
    """Returns the paths of all photos among `files`, a path or a list of them, folders searched."""
    from .data.folders import EXTENSIONS, is_photo

    found = []
    for path in map(pathlib.Path, [files] if isinstance(files, (str, os.PathLike)) else files):
        if not path.exists():
            raise FileNotFoundError(f"There is no photo or folder {str(path)!r}.")
        inside = sorted(p for p in path.rglob("*") if is_photo(p, path)) if path.is_dir() else [path]
        found += map(str, inside)
    if not found:
        raise ValueError(f"There are no photos in {files!r}; looked for {', '.join(EXTENSIONS)}.")
    return found
