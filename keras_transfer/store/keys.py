"""Fingerprints: of what a prefix computes, and of data that don't bring one of their own."""
import hashlib
import types

import keras
import numpy as np

from .. import _compat

_MADE_UP = ("name", "trainable")  # of a layer: names that Keras makes up, and flags, change nothing that inference computes


def of_network(prefix):
    """Returns a hex digest of the graph and the weights of `prefix`: equal for networks that compute the same.

    Names that Keras makes up, flags and the seeds of its own layers play no part, so that the same script finds its
    features again.

    Raises:
        ValueError: a layer doesn't tell its config.
    """
    digest = hashlib.sha256(_said(of_graph(prefix)))
    for weight in prefix.weights:
        digest.update(_said((weight.shape, weight.dtype)))
        digest.update(_bytes(keras.ops.convert_to_numpy(weight)))
    return digest.hexdigest()


def of_elements(digest, element):
    """Adds the tensors of one element of a data set, in any structure, to a `hashlib` digest."""
    for array in map(np.asarray, keras.tree.flatten(element)):
        digest.update(_said((array.dtype.str, array.shape)))
        digest.update(_said(array.tolist()) if array.dtype == object else _bytes(array))
    return digest


def of_words(*words):
    """Returns the hex digest of anything with a faithful `repr`."""
    return hashlib.sha256(_said(words)).hexdigest()


def of_graph(model):
    """The calls of a Functional model, with each tensor's place in their order, which no name tells reliably."""
    numbers = {}

    def numbered(thing):
        if isinstance(thing, keras.KerasTensor):
            return f"tensor {numbers.setdefault(id(thing), len(numbers))}"
        return _essence(thing)

    told = [(tensor.shape, tensor.dtype, numbered(tensor)) for tensor in model.inputs]
    for operation, args, kwargs, outputs in _compat.calls(model):
        told.append((type(operation).__module__, type(operation).__qualname__, _config(operation),
                     keras.tree.map_structure(numbered, (list(args), kwargs, outputs))))
    return [*told, *map(numbered, model.outputs)]


def _config(operation):
    if _compat.graph(operation) is not None:
        return of_graph(_compat.graph(operation))
    try:
        # for layers without functions there is nothing more, so that what is kept of them is found as before
        return _settings(operation.get_config(), type(operation).__module__), _vocabulary(operation), *_functions(operation)
    except NotImplementedError as error:
        raise ValueError(f"The layer {operation.name!r} ({type(operation).__name__}) has no `get_config`, so features that "
                         "it gave can't be told from others. Write that method, or leave `directory` out.") from error


def _vocabulary(operation):
    """What lookup layers have learnt, words and their weights, which are in a config only if they were given there."""
    layers = _layers(operation)
    words = [list(map(str, layer.get_vocabulary())) for layer in layers if callable(getattr(layer, "get_vocabulary", None))]
    weights = [getattr(layer, "idf_weights", None) for layer in layers]  # no weights of Keras's either
    return (words, [None if w is None else _essence(np.asarray(w)) for w in weights]) if words else None


def _layers(operation):
    return _compat.flat_layers(operation) if isinstance(operation, keras.layers.Layer) else []


def _functions(operation):
    """What the functions of `Lambda` layers compute, of which a config tells the name, or the file and the lines."""
    found = [f for layer in _layers(operation) if isinstance(layer, keras.layers.Lambda) for f in (layer.function, layer.mask)]
    return [_function(f) for f in found if isinstance(f, types.FunctionType)]


def _function(function, around=()):
    """What a function computes, as far as it's in itself: of what is global it has the names."""
    if function in around or (function.__module__ or "").split(".")[0] in ("keras", "tensorflow"):
        return function.__module__, function.__qualname__
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    return _code(function.__code__), *(
        _value(given, (*around, function)) for given in (function.__defaults__, function.__kwdefaults__, held))


def _code(code):
    constants = [_code(c) if isinstance(c, types.CodeType) else _value(c) for c in code.co_consts]
    return (code.co_code, code.co_exceptiontable, code.co_flags, code.co_argcount, code.co_posonlyargcount,
            code.co_kwonlyargcount, code.co_names, code.co_varnames, constants)


def _value(value, around=()):
    """A constant, or what a function is given where it's defined, which may be functions."""
    if isinstance(value, types.FunctionType):
        return _function(value, around)
    if isinstance(value, frozenset):  # whose order is another one in each process
        return sorted(map(repr, value))
    if isinstance(value, (list, tuple)):
        return [_value(v, around) for v in value]
    if isinstance(value, dict):
        return sorted((str(k), _value(v, around)) for k, v in value.items())
    return _essence(value)


def _settings(config, module):
    """What the config of a layer, or of anything else that Keras serializes, says of what it computes."""
    seed = ("seed",) if _is_keras(module) else ()  # of other layers it may say what they compute
    return _essence({k: v for k, v in config.items() if k not in _MADE_UP + seed})


def _essence(config):
    if isinstance(config, dict) and isinstance(config.get("config"), dict) and "class_name" in config:  # a thing within
        if config["class_name"] == "__lambda__" and "code" in config["config"]:  # of a `Lambda`: see `_functions`
            return "__lambda__"
        inner, module = config["config"], config.get("module") or ""
        made_up = "trainable" in inner or _is_keras(module) and "seed" in inner  # layers, initializers; the name of a policy isn't
        said = _settings(inner, module) if made_up else _essence(inner)
        return [module, config["class_name"], said, _essence(config.get("inbound_nodes"))]
    if isinstance(config, dict):
        return sorted((str(k), _essence(v)) for k, v in config.items())
    if isinstance(config, (list, tuple)):
        return [_essence(v) for v in config]
    if isinstance(config, np.ndarray) or keras.ops.is_tensor(config):  # whose `repr` leaves numbers out
        return of_elements(hashlib.sha256(), config).hexdigest()
    return config


def _is_keras(module):
    return module.split(".")[0] == "keras"


def _said(thing):
    return repr(thing).encode("utf-8", "surrogateescape")


def _bytes(array):
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1).data if array.size else b""
