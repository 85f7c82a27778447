"""What the folder of a SavedModel says of itself, read from its files without loading it."""

import pathlib
from typing import NamedTuple

import tensorflow as tf
from google.protobuf.message import DecodeError

from .. import _compat

LARGEST = 1 << 31  # bytes: a protocol buffer can't be larger
HIDDEN = ("__saved_model_init_op", "__saved_model_train_op")  # signatures that TensorFlow adds for itself


class SavedModel(NamedTuple):
    """The folder of a SavedModel and the message in its `saved_model.pb`."""

    path: pathlib.Path
    message: object


def read(path):
    """Reads `saved_model.pb` in the folder `path`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it's no SavedModel, or its file is damaged.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path)!r}, given as a SavedModel.")
    file = path / "saved_model.pb"
    if (path / "saved_model.cpb").exists():
        raise ValueError(
            f"{str(path)!r} is a SavedModel in chunks (saved_model.cpb), which can't be checked before it is "
            "loaded. Save it again without experimental_image_format."
        )
    if not file.is_file():
        inside = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
        raise ValueError(
            f"{str(path)!r} is no SavedModel: it has no file saved_model.pb, but {inside}. Give the folder "
            "that holds saved_model.pb."
        )
    if file.stat().st_size > LARGEST:
        raise ValueError(f"{str(file)!r} has {file.stat().st_size:,} bytes, more than a saved_model.pb can have.")
    message = _compat.saved_model_message()
    try:
        message.ParseFromString(file.read_bytes())
    except (DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(file)!r} is damaged or no SavedModel ({error}).") from error
    if not message.meta_graphs:
        raise ValueError(f"{str(file)!r} is damaged or no SavedModel: there is no graph in it.")
    return SavedModel(path, message)


def tag_sets(model):
    """Returns the sets of tags that the graphs of a `SavedModel` have, each a sorted list."""
    return [sorted(graph.meta_info_def.tags) for graph in model.message.meta_graphs]


def chosen(model, tags=None):
    """Returns the graph to use and its tags: that with `tags`, else the one to serve, else the untagged, else the only.

    Raises:
        ValueError: no graph has these tags, or nothing tells which of several graphs to use.
    """
    sets = tag_sets(model)
    if tags is not None:
        wanted = [sorted(tags)]
    else:
        wanted = [["serve"], []] + ([sets[0]] if len(sets) == 1 else [])
    for one in wanted:
        if sets.count(one) == 1:
            return model.message.meta_graphs[sets.index(one)], one
    raise ValueError(
        f"{str(model.path)!r} has graphs with the tags {' and '.join(map(str, sets))}, but "
        + (f"none with {sorted(tags)}." if tags is not None else "none is tagged ['serve'] or [].")
        + " Name one of them in `tags`."
    )


def signatures(graph):
    """Returns `{name: (inputs, outputs)}` of a graph, both `{key: (dtype, shape)}`; None for an unknown side."""
    return {
        name: (_described(signature.inputs), _described(signature.outputs))
        for name, signature in sorted(graph.signature_def.items())
        if name not in HIDDEN
    }


def _described(tensors):
    return {key: (_dtype(info.dtype), _shape(info.tensor_shape)) for key, info in sorted(tensors.items())}


def _dtype(number):
    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return "unknown"


def _shape(shape):
    return None if shape.unknown_rank else tuple(None if side.size < 0 else side.size for side in shape.dim)


def checkpoint(path):
    """Returns a reader of the variables of the SavedModel in the folder `path`, or None if it has none.

    Raises:
        ValueError: if they are damaged.
    """
    prefix = pathlib.Path(path) / "variables" / "variables"
    if not prefix.with_name("variables.index").is_file():
        return None
    try:
        return tf.train.load_checkpoint(str(prefix))
    except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"The variables in {str(path)!r} are damaged ({_first_line(error)}). Get the model again."
        ) from error


def variables(path):
    """Returns `{name: (dtype, shape)}` of what the checkpoint of the SavedModel in `path` holds, text left out."""
    reader = checkpoint(path)
    if reader is None:
        return {}
    types = reader.get_variable_to_dtype_map()
    return {
        name: (types[name].name, tuple(shape))
        for name, shape in sorted(reader.get_variable_to_shape_map().items())
        if types[name] != tf.string
    }


def value(reader, name):
    """Returns one array of a `checkpoint`.

    Raises:
        ValueError: if the file with the values is damaged.
    """
    try:
        return reader.get_tensor(name)
    except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"The variables of the SavedModel are damaged ({_first_line(error)}). Get the model again."
        ) from error


def load(path, tags):
    """Loads the SavedModel in the folder `path`, whose operations must have been judged before.

    Raises:
        ValueError: if TensorFlow can't load it.
    """
    try:
        return tf.saved_model.load(str(path), tags=tags)
    except Exception as error:  # whatever a damaged graph leads TensorFlow to
        raise ValueError(
            f"TensorFlow can't load the SavedModel {str(path)!r}: {_first_line(error)}. It is damaged, or "
            "needs operations of a package that must be imported first."
        ) from error


def _first_line(error):
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0][:300].rstrip(".")
