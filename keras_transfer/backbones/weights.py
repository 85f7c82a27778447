"""Weights from a file: all of them or an error, never a part of them."""
import importlib
import os
import pathlib
import re
import warnings
import zipfile

import h5py
import keras
import numpy as np

import keras_transfer

_SUFFIXES = (".keras", ".h5", ".hdf5")


def check(weights):
    """Refuses what is neither "pretrained" nor None nor the path of a weights file that exists."""
    if weights is None or weights == "pretrained":
        return
    if not isinstance(weights, (str, os.PathLike)):
        raise TypeError(f'`weights` must be "pretrained", None or the path of a file. Received: {weights!r}')
    if pathlib.Path(weights).suffix not in _SUFFIXES:
        raise ValueError('`weights` must be "pretrained", None or the path of a .weights.h5, .keras or .h5 file. '
                         f"Received: {str(weights)!r}")
    if not pathlib.Path(weights).is_file():
        raise FileNotFoundError(f"`weights`: there is no file {str(weights)!r}.")


def load(path, models, name, top=None):
    """Loads the weights file at `path` into the first of `models` that it was written for.

    Args:
        path: a `.weights.h5`, `.keras` or legacy `.h5` file.
        models: models that share their layers, the wanted network first.
        name: what to call the network in errors.
        top: a callable that returns the network with its classifier, for files that hold one.

    Raises:
        ValueError: if the file belongs to another network, is damaged, or lacks weights.
    """
    path = str(path)
    try:
        if path.endswith(".keras"):
            return _take(models[0], _backbone_of(stored(path)))
        count = _count(path)
        for model in models:
            if len(model.weights) == count:
                return _fill(model, path)
        classifier = top() if top else None
        if classifier is None or len(classifier.weights) != count:
            raise ValueError(f"it holds {count} arrays, the network {len(models[-1].weights)}"
                             + (f" and with its 1000 classes {len(classifier.weights)}" if classifier else ""))
        _fill(classifier, path)
        _copy(_leaves(classifier), _leaves(models[-1]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} doesn't hold the weights of {name}: {_brief(error)}. Give a file written for this "
                         "network, or the .keras file of a model with a layer named `backbone`.") from error


def _brief(error):
    """One short sentence from Keras's errors, which print whole arrays."""
    shapes = re.search(r"variable\.shape=(\(.*?\)), Received: value\.shape=(\(.*?\))", str(error))
    if shapes:
        return f"it has other shapes, such as {shapes[2]} for {shapes[1]}"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(".")


def _count(path):
    """The number of weights in an HDF5 file, without optimizer and random states."""
    names = []
    with h5py.File(path) as file:
        file.visititems(lambda key, item: names.append(key) if isinstance(item, h5py.Dataset) else None)
    return sum(not re.search(r"(^|/)(optimizer|optimizer_weights|seed_generator|metrics)(/|$)", key) for key in names)


def _fill(model, path):
    """Lets Keras load the file, and makes sure that it reached every weight: Keras may skip some in silence."""
    before = [np.array(weight.numpy()) for weight in model.weights]
    for weight, value in zip(model.weights, before):
        weight.assign(_unset(value))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")     # "will retain their weights": found out below
            model.load_weights(path)
        missed = [w.path for w, value in zip(model.weights, before) if _same(w.numpy(), _unset(value))]
        if missed:
            raise ValueError(f"it leaves {len(missed)} weights unset, such as {', '.join(missed[:3])}")
    except Exception:
        for weight, value in zip(model.weights, before):
            weight.assign(value)
        raise


def _unset(value):
    return np.full_like(value, np.nan if np.issubdtype(value.dtype, np.floating) else -1)


def _same(a, b):
    return np.array_equal(np.asarray(a, "float64"), np.asarray(b, "float64"), equal_nan=True)


def _leaves(model):
    """The layers with weights, those of nested models included, in order."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        elif layer.weights:
            yield layer


def _copy(sources, targets):
    for source, target in zip(sources, targets):
        target.set_weights(source.get_weights())
        if hasattr(target, "finalize_state"):   # Normalization computes from copies of its weights
            target.finalize_state()


def stored(path):
    """Returns the model in the `.keras` file at `path`.

    Raises:
        ValueError: if the file is damaged or no `.keras` file.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is damaged or no .keras file")
    for module in keras_transfer._REGISTERING:  # the file may hold heads
        importlib.import_module(f"keras_transfer.{module}")
    return keras.models.load_model(path, compile=False)


def _backbone_of(model):
    """The layer `backbone` of a model, or the model itself."""
    inner = [layer for layer in model.layers if layer.name == "backbone" and isinstance(layer, keras.Model)]
    return inner[0] if inner else model


def _take(model, stored):
    """Copies weights between layers of the same name."""
    wanted, found = _named(model), _named(stored)
    missing = [name for name in wanted if name not in found]
    other = [name for name in wanted if name in found and _shapes(wanted[name]) != _shapes(found[name])]
    if missing or other:
        said = [f"{what} {len(names)} layers: {', '.join(names[:5])}" + (" and more" if len(names) > 5 else "")
                for what, names in (("it lacks", missing), ("it has other shapes in", other)) if names]
        raise ValueError("; ".join(said))
    _copy([found[name] for name in wanted], wanted.values())


def _shapes(layer):
    return [tuple(weight.shape) for weight in layer.weights]


def _named(model):
    """{name: layer}; names that Keras made up count on from model to model, so they are numbered anew."""
    layers, made_up = {}, {}
    for layer in _leaves(model):
        stem = re.sub(r"([a-z])([A-Z])", r"\1_\2", type(layer).__name__).lower()
        number = re.fullmatch(re.escape(stem) + r"(?:_(\d+))?", layer.name)
        if number:
            made_up.setdefault(stem, []).append((int(number[1] or 0), layer))
        else:
            layers[layer.name] = layer
    for stem, numbered in made_up.items():
        for k, (_, layer) in enumerate(sorted(numbered, key=lambda pair: pair[0])):
            layers[f"{stem}_{k}" if k else stem] = layer
    return layers
