"""Argument checks whose errors say what came, what was wanted and what to do."""
import difflib
import importlib
import math
import numbers
import os
import re


def suggestion(name, known, limit=3):
    """Returns " Did you mean 'x'?" for the names nearest to `name`, else a list of what is `known`."""
    known = [str(k) for k in known]
    lowered = {k.lower(): k for k in known}
    near = [lowered[k] for k in difflib.get_close_matches(str(name).lower(), lowered, n=limit, cutoff=0.6)]
    if near:
        return f" Did you mean {' or '.join(repr(n) for n in near)}?"
    shown = ", ".join(known[:20]) + (f", ... ({len(known)} in all)" if len(known) > 20 else "")
    return f" There is: {shown}." if known else ""


def given(data):
    """Returns a tuple of data without what ends it as None: `(x, y)` for `(x, y, None)`, which Keras takes for the same."""
    while isinstance(data, tuple) and data and data[-1] is None:
        data = data[:-1]
    return data


def one_of(value, known, what):
    """Refuses a `value` that is none of the `known` ones. `what` names it: "backbone", "head of `loss`"."""
    if value not in known:
        raise ValueError(f"Unknown {what} {value!r}.{suggestion(value, known)}")
    return value


def whole(value, what, least=0):
    """Refuses all but whole numbers from `least` upwards."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"`{what}` must be a whole number of at least {least}. Received: {value!r}")
    return int(value)


def share(value, what, below=1.0):
    """Refuses all but numbers from 0 up to, but not including, `below`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < below:
        raise ValueError(f"`{what}` must be a share: at least 0 and less than {below:g}. Received: {value!r}")
    return float(value)


def at_least_zero(value, what):
    """Refuses all but finite numbers from 0 upwards."""
    return _number(value, what, lambda v: 0 <= v < math.inf, "at least 0")


def over_zero(value, what):
    """Refuses all but finite numbers over 0."""
    return _number(value, what, lambda v: 0 < v < math.inf, "over 0")


def own_share(value, what="own"):
    """Refuses all but numbers over 0 and up to 1."""
    return _number(value, what, lambda v: 0 < v <= 1, "over 0 and at most 1")


def _number(value, what, holds, wanted):
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not holds(value):
        raise ValueError(f"`{what}` must be a number {wanted}. Received: {value!r}")
    return float(value)


def head_name(name, taken=()):
    """Refuses what can't name a head: TensorFlow takes it into the names of its operations."""
    if name in taken:
        raise ValueError(f"A head can't be named {name!r}: {' and '.join(map(repr, taken))} are taken.")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.-]*", name):
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", str(name)).strip("_") or "target"
        raise ValueError(f"A head can't be named {name!r}: TensorFlow takes the letters a-z, digits, '_', '-' and '.', and no "
                         f"'_' or '-' at the beginning. Call it {plain!r}, for instance.")
    return name


def utf8(name):
    """Refuses the name of a file whose bytes are no UTF-8, as old archives bring: it could be read, but not recorded."""
    try:
        os.fspath(name).encode("utf-8")
    except UnicodeEncodeError as error:
        shown = os.fsencode(name).decode("utf-8", "replace")
        raise ValueError(f"The name {shown!r} is not UTF-8 and couldn't be written into results. Rename it.") from error
    return name


def extra(module, name):
    """Imports an optional package, or says which extra of ours brings it.

    OpenVINO starts processes that report its use over the network when it's imported, unless it is told that it runs in
    continuous integration. Nobody who trains a model was asked for that, so it's told that it does.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is needed here and can't be imported ({error}). "
                          f'Install it with: pip install "keras-transfer[{name}]"') from error
    finally:
        os.environ.pop("CI") if before is None else os.environ.update(CI=before)


def no_hidden_weights(source):
    """Refuses the layers that people used to put around a SavedModel, and names what to write instead."""
    names = [f"{cls.__module__}.{cls.__name__}" for cls in type(source).__mro__]
    if "tensorflow_hub.keras_layer.KerasLayer" in names:
        handle = getattr(source, "_handle", "HANDLE")
        raise TypeError("hub.KerasLayer belongs to the old Keras and can't be part of a Keras 3 model. Write "
                        f'kt.backbone("hub:{handle}") instead.')
    if any(name.endswith(".Lambda") and name.startswith(("keras.", "tf_keras.")) for name in names):
        raise TypeError("A Lambda hides the weights of what it calls, so they would stay frozen in silence. For a "
                        'SavedModel write kt.backbone("hub:HANDLE") instead.')
