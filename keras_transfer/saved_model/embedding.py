"""A SavedModel as text inside a `.keras` file: its graph and assets, without the values of its variables."""

import base64
import io
import json
import pathlib
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

from . import reading

_SPEC = "variables.json"


def packed(path):
    """Returns the graph, the assets and the shapes of the variables in the folder `path` as base64 text.

    The values are left out, since the `.keras` file holds them as weights; text in the checkpoint stays.
    """
    path = pathlib.Path(path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        files = [path / "saved_model.pb", *sorted(p for p in (path / "assets").rglob("*") if p.is_file())]
        for file in [*files, *(p for p in [path / "tfhub_module.pb"] if p.is_file())]:
            _add(archive, file.relative_to(path).as_posix(), file.read_bytes())
        reader = reading.checkpoint(path)
        if reader is not None:
            _add(archive, _SPEC, json.dumps(_spec(reader), sort_keys=True).encode())
    return base64.b64encode(buffer.getvalue()).decode()


def unpacked(payload):
    """Writes what `packed` returned into a new folder, zeros for the variables' values.

    Returns:
        `(path, keep)`: the folder stays while `keep` lives.

    Raises:
        ValueError: if the text is damaged or reaches out of its folder.
    """
    keep = tempfile.TemporaryDirectory(prefix="keras_transfer_")
    path = pathlib.Path(keep.name)
    try:
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(payload, validate=True))) as archive:
            for name in archive.namelist():
                target = (path / name).resolve()
                if not target.is_relative_to(path.resolve()):
                    raise ValueError(f"it holds a file {name!r} outside of its folder")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
        if (path / _SPEC).is_file():
            _write_zeros(path, json.loads((path / _SPEC).read_text()))
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile, tf.errors.OpError) as error:
        raise ValueError(f"The SavedModel embedded in this file is damaged ({error}).") from error
    return path, keep


def _add(archive, name, data):
    """Adds a file with a fixed date, so that the same model gives the same text."""
    archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def _spec(reader):
    """{name: [dtype, shape]} for numbers, {name: ["string", shape, values in base64]} for text."""
    types, spec = reader.get_variable_to_dtype_map(), {}
    for name, shape in reader.get_variable_to_shape_map().items():
        spec[name] = [types[name].name, list(shape)]
        if types[name] == tf.string:
            flat = np.asarray(reading.value(reader, name), dtype=object).reshape(-1)
            spec[name].append([base64.b64encode(bytes(value)).decode() for value in flat])
    return spec


def _write_zeros(path, spec):
    folder = path / "variables"
    folder.mkdir()
    names = sorted(spec)
    tensors = [
        tf.constant([base64.b64decode(v) for v in spec[n][2]], tf.string, shape=spec[n][1])
        if spec[n][0] == "string"
        else tf.zeros(spec[n][1], spec[n][0])
        for n in names
    ]
    part = str(folder / "part")
    tf.raw_ops.SaveV2(prefix=part, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[part], destination_prefix=str(folder / "variables"), delete_old_dirs=False
    )
