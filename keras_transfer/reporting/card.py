"""What a model is made of and was made with: the overview and the model card."""

from .. import running, summarizing
from ..backbones.origin import origin
from ..blocks import backbone_of
from ..data import info
from . import curves, licences

UNKNOWN = "not recorded"


def about_of(model, dataset):
    """Returns what a model and a dataset know of themselves, as `card` takes it."""
    name, weights = origin(backbone_of(model))
    known = info(dataset)
    return {
        "backbone": name,
        "weights": weights,
        "seed": getattr(known, "seed", None),
        "training_photos_here": getattr(known, "epoch", None) is not None,
    }


def card(model, dataset, sections, logs, about):
    """Returns the two lists of a report's facts.

    Args:
        model: what `kt.attach` returned.
        dataset: what the figures are of.
        sections: dicts of `sections.section`.
        logs: the history, a dict of lists.
        about: what is known of the training, all of it optional: `backbone`, `weights`, `seed`, `data` (its name),
            `part` ("test", "validation"), `training` (`{head: {class: photos}}`), `training_photos`, `options`; and
            `together` and `gain`, see `together.together`.

    Returns:
        A dict: `overview` and `made_with`, lists of (term, text); `blocks`, the table of `kt.summary`; `licence`.
    """
    backbone, table = backbone_of(model), summarizing.summary(model)
    total, trains = table[-1]["parameters"], table[-1]["trainable"]
    licence = licences.of_weights(about.get("backbone"), about.get("weights", "unknown"))
    overview = [
        ("Backbone", f"{about.get('backbone') or 'name ' + UNKNOWN}, {_input(backbone)}, {_features(backbone)}"),
        ("Heads", "; ".join(f"{part['name']} ({part['about']})" for part in sections)),
        (
            "Parameters",
            f"{total:,}, of which {trains:,} train and {total - trains:,} are frozen"
            + " (in the last phase)" * (len(curves.phases(logs)) > 1),
        ),
        ("Training", _training(logs, about)),
        ("Measured on", _measured(dataset, sections, about)),
    ]
    made_with = [
        ("Weights it started from", _weights(about)),
        ("Licence of those weights", licence),
        ("Seed", UNKNOWN if about.get("seed") is None else str(about["seed"])),
        *[(word, str(value)) for word, value in (about.get("options") or {}).items()],
        (
            "Versions",
            ", ".join(f"{name} {version}" for name, version in (about.get("versions") or running.versions()).items()),
        ),
    ]
    blocks = [
        [row["block"], f"{row['layers']:,}", f"{row['parameters']:,}", f"{row['trainable']:,}", row["norms"]]
        for row in table
    ]
    return {"overview": overview, "made_with": made_with, "blocks": blocks}


def _input(backbone):
    shape = backbone.input_shape if not isinstance(backbone.input_shape, (dict, list)) else None
    if shape is not None and len(shape) == 4:
        return f"photos of {shape[1] or 'any'} x {shape[2] or 'any'} pixels"
    return f"input {tuple(shape[1:])}" if shape is not None else "several inputs"


def _features(backbone):
    return f"{backbone.output_shape[-1]:,} features" if isinstance(backbone.output_shape, tuple) else "several outputs"


def _weights(about):
    weights = about.get("weights", "unknown")
    return {"unknown": UNKNOWN, "none": "random", None: "random"}.get(weights, weights)


def _training(logs, about):
    phases = curves.phases(logs)
    done = ", then ".join(
        f"{count} epochs of {words}"
        for (name, count) in phases
        for words in [
            {"head": "the heads on the frozen backbone", "tune": "the last layers of the backbone too"}.get(name, name)
        ]
    )
    if not done and logs:
        done = f"{len(next(iter(logs.values())))} epochs"
    photos = f"{about['training_photos']:,} photos" if about.get("training_photos") else None
    data = f" in {about['data']}" if about.get("data") and photos else ""
    return "; ".join(filter(None, [photos and photos + data, done])) or UNKNOWN


def _measured(dataset, sections, about):
    known = info(dataset)
    count = len(known.files) if known is not None else max((part.get("rows", 0) for part in sections), default=0)
    words = [
        f"{count:,} {'photos' if known is not None else 'rows'}"
        + (f" of the {about['part']} set" if about.get("part") else "")
    ]
    if known is not None:
        ways = {"stretch": "stretched", "crop": "cropped", "pad": "padded"}
        words.append(f"{ways[known.fit]} to {known.size[0]} x {known.size[1]} pixels")
        words += [f"{len(known.skipped)} unreadable ones left out"] if known.skipped else []
    if about.get("training_photos_here"):
        words.append("among them photos that the model was trained on")
    return ", ".join(words)
