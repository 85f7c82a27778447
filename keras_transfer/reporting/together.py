"""What a report says of several tasks trained together: the method, its last weights, and whether each task gained."""
import math

from .parts import plain


def together(sections, logs, about):
    """Returns the part of a page about tasks that were trained together, or None where nothing is known of it.

    Args:
        sections: dicts of `sections.section`.
        logs: the history, a dict of lists, with `HEAD_weight` where a method has weights.
        about: what is known of the training; of it `together`, a dict with `weighting`, `at` and `sharing`, and `gain`, a dict
            with `rows`, `mean` and `by_task` of a `kt.multitask` comparison.

    Returns:
        A dict: `facts`, a list of (term, text); `weights`, rows of head and last weight; `gain`, rows of task, metric, alone,
        together, change and verdict; `verdict`, a sentence, "" without a comparison.
    """
    names = [part["name"] for part in sections]
    weights = [[name, plain(last)] for name in names for last in _last(logs.get(f"{name}_weight", []))]
    known, gain = about.get("together") or {}, about.get("gain")
    if not any(known.values()) and not weights and not gain:
        return None
    return {"facts": _facts(known), "weights": weights, "gain": [_row(row) for row in gain["rows"]] if gain else [],
            "verdict": _verdict(gain) if gain else ""}


def losers(gain):
    """Returns `[(task, change)]` of the tasks that do worse than alone, the worst first."""
    worse = [(task, change) for task, change in (gain or {}).get("by_task", {}).items() if change is not None and change < 0]
    return sorted(worse, key=lambda pair: pair[1])


def change(share):
    """Returns a relative change as text: "+2.0 %"."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:+.1f}\N{NO-BREAK SPACE}%"


def _last(values):
    """The last known of the values, as a list of one or none."""
    known = [float(v) for v in values if v not in (None, "")]
    return [v for v in known if not math.isnan(v)][-1:]


def _facts(known):
    if not any(known.values()):
        return []
    weighting = known.get("weighting")
    method = f"by {weighting}" + (f" at the layer {known['at']}" if known.get("at") else "") if weighting else "by the plain sum"
    return [("How losses come together", method),
            ("Sharing layer", known.get("sharing") or "none: all heads read the same features")]


def _row(row):
    alone, both = (f"{plain(row[f'{name}-task'])}{_spread(row.get(f'± {name}'))}" for name in ("single", "multi"))
    return [row["task"], row["metric"], alone, both, change(None if row["change %"] is None else row["change %"] / 100), row["verdict"]]


def _spread(deviation):
    return "" if deviation is None else f" ± {plain(deviation)}"


def _verdict(gain):
    lost = losers(gain)
    seeds = any("± single" in row for row in gain["rows"])
    chance = "± is the standard deviation over seeds." if seeds else "With one run of each, small changes may be chance."
    mean = f"On average over the tasks: {change(gain['mean'])}. {chance}"
    if lost:
        said = ", ".join(f"{task} ({change(share)})" for task, share in lost)
        return f"Training together harmed {said}: {'this task does' if len(lost) == 1 else 'these tasks do'} better alone. {mean}"
    return f"No task does worse than alone. {mean}" if gain["mean"] is not None and not math.isnan(gain["mean"]) else mean
