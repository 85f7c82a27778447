"""Argument checks whose errors say what came, what was wanted and what to do."""
import difflib
import numbers


def suggestion(name, known, limit=3):
    """Returns " Did you mean 'x'?" for the names nearest to `name`, else a list of what is `known`."""
    known = [str(k) for k in known]
    lowered = {k.lower(): k for k in known}
    near = [lowered[k] for k in difflib.get_close_matches(str(name).lower(), lowered, n=limit, cutoff=0.6)]
    if near:
        return f" Did you mean {' or '.join(repr(n) for n in near)}?"
    shown = ", ".join(known[:20]) + (f", ... ({len(known)} in all)" if len(known) > 20 else "")
    return f" There is: {shown}." if known else ""


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


def extra(module, name):
    """Imports an optional package, or says which extra of ours brings it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is needed here and can't be imported ({error}). "
                          f'Install it with: pip install "keras-transfer[{name}]"') from error


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
