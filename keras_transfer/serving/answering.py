"""TF Serving's REST language: JSON in, the tensors of a signature, JSON out."""

import base64
import binascii

import numpy as np
import tensorflow as tf

from .. import _check
from ..exporting.versions import is_version
from ..saved_model import hazards, reading


class Served:
    """An exported model that answers requests as TF Serving would.

    Args:
        folder: the version folder, with its `saved_model.pb`.

    Attributes:
        version: the folder's name, or "1" if that isn't a number.
        signatures: `{name: (inputs, outputs)}`, both `{key: (dtype, shape)}`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it's no SavedModel, it's damaged, or it reaches files, connections or Python.
    """

    def __init__(self, folder):
        model = reading.read(folder)
        found = hazards.hazards(model)
        if found:
            raise ValueError(f"The SavedModel {str(folder)!r} isn't served, since it reaches outside: {found[0]}.")
        graph, tags = reading.chosen(model)
        self.version = model.path.name if is_version(model.path) else "1"
        self.signatures = reading.signatures(graph)
        self._loaded = reading.load(model.path, tags)

    def answer(self, request):
        """Returns the reply to a request.

        Args:
            request: `{"instances": [...]}` (a list of rows) or `{"inputs": ...}` (a dict of columns), with
                "signature_name" if it isn't "serving_default". Bytes are written `{"b64": "..."}`.

        Returns:
            `{"predictions": [...]}` for rows, `{"outputs": ...}` for columns.

        Raises:
            ValueError: the request doesn't fit the signature, or the model refuses it.
        """
        if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
            raise ValueError('A request is a JSON object with either "instances" or "inputs".')
        name = request.get("signature_name", "serving_default")
        _check.one_of(name, list(self.signatures), "signature")
        wanted = self.signatures[name][0]
        rows = "instances" in request
        columns = _columns(request["instances"], wanted) if rows else _named(request["inputs"], wanted)
        tensors = {key: _tensor(key, columns[key], *wanted[key]) for key in wanted}
        if rows and len({len(tensor) for tensor in tensors.values()}) > 1:
            raise ValueError("The inputs have different numbers of rows.")
        try:
            outputs = self._loaded.signatures[name](**tensors)
        except tf.errors.OpError as error:
            raise ValueError(f"The model refuses the request: {error.message.splitlines()[0][:300]}") from error
        said = {key: _json(key, value.numpy()) for key, value in sorted(outputs.items())}
        if not rows:
            return {"outputs": said if len(said) > 1 else next(iter(said.values()))}
        each = [dict(zip(said, row)) for row in zip(*said.values())]
        return {"predictions": each if len(said) > 1 else [next(iter(row.values())) for row in each]}


def _columns(instances, wanted):
    """Rows as columns: a row is a dict, or the value itself where the signature has one input."""
    if not isinstance(instances, list) or not instances:
        raise ValueError('"instances" must be a list with at least one row.')
    if not all(isinstance(row, dict) and "b64" not in row for row in instances):
        if len(wanted) != 1:
            raise ValueError(f"Each of the instances must be an object with {', '.join(wanted)}.")
        return {next(iter(wanted)): instances}
    for number, row in enumerate(instances):
        if set(row) != set(wanted):
            raise ValueError(
                f"Instance {number} has {', '.join(sorted(row)) or 'nothing'}; wanted: {', '.join(wanted)}."
            )
    return {key: [row[key] for row in instances] for key in wanted}


def _named(inputs, wanted):
    if not isinstance(inputs, dict) or "b64" in inputs:
        inputs = {next(iter(wanted)): inputs} if len(wanted) == 1 else inputs
    if not isinstance(inputs, dict) or set(inputs) != set(wanted):
        raise ValueError(f'"inputs" must be an object with {", ".join(wanted)}.')
    return inputs


def _tensor(key, value, dtype, shape):
    try:
        array = np.array(_plain(value), dtype=object if dtype == "string" else dtype)
        tensor = tf.constant(array.tolist() if dtype == "string" else array, dtype)
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise ValueError(f"Input {key!r} can't be read as {dtype}: {str(error).splitlines()[0][:200]}") from error
    if shape is not None and not tensor.shape.is_compatible_with(shape):
        raise ValueError(f"Input {key!r} must have the shape {_shown(shape)}. Received: {_shown(tensor.shape)}")
    return tensor


def _plain(value):
    """Nested lists with `{"b64": text}` turned into bytes."""
    if isinstance(value, dict):
        if set(value) != {"b64"} or not isinstance(value["b64"], str):
            raise ValueError('an object here must be {"b64": "..."}')
        return base64.b64decode(value["b64"], validate=True)
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _json(key, array):
    """An array as nested lists, text as text; bytes stay bytes where the key says so."""
    if array.dtype != object:
        return array.tolist()
    if array.ndim:
        return [_json(key, np.asarray(one, object)) for one in array]
    value = bytes(array.item())
    return {"b64": base64.b64encode(value).decode()} if key.endswith("_bytes") else value.decode("utf-8", "replace")


def _shown(shape):
    return "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"
