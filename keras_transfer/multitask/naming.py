"""Weightings and sharing layers by name, for the command line."""
import importlib
import inspect

from .. import _check
from .sharing.sharing import Sharing
from .weighting.weighting import Weighting


def chosen(options, targets):
    """Returns the weighting and the sharing layer that options name, each None if it isn't.

    Args:
        options: with `weighting`, `at`, `sharing` and `baselines`.
        targets: what is to be learnt.

    Raises:
        ValueError: there is one target only, a name isn't known, or `at` comes without a weighting.
    """
    given = [f"--{name}" for name in ("weighting", "at", "sharing", "baselines") if getattr(options, name)]
    if given and len(targets) < 2:
        raise ValueError(f"{', '.join(given)} can be used with several targets only. Name them, --targets COLUMN:KIND "
                         "COLUMN:KIND, or leave it out.")
    if options.at and not options.weighting:
        raise ValueError("--at says where a method compares gradients. Give --weighting too, such as pcgrad, or leave it out.")
    weighting = weighting_named(options.weighting) if options.weighting else None
    return weighting, sharing_named(options.sharing) if options.sharing else None


def weighting_named(name):
    """Returns a weighting with its defaults. The case of the name doesn't matter.

    Raises:
        ValueError: there is none of that name, or it has arguments without defaults.
    """
    return _made(name, Weighting, "weighting")


def sharing_named(name):
    """Returns a sharing layer with its defaults, as `weighting_named` does a weighting."""
    return _made(name, Sharing, "sharing layer")


def _made(name, base, what):
    home = importlib.import_module(__package__)
    classes = {n.lower(): v for n, v in vars(home).items()
               if isinstance(v, type) and issubclass(v, base) and v.__module__ != base.__module__}
    wanting = {n: _without_default(v) for n, v in classes.items()}
    key = name.lower()
    if wanting.get(key):
        raise ValueError(f"The {what} {classes[key].__name__} needs to be told {' and '.join(wanting[key])}, which a shell "
                         "can't. Use it from Python, or take another one.")
    staged = {n.lower(): n for n, v in vars(home).items() if base is Sharing and hasattr(v, "over")}
    if key in staged and key not in classes:
        raise ValueError(f"{staged[key]} shares at inner stages of the backbone, which a shell can't name. Use it from Python, or "
                         "take another one.")
    if key not in classes:
        _check.one_of(name, sorted(v.__name__ for n, v in classes.items() if not wanting[n]), what)
    return classes[key]()


def _without_default(cls):
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty and p.kind not in kinds]
