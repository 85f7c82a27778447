"""What the commands of `keras-transfer` do."""

import json
import os
import pathlib
import shutil
import time

import keras

import keras_transfer as kt

from . import _check, alone, evaluating, extracting, running
from ._files import atomic
from .assembling import heads_of
from .blocks import backbone_of, last_quarter
from .exporting.command import command as export  # noqa: F401
from .multitask import naming
from .reporting import command as reports
from .reporting.command import command as report  # noqa: F401
from .serving.command import serve  # noqa: F401
from .unfinished import unfinished

HEADS = {"class": kt.heads.Classifier, "number": kt.heads.Regressor, "labels": kt.heads.MultiLabel}
DEMO = {
    "image_size": 96,
    "validation": 0.05,
    "test": 0.2,
    "batch_size": 16,
    "learning_rate": 1e-2,
    "head_epochs": 5,
    "epochs": 7,
    "last": "block11",
    "norms": True,
    "deterministic": True,
}


def demo(options):
    """Trains on scikit-learn's scanned digits and shows what comes next."""
    started = time.monotonic()
    folder = pathlib.Path(options.output)
    photos = kt.data.digits(folder / "photos")
    run = next(p for p in (folder / f"run{n}" for n in ["", *(f"-{i}" for i in range(2, 10_000))]) if not p.exists())
    print(f"1,797 scanned digits in {photos}; EfficientNet-Lite0, trained on ImageNet, learns to read them.")
    settings = parse_train(["train", str(photos), "--output", str(run), "--seed", str(options.seed)])
    vars(settings).update(DEMO)
    train(settings)
    print(
        f"\n{time.monotonic() - started:.0f} seconds. Next, with your own photos, a folder for each class:\n"
        f"  keras-transfer train my_photos/ --output runs/mine\n"
        f"  keras-transfer evaluate runs/mine more_photos/\n"
        f"  keras-transfer predict runs/mine photo.jpg"
    )


def parse_train(arguments):
    """Returns the options of `keras-transfer train` with their defaults."""
    from .cli import parser

    return parser().parse_args(arguments)


def backbones(options):
    """Lists backbones."""
    print(kt.backbones.table(options.pattern))


def train(options):
    """Trains, measures and writes the run folder."""
    output = running.free(options.output)
    settings = {name: value for name, value in vars(options).items() if name not in ("command", "output")}
    with unfinished(output, settings) as beside:
        _train(options, settings, output, beside)


def _train(options, settings, output, beside):
    targets = _targets(options)
    weighting, sharing = naming.chosen(options, targets)
    keras.utils.set_random_seed(options.seed)
    training, valid, labels = _read(options, targets, "train")
    held_out = _held_out(options, targets, valid)
    model = kt.attach(_backbone(options), _heads(targets, labels, options.dropout), sharing=sharing)
    optimizer = keras.optimizers.Adam(options.learning_rate)
    how = {name: getattr(options, name) for name in ("head_epochs", "epochs", "seed", "deterministic")}
    how["last"] = _last(options)
    weighed = kt.data.balance(training) if options.balance else training
    baselines = None
    if options.baselines:
        baselines = alone.trained(model, weighed, valid, held_out, optimizer=optimizer, directory=beside, **how)
    learner = _learner(options, model, weighting)
    learner.compile(optimizer=optimizer, **kt.objectives(model))
    history = kt.fine_tune(learner, weighed, valid, directory=beside, **how)
    results, answers = _measured(model, *held_out) if held_out else ([], None)
    del settings["column"]  # which is `images` in a config
    size = list(kt.data.info(training).size)
    running.write_run(
        output,
        model,
        labels=labels,
        history=history,
        config={
            **settings,
            "targets": targets,
            "images": options.column,
            "folder": options.images,
            "image_size": size,
            "results": results,
            "weighting": weighting and type(weighting).__name__,
            "sharing": sharing and type(sharing).__name__,
            "gain": baselines and alone.gain(model, baselines, held_out[1]),
            "training": reports.training_counts(model, kt.data.info(training).targets),
            "fingerprint": kt.data.info(training).fingerprint,
        },
    )
    shutil.rmtree(beside)
    if held_out:
        reports.beside(output, model, held_out[1], part=held_out[0], history=history, answers=answers)
    print(f"\nThe model and all that belongs to it: {output}")


def evaluate(options):
    """Measures a run on further photos."""
    table, confused, heads = evaluating.evaluate(
        options.run, options.data, images=options.images, part=options.part, on_error=options.on_error
    )
    _say(table, confused, heads)
    if options.json:
        _write(options.json, _as_json(table))


def predict(options):
    """Says what is in photos."""
    for path in (options.csv, options.json):
        if path and pathlib.Path(path).resolve().is_relative_to(pathlib.Path(options.run).resolve()):
            raise ValueError(f"{path!r} lies in the run folder, whose files are not replaced. Give a file elsewhere.")
    table = kt.predict(options.run, options.files, on_error=options.on_error)
    print(table)
    if options.csv:
        _write(options.csv, table.to_csv())
    if options.json:
        _write(options.json, _as_json(table))


def features(options):
    """Writes the features of photos."""
    targets = _targets(options)
    backbone = _backbone(options)
    dataset, *_ = _read(options, targets, "train")
    store = kt.Store(dtype=options.dtype, engine=options.engine)
    written = extracting.extract(backbone, dataset, options.to, store=store, verbose=1)
    rows, units = written["features"].shape
    print(f"{rows:,} photos, {units:,} features each, with {', '.join(n for n in written if n != 'features')}: {options.to}")


def inspect(options):
    """Says what a SavedModel holds and does; returns 1 if it reaches outside."""
    found = kt.inspect(options.source)
    print(found)
    return 0 if found.safe else 1


def _learner(options, model, weighting):
    if weighting is None:
        return model
    last = _last(options)
    if options.epochs:  # what keeps gradients is made for the variables of the second phase
        last(model) if callable(last) else kt.unfreeze(model, last_quarter(backbone_of(model)) if last is None else last)
    return kt.MultiTask(model, weighting, at=options.at)


def _last(options):
    if not options.norms:
        return options.last
    last = options.last
    return lambda model: kt.unfreeze(
        model, last_quarter(backbone_of(model)) if last is None else last, norms=True
    )


def _targets(options):
    """`{column: kind}` from COLUMN:KIND; empty for a folder of classes."""
    is_folder = os.path.isdir(options.data)
    if is_folder == bool(options.targets):
        raise ValueError(
            f"{options.data!r} is a folder, whose folders are the classes: leave --targets out."
            if is_folder
            else f"{options.data!r} is a table, so --targets must name what to learn: --targets COLUMN:KIND, "
            "such as breed:class."
            if os.path.exists(options.data)
            else f"There is no file or folder {options.data!r}."
        )
    given = {"--split": options.split, "--images": options.images, "--column": options.column != "file"}
    if is_folder and any(given.values()):
        raise ValueError(f"{options.data!r} is a folder, whose folders are the classes: leave "
                         f"{', '.join(name for name in given if given[name])} out.")
    targets = {}
    for text in options.targets:
        column, _, kind = text.rpartition(":")
        if not column:
            raise ValueError(f"--targets takes COLUMN:KIND, such as breed:class. Received: {text!r}")
        try:
            _check.head_name(column)
        except ValueError as error:
            raise ValueError(f"{error} Rename the column in {options.data!r}, which names the head.") from None
        targets[column] = _check.one_of(kind, list(HEADS), f"kind of target {column!r}:")
    return targets


def _read(options, targets, part):
    """What `kt.data.photos` or `kt.data.table` returns for these options."""
    reading = {
        "size": options.image_size,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "part": part,
        "fit": options.fit,
        "on_error": options.on_error,
        "test": options.test,
        "augment": [keras.layers.RandomFlip("horizontal")] if options.flip else None,
    }
    if options.validation is not None:
        reading["validation"] = options.validation
    if not targets:
        return kt.data.photos(options.data, **reading)
    return kt.data.table(
        options.data, targets=targets, images=options.column, folder=options.images, split=options.split, **reading
    )


def _heads(targets, labels, dropout):
    if not targets:
        return kt.heads.Classifier(labels, dropout=dropout)
    if len(targets) == 1:
        ((name, kind),) = targets.items()
        return HEADS[kind](labels, dropout=dropout, name=name)
    return {name: HEADS[kind](labels[name], dropout=dropout) for name, kind in targets.items()}


def _backbone(options):
    size = (options.image_size, options.image_size, 3)
    return kt.backbone(
        options.backbone, input_shape=size, weights=None if options.weights == "none" else options.weights
    )


def _held_out(options, targets, valid):
    """The test set and its name; else the validation set; else None."""
    if options.test or options.split is not None:
        try:
            return "test", _read(options, targets, "test")[0]
        except ValueError:
            if options.test:
                raise
    return ("validation", valid) if valid is not None else None


def _measured(model, part, dataset):
    answers = evaluating.answers(model, dataset)
    table, confused = evaluating.scores(model, dataset, answers)
    print(f"\nOn the {part} photos, which were held out:")
    _say(table, confused, heads_of(model))
    return [{"part": part, **row} for row in table], answers


def _say(table, confused, heads):
    print(table)
    for name, (truth, predicted) in confused.items():
        mistakes = evaluating.confusion(heads[name].class_names, truth, predicted)
        print(f"\nConfusion of {name}:\n{mistakes}" if mistakes else f"\n{name}: no mistakes.")


def _as_json(table):
    """JSON knows no NaN: a figure without labels behind it is null."""
    rows = [{key: None if value != value else value for key, value in row.items()} for row in table]
    return json.dumps(rows, indent=1, ensure_ascii=False)


def _write(path, text):
    with atomic(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))  # names of files come back as they are
    print(f"Written: {path}")
