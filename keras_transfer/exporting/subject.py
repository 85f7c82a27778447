"""What is exported: a model, what it takes, and what its outputs mean."""
import dataclasses
import os

import keras

from .. import _check, _compat
from ..data.decoding import FITS, height_and_width
from ..heads.head import Head, class_names
from ..loading import load
from ..network import model_of
from ..running import read_run


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model with all that an export needs to know of it.

    Attributes:
        model: the `keras.Model`.
        heads: `{name: head}` in the order of the outputs; None in place of a head for an output of another layer.
        classes: `{name: class names}` of the heads that have classes.
        kind: "photos" (one input of pixels), "text" (one string for each row) or "tensors" (anything else).
        size: for photos (height, width) in pixels, else None.
        fit: for photos "stretch", "crop" or "pad", else None.
        labels: what goes to labels.json.
        config: what goes to config.json.
    """

    model: object
    heads: dict
    classes: dict
    kind: str
    size: tuple | None
    fit: str | None
    labels: object
    config: dict

    @property
    def inputs(self):
        """The inputs as `{name: KerasTensor}`; a photo is named `pixels`, a text `text`."""
        tensors = keras.tree.flatten(_compat.input_structure(self.model))
        if self.kind != "tensors":
            return {{"photos": "pixels", "text": "text"}[self.kind]: tensors[0]}
        structure = _compat.input_structure(self.model)
        return structure if isinstance(structure, dict) else dict(zip(_compat.input_names(self.model), tensors))

    def structured(self, named):
        """Returns `{name: tensor}` in the structure that the model takes."""
        structure = _compat.input_structure(self.model)
        if self.kind == "tensors" and isinstance(structure, dict):
            return {name: named[name] for name in structure}
        return keras.tree.pack_sequence_as(structure, [named[name] for name in self.inputs])

    def named(self, outputs):
        """Returns the outputs of the model, whatever their structure, as `{name: tensor}`."""
        return dict(outputs) if isinstance(outputs, dict) else dict(zip(self.heads, keras.tree.flatten(outputs)))

    @property
    def features(self):
        """The symbolic output of the joint `features`, or None if there is no such layer."""
        layer = next((layer for layer in self.model.layers if layer.name == "features"), None)
        return None if layer is None else _compat.outputs_of_uses(self.model, layer)[0][0]


def subject(model, labels=None, config=None):
    """Returns the `Subject` of a model or of the path of a run folder, whose labels and config are taken.

    Raises:
        TypeError: `model` is neither.
        ValueError: labels don't fit the heads, or the size of photos isn't known or contradicts the config's.
    """
    config = dict(config or {})
    if isinstance(model, (str, os.PathLike)):
        if os.path.isdir(model):
            own, own_labels = read_run(model)
            config, labels = {**own, **config}, own_labels if labels is None else labels
        model = load(model)
    model = model_of(model)
    if not isinstance(model, keras.Model) or _compat.graph(model) is None or not model.built:
        raise TypeError("`model` must be a Functional or Sequential keras.Model that is built, such as `kt.attach` "
                        f"returns, or the path of a run folder. Received: {model!r}")
    heads, kind = _heads(model), _kind(model)
    classes, labels = _labels(heads, labels)
    size, fit = _decoding(model, config) if kind == "photos" else (None, None)
    config.update({"image_size": list(size), "fit": fit} if size else {})
    return Subject(model, heads, classes, kind, size, fit, labels, config)


def _heads(model):
    structure = _compat.output_structure(_compat.graph(model))
    names = list(structure) if isinstance(structure, dict) else list(model.output_names)
    layers = {layer.name: layer for layer in model.layers if isinstance(layer, Head)}
    return {name: layers.get(name) for name in names}


def _kind(model):
    tensors = keras.tree.flatten(_compat.input_structure(model))
    if len(tensors) == 1:
        shape, dtype = tensors[0].shape, tensors[0].dtype
        if dtype == "string" and (len(shape) == 1 or tuple(shape[1:]) == (1,)):
            return "text"
        if len(shape) == 4 and shape[3] == 3:
            return "photos"
    return "tensors"


def _decoding(model, config):
    """The (height, width) in pixels and the fit that photos are brought to."""
    own = tuple(keras.tree.flatten(_compat.input_structure(model))[0].shape[1:3])
    said = config.get("image_size")
    if said is None and None in own:
        raise ValueError("The model takes photos of any size, so it must be said: give config={\"image_size\": pixels}.")
    size = own if said is None else height_and_width(tuple(said) if isinstance(said, list) else said)
    if any(mine not in (None, wanted) for mine, wanted in zip(own, size)):
        raise ValueError(f"The model takes photos of {own[0]} x {own[1]} pixels, and the config says {size[0]} x {size[1]}. "
                         "Leave `image_size` out of the config.")
    return size, _check.one_of(config.get("fit", "stretch"), tuple(FITS), "fit of the config:")


def _labels(heads, labels):
    """Class names by head, and what goes to labels.json."""
    own = {name: head.class_names for name, head in heads.items() if hasattr(head, "class_names")}
    if labels is None:
        return own, next(iter(own.values())) if len(heads) == len(own) == 1 else own
    given = labels if isinstance(labels, dict) and (len(heads) > 1 or set(labels) == set(heads)) else {next(iter(heads)): labels}
    classes = dict(own)
    for name, value in given.items():
        _check.one_of(name, list(heads), "head of `labels`")
        if name in own:
            classes[name] = class_names(list(value))
            if len(classes[name]) != len(own[name]):
                raise ValueError(f"`labels` has {len(value)} names for head {name!r}, which has {len(own[name])} classes.")
    return classes, labels
