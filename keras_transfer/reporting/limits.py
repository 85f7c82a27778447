"""What a reader should know before using the model, read off the figures."""

import numpy as np

from .parts import percent, plain
from .together import change, losers

FEW = 10  # photos of a class, below which its figures say little
FEW_TRAINING = 20  # photos of a class to learn from
LOW_RECALL = 0.5
BAD_CALIBRATION = 0.1
NAMED = 8  # classes named in a sentence


def limits(sections, about):
    """Returns sentences on what the model does badly or what isn't known of it.

    Args:
        sections: dicts of `sections.section`.
        about: what is known of the training, see `card.card`.

    Returns:
        A list of texts.
    """
    found = []
    if about.get("training_photos_here"):
        found.append(
            "The photos here are, all or in part, those that the model was trained on: on new ones it will do worse."
        )
    found += [f"{task}: does worse than a model for this task alone ({change(by)})." for task, by in losers(about.get("gain"))]
    for part in sections:
        prefix = f"{part['name']}: " if len(sections) > 1 else ""
        found += [prefix + text for text in _of(part, (about.get("training") or {}).get(part["name"]))]
    return found


def _of(part, training):
    if part["kind"] == "other":
        return ["nothing is known of how to measure this head."]
    found = []
    if part["missing"]:
        found.append(f"{part['missing']:,} labels are missing here and left out of every figure.")
    if part["kind"] == "numbers":
        return found + [
            f"{name} is predicted no better than by always saying the median."
            for name, e in zip(part["names"], part["errors"])
            if e["count"] and e["mae"] >= e["median_mae"]
        ]
    return found + _support(part, training) + _recall(part) + _calibration(part)


def _support(part, training):
    names, support = part["names"], part["each"]["support"]
    found = _listed(
        names,
        support == 0,
        "can't be judged: there is no photo of it here",
        "can't be judged: there are no photos of them here",
    )
    found += _listed(
        names,
        (support > 0) & (support < FEW),
        f"has fewer than {FEW} photos here, so its figures are rough",
        f"have fewer than {FEW} photos here, so their figures are rough",
    )
    counts = np.array([(training or {}).get(name, FEW_TRAINING) for name in names])
    return found + _listed(
        names,
        counts < FEW_TRAINING,
        f"was learned from fewer than {FEW_TRAINING} photos",
        f"were learned from fewer than {FEW_TRAINING} photos each",
    )


def _recall(part):
    each = part["each"]
    low = (each["support"] > 0) & (np.nan_to_num(each["recall"], nan=1.0) < LOW_RECALL)
    words = f"is missed more often than found (recall below {percent(LOW_RECALL)})"
    return _listed(part["names"], low, words, words.replace("is ", "are ", 1))


def _calibration(part):
    found = part["calibration"]
    if found is None or found["error"] < BAD_CALIBRATION:
        return []
    if part["kind"] == "labels":
        return [f"Probabilities are off by {plain(found['error'])} on average: don't take them at their word."]
    side = "too high" if found["over"] else "too low"
    return [f"Probabilities are badly calibrated: off by {plain(found['error'])} on average, most of them {side}."]


def _listed(names, which, one, several):
    chosen = [name for name, holds in zip(names, which) if holds]
    if not chosen:
        return []
    more = f" and {len(chosen) - NAMED} more" if len(chosen) > NAMED else ""
    if len(chosen) == len(names) > 1:
        return [f"All {len(names)} classes {several}."]
    return [f"{', '.join(chosen[:NAMED])}{more} {one if len(chosen) == 1 else several}."]
