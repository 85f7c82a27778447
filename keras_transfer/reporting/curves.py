"""The history of a training as plots."""
import math

from . import plots

_NOT_CURVES = ("phase", "epoch")


def as_dict(history):
    """Returns `{name: list}` of a `keras.callbacks.History`, a dict of lists, or None.

    Raises:
        TypeError: `history` is none of these.
        ValueError: its lists differ in length.
    """
    logs = getattr(history, "history", history)
    if logs is None:
        return {}
    if not isinstance(logs, dict):
        raise TypeError("`history` must be what `fit` or `kt.fine_tune` returned, or a dict of lists. "
                        f"Received: {type(history).__name__}")
    if len({len(values) for values in logs.values()}) > 1:
        raise ValueError("`history` must have one value an epoch under every name. Received: "
                         + ", ".join(f"{name} ({len(values)})" for name, values in logs.items()))
    return {name: list(values) for name, values in logs.items()}


def phases(logs):
    """Returns `[(phase, epochs)]` in order, such as [("head", 10), ("tune", 5)]; empty if nothing is known."""
    names = logs.get("phase", [])
    return [(name, names.count(name)) for name in dict.fromkeys(names)]


def panels(logs):
    """Returns the plots of a training: the loss, every metric, the weights of tasks, the learning rate.

    Args:
        logs: what `as_dict` returned.

    Returns:
        A list of dicts: `title`, `svg`.
    """
    names = [name for name in logs if name not in _NOT_CURVES and not name.startswith("val_")]
    names.sort(key=lambda name: (name == "learning_rate", name.endswith("_weight"), name.endswith("loss") and name != "loss",
                                 name != "loss"))
    found = phases(logs)
    border = found[0][1] if len(found) > 1 else None
    return [_panel(name, logs, border) for name in names]


def _panel(name, logs, border):
    series = {"training": _numbers(logs[name])}
    if f"val_{name}" in logs:
        series["validation"] = _numbers(logs[f"val_{name}"])
    log = name == "learning_rate" and all(v > 0 for v in series["training"])
    known = {part: [v for v in values if not math.isnan(v)] for part, values in series.items()}
    ends = "; ".join(f"{part} from {values[0]:.3g} to {values[-1]:.3g}" for part, values in known.items() if values)
    title = name.replace("_", " ")
    alt = f"{title} over {len(logs[name])} epochs: {ends}"
    return {"title": title, "alt": alt, "svg": plots.lines(series, alt, border=border, log=log)}


def _numbers(values):
    """Values of a table that was read again are text, and empty where an epoch had none."""
    return [math.nan if value in (None, "") else float(value) for value in values]
