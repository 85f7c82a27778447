"""How well a model does on data that it didn't see: one figure for each head, and what it takes for what."""
import collections
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from . import _check
from ._table import Table
from .assembling import heads_of
from .data import columns as table_columns
from .data import folders, scanning, streaming, targets as label_columns
from .data.describing import Info, described, info
from .data.tables import WORDS
from .heads import MultiLabel, Regressor
from .loading import load
from .running import read_run

WHOLE_CONFUSION = 12  # classes: with more, only the most frequent mistakes are shown


def answers(model, dataset):
    """Returns what is true and what the model says: `{head: (truth, outputs)}`, arrays `(rows, ...)`.

    Args:
        model: what `kt.attach` returned.
        dataset: a set of `kt.data` (a shuffled one is read in order, without augmentation); or any finite
            `tf.data.Dataset`, `keras.utils.PyDataset` or tuple of arrays of (x, y). Sample weights play no part.

    Raises:
        ValueError: the set is empty.
    """
    names, known = list(heads_of(model)), info(dataset)
    if known is not None and known.targets:  # those of a mixture are in its elements
        dataset = in_order(known) if known.epoch is not None else dataset
        truth, outputs = known.targets, model.predict(dataset.map(lambda x, *_: x), verbose=0)
    else:
        pairs = [(y, _predicted(model, x)) for x, y in batches(dataset)]
        if not pairs:
            raise ValueError("The data set is empty, so there is nothing to measure.")
        truth, outputs = (keras.tree.map_structure(lambda *parts: np.concatenate([np.asarray(p) for p in parts]), *column)
                          for column in zip(*pairs))
    outputs = outputs if isinstance(outputs, dict) else {names[0]: outputs}
    truth = truth if isinstance(truth, dict) else {names[0]: truth}
    return {name: (np.asarray(truth[name] if name in truth else next(iter(truth.values()))), outputs[name])
            for name in names}


def _predicted(model, x):
    if model.distribute_strategy.num_replicas_in_sync == 1:
        return model.predict_on_batch(x)
    return model.predict(x, batch_size=len(keras.tree.flatten(x)[0]), verbose=0)  # each replica predicts a share, not all of it


def in_order(known):
    """Returns the photos that an `Info` tells of, in order and without augmentation, in batches of 32."""
    samples = streaming.Samples(known.files, known.files, known.targets, plain=len(known.targets) == 1)
    return streaming.ordered(samples, known.size, known.fit, 32)


def batches(dataset):
    """Yields (x, y) of a data set, batch by batch, y as arrays."""
    if isinstance(dataset, tuple):
        dataset = tf.data.Dataset.from_tensor_slices(dataset[:2]).batch(32)
    elif isinstance(dataset, keras.utils.PyDataset):
        dataset = map(dataset.__getitem__, range(len(dataset)))
    elif dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("The data set has no end. Give a finite one, such as `dataset.take(100)`.")
    for x, y, *_ in dataset:
        yield x, keras.tree.map_structure(np.asarray, y)


def scores(model, dataset, given=None):
    """Returns a figure for each head, and the predictions behind it.

    Args:
        model: what `kt.attach` returned.
        dataset: as for `answers`.
        given: what `answers` returned; None: it is computed.

    Returns:
        A `Table` with the columns `head`, `metric` ("accuracy" or "mae"), `value` and `labels` (how many there were),
        and a dict `{head: (truth, predicted)}` of class numbers for heads with classes.
    """
    rows, confused = [], {}
    given = answers(model, dataset) if given is None else given
    for name, head in heads_of(model).items():
        truth, said = given[name]
        if isinstance(head, Regressor):
            error = np.abs(said - truth.reshape(said.shape))
            rows.append(_row(name, "mae", error, ~np.isnan(error)))
        elif isinstance(head, MultiLabel):
            rows.append(_row(name, "accuracy", (said > 0) == (truth > 0.5), truth >= 0))  # neither NaN nor -1
        else:
            predicted = keras.ops.convert_to_numpy(head.probabilities(said)).argmax(-1)
            truth = truth.reshape(predicted.shape)  # Keras takes a column, too
            rows.append(_row(name, "accuracy", predicted == truth, truth >= 0))
            confused[name] = truth[truth >= 0], predicted[truth >= 0]
    return Table(rows), confused


def _row(name, metric, values, seen):
    value = float(values[seen].mean()) if seen.any() else float("nan")
    return {"head": name, "metric": metric, "value": value, "labels": int(seen.sum())}


def confusion(class_names, truth, predicted):
    """Returns what was taken for what.

    Args:
        class_names: names in the order of the class numbers.
        truth: class numbers `(photos,)`.
        predicted: class numbers `(photos,)`.

    Returns:
        A `Table`: for up to 12 classes a row for each true class and a column for each predicted one, for more the
        ten most frequent mistakes.
    """
    pairs = collections.Counter(zip(map(int, truth), map(int, predicted)))
    if len(class_names) <= WHOLE_CONFUSION:
        return Table([{"true \\ predicted": name, **{other: pairs[i, j] for j, other in enumerate(class_names)}}
                      for i, name in enumerate(class_names)])
    wrong = [(pair, n) for pair, n in pairs.most_common() if pair[0] != pair[1]][:10]
    return Table([{"true": class_names[i], "predicted": class_names[j], "photos": n} for (i, j), n in wrong])


def evaluate(run, source, *, images=None, part=None, batch_size=32, on_error="raise"):
    """Returns the scores of a run folder on a folder of photos or a table.

    Args:
        run: the path of a run folder.
        source: a folder with a folder of photos for each class, or a CSV file with the columns of the run.
        images: the folder that the photos of a CSV file lie in; None: beside the file.
        part: with a run that has a split column: only the rows of that part ("train", "valid", "test").
        batch_size: how many photos are held in memory at once.
        on_error: "raise" or "skip", as in `kt.data.photos`.

    Returns:
        `(scores, confused, heads)`: see `scores`; the heads of the model by name.

    Raises:
        FileNotFoundError: something is missing.
        ValueError: a class is unknown to the run, a column is missing, or photos can't be read.
    """
    model, dataset, _ = opened(run, source, images=images, part=part, batch_size=batch_size, on_error=on_error)
    return *scores(model, dataset), heads_of(model)


def opened(run, source, *, images=None, part=None, batch_size=32, on_error="raise"):
    """Returns the model of a run folder, the data as it wants them, and its config. Arguments as for `evaluate`."""
    config, _ = read_run(run)
    model = load(run)
    heads = heads_of(model)
    files, cells = (_folder if os.path.isdir(source) else _table)(pathlib.Path(source), config, heads, images, part)
    good, _ = scanning.readable(files, files, on_error)
    files, kept = [f for f, keep in zip(files, good) if keep], np.flatnonzero(good)
    targets = {name: _encoded(name, head, [cells[name][i] for i in kept]) for name, head in heads.items()}
    size = tuple(config["image_size"])
    samples = streaming.Samples(files, files, targets, plain=len(targets) == 1)
    dataset = streaming.ordered(samples, size, config["fit"], batch_size)
    return model, described(dataset, Info("", False, None, None, targets, files, size, config["fit"])), config


def _folder(folder, config, heads, images, part):
    for argument, given in (("part", part), ("images", images)):
        if given is not None:
            raise ValueError(f"`{argument}` is for tables. All photos of the folder {str(folder)!r} are measured, those that "
                             "the run was trained on included; the run's own test result is in its config.json.")
    if len(heads) > 1 or config["targets"]:
        raise ValueError(f"The run was trained on a table with the columns {', '.join(heads)}, and {str(folder)!r} is a "
                         "folder. Give a CSV file with these columns.")
    names, classes = folders.listed(folder)
    return [os.fspath(folder / name) for name in names], {next(iter(heads)): classes}


def _table(path, config, heads, images, part):
    if not config["targets"]:
        raise ValueError(f"The run was trained on a folder of classes, and {str(path)!r} is no folder.")
    rows = table_columns.read(path)
    cells = {name: rows.column(name, "targets") for name in heads}
    folder = rows.folder if images is None else pathlib.Path(images)
    for name in (name for name, head in heads.items() if isinstance(head, Regressor)):
        cells[name] = [None if cell is None else label_columns.number(cell, place, f"{rows.title}, column {name!r}")
                       for cell, place in zip(cells[name], rows.places)]
    files = [os.fspath(folder / cell) for cell in rows.paths(config["images"], "images")]
    if part is not None:
        if config["split"] is None:
            raise ValueError("`part` needs a run that was trained with a split column; this one was not.")
        words = [str(word).lower() for word in rows.column(config["split"], "split")]
        keep = [i for i, word in enumerate(words) if WORDS.get(word) == part]
        files, cells = [files[i] for i in keep], {name: [column[i] for i in keep] for name, column in cells.items()}
    if not files:
        raise ValueError(f"{str(path)!r} has no rows of the part {part!r}.")
    return files, cells


def _encoded(name, head, cells):
    """Cells as the arrays that `kt.data.table` makes, with the classes of the run and not of this table."""
    if isinstance(head, Regressor):
        return np.array([np.nan if cell is None else cell for cell in cells], "float32")
    number = {label: i for i, label in enumerate(head.class_names)}
    if isinstance(head, MultiLabel):
        rows = [None if cell is None else label_columns.labels_in(cell, name) for cell in cells]
        known = [[_number(label, number, name) for label in row or []] for row in rows]
        return np.array([np.full(head.units, np.nan) if row is None else np.isin(np.arange(head.units), places)
                         for row, places in zip(rows, known)], "float32")
    return np.array([-1 if cell is None else _number(str(cell), number, name) for cell in cells], "int32")


def _number(label, number, name):
    if label not in number:
        raise ValueError(f"Head {name!r} of the run knows no class {label!r}.{_check.suggestion(label, number)}")
    return number[label]
