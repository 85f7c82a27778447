"""`keras-transfer report`, and the report that `keras-transfer train` puts into a run folder."""

import csv
import pathlib

import numpy as np

from .. import evaluating, running
from ..assembling import heads_of
from ..heads import Classifier, MultiLabel, Ordinal
from .writing import write

NAME = "report.html"
# What the page calls an option of `keras-transfer train`, where it isn't the default.
_OPTIONS = {
    "learning_rate": "Learning rate",
    "batch_size": "Batch size",
    "last": "Part tuned",
    "norms": "Batch norms train",
    "dropout": "Dropout in the heads",
    "flip": "Mirrored at random",
    "balance": "Classes weighed by rarity",
    "deterministic": "Repeatable to the bit",
}


def command(options):
    """Writes a report of a run on further photos."""
    model, dataset, config = evaluating.opened(
        options.run, options.data, images=options.images, part=options.part, on_error=options.on_error
    )
    name = {"train": "training", "valid": "validation"}.get(options.part, options.part)
    again = options.part is None and pathlib.Path(options.data).resolve() == pathlib.Path(config["data"]).resolve()
    about = {**about_run(config, name), "training_photos_here": again or options.part == "train"}
    write(model, dataset, options.to, history=read_history(options.run), about=about)
    print(f"Written: {options.to}")


def beside(run, model, dataset, *, part, history, answers):
    """Writes the report of a training into its run folder; without matplotlib or jinja2, says how to get it.

    Args:
        run: the run folder.
        model: the trained model.
        dataset: the photos that were held out.
        part: their name, "test" or "validation".
        history: of `fine_tune`.
        answers: what `evaluating.answers` returned for `dataset`.
    """
    config, _ = running.read_run(run)
    try:
        write(model, dataset, pathlib.Path(run) / NAME, history=history, about=about_run(config, part), answers=answers)
    except ImportError as error:
        print(f"No {NAME}: {error}")


def about_run(config, part):
    """Returns what a run's config knows of the training, as `card.card` takes it."""
    training = config.get("training") or {}
    return {
        "backbone": config.get("backbone"),
        "weights": config.get("weights"),
        "seed": config.get("seed"),
        "data": pathlib.PurePath(config["data"]).name if config.get("data") else None,
        "part": part,
        "training_photos": training.get("photos"),
        "training": training.get("classes"),
        "versions": config.get("versions"),
        "together": {name: config.get(name) for name in ("weighting", "at", "sharing")},
        "gain": config.get("gain"),
        "options": {word: _said(config[name]) for name, word in _OPTIONS.items() if config.get(name)},
    }


def training_counts(model, targets):
    """Returns how much there was to learn from, for the config of a run.

    Args:
        model: what `kt.attach` returned.
        targets: `{head: labels}` of the training photos, as in `kt.data.info`; the one key may be None.

    Returns:
        `{"photos": n, "classes": {head: {class: photos}}}`; of heads without classes nothing.
    """
    found = {}
    for name, head in heads_of(model).items():
        labels = np.asarray(targets[name] if name in targets else next(iter(targets.values())))
        if isinstance(head, (Classifier, Ordinal)):
            counts = np.bincount(labels[labels >= 0], minlength=len(head.class_names))
        elif isinstance(head, MultiLabel):
            counts = (labels > 0.5).sum(0)
        else:
            continue
        found[name] = dict(zip(head.class_names, counts.tolist()))
    return {"photos": len(next(iter(targets.values()))), "classes": found}


def read_history(run):
    """Returns the history of a run folder, `{name: list}`; None if it has none."""
    path = pathlib.Path(run) / "history.csv"
    if not path.is_file():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}


def _said(value):
    return "yes" if value is True else str(value)
