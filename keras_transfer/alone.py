"""Each task by itself, trained as the model of all tasks is: what the gain of training together is measured against."""
import dataclasses
import hashlib
import pathlib

import numpy as np

from .assembling import heads_of, objectives
from .data.describing import described, info
from .fitting import is_missing
from .multitask import gaining
from .rates import remade
from .recipe import fine_tune


def trained(model, train, validation, held_out, *, optimizer, directory=None, **recipe):
    """Trains a model for each head by `kt.fine_tune`, and returns its metrics on what was held out.

    Like `kt.multitask.baselines`, but with both phases, so that the one difference to `kt.fine_tune(model, ...)` is that the
    backbone has one task to serve. `model`, not trained yet, is left as it is.

    Args:
        model: what `kt.attach` returned with a dict of heads.
        train, validation: `tf.data.Dataset` with dicts of labels; validation may be None.
        held_out: `(name, dataset)` of what to measure on; None is refused.
        optimizer: whose settings each of the models trains with.
        directory: a folder for checkpoints, or None.
        **recipe: further arguments of `kt.fine_tune`.

    Returns:
        `{task: {metric: value}}`, which `kt.multitask.gain` takes.

    Example:
        >>> baselines = trained(model, train, valid, ("test", test), optimizer=keras.optimizers.Adam(1e-3), epochs=5)
    """
    if held_out is None:
        raise ValueError("A comparison needs photos that were held out, and there are none. Give --validation or --test a "
                         "share, or leave --baselines out.")
    found = {}
    for task, head in heads_of(model).items():
        alone = gaining.single_task(model, task)
        alone.compile(optimizer=remade(optimizer), **objectives(alone))
        if recipe.get("verbose", "auto"):
            print(f"\n{task} alone:")
        place = None if directory is None else pathlib.Path(directory, f"alone_{task}")
        measured = only(validation, task)
        known = None if measured is None else info(measured)
        if known is not None and is_missing(np.asarray(known.targets[task]), head).all():
            measured = None  # only other targets have labels there
        fine_tune(alone, only(train, task), measured, directory=place, **recipe)
        logs = alone.evaluate(only(held_out[1], task), return_dict=True, verbose=0)
        found[task] = {metric.name: float(logs[metric.name]) for metric in head.make_metrics()}
    return found


def gain(model, baselines, dataset):
    """Says what training together gained, and returns it as a config holds it; None where it can't be told.

    Args:
        model: what `kt.fine_tune` has trained.
        baselines: what `trained` returned.
        dataset: what these were measured on.

    Returns:
        A dict: `rows`, `mean` and `by_task` of `kt.multitask.gain`.
    """
    try:
        found = gaining.gain(model, baselines, dataset)
    except ValueError as error:  # after all the training; the model is fine
        print(f"\nNo comparison with each target alone: {error}")
        return None
    print(f"\nAgainst a model for each target alone:\n{found}")
    return found.as_dict()


def only(dataset, task):
    """Returns a data set with the labels and sample weights of one task, and what is known of it; None for None."""
    def chosen(x, y, *weights):
        return x, {task: y[task]}, *({task: w[task] if isinstance(w, dict) else w} for w in weights)

    known = None if dataset is None else info(dataset)
    if known is None:
        return None if dataset is None else dataset.map(chosen)
    reader = known.reader and (lambda rows, batch_size: known.reader(rows, batch_size).map(chosen))
    mark = hashlib.sha256(f"{known.fingerprint}, {task}".encode()).hexdigest()
    return described(dataset.map(chosen), dataclasses.replace(
        known, reader=reader, fingerprint=mark, labels={task: known.labels[task]}, targets={task: known.targets[task]}))
