"""What a backbone was made from, remembered as long as the object lives; files don't keep it."""
import os
import pathlib

import keras

_NAME = "_keras_transfer_origin"


def marked(network, source, weights):
    """Returns `network`, which now knows its `source` and `weights`, the arguments of `kt.backbone`."""
    setattr(network, _NAME, (_name(source), weights if weights is None else os.fspath(weights)))
    return network


def origin(network):
    """Returns (name, weights) of a backbone that `kt.backbone` made in this process, else (None, "unknown")."""
    return getattr(network, _NAME, (None, "unknown"))


def _name(source):
    if isinstance(source, keras.Model):
        return "a model of the user's own"
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        return pathlib.Path(text).name if text.endswith(".keras") else text  # no folders of this machine
    return str(getattr(source, "name", None) or getattr(source, "handle", None) or type(source).__name__)
