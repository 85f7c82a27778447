"""Training on features instead of on what they are computed from."""
import dataclasses
import math

import keras

from .. import data, distributing
from . import keys
from .caching import arrays_of, kept, maker
from .filling import size
from .shards import NoRoom, held, room
from .sources import is_finite
from .splitting import split, width

IN_MEMORY = 1 << 30  # bytes of features of arrays, which stay arrays


def on_features(model, train, validation, store, only_exact, directory=None, verbose=0):
    """Splits `model` where training begins, and puts features in the place of x in both data sets.

    Args:
        model: a Functional `keras.Model` with its flags set.
        train: what `kt.fine_tune` takes.
        validation: the same, or None.
        store: a `kt.Store`.
        only_exact: whether to do it only where training the tail on the features is training the model: for sets of
            `kt.data` without random augmentation, and for arrays without NaN; and where there is space for the features.
        directory: where they are kept; None: a temporary folder.
        verbose: as in `kt.cache_features`.

    Returns:
        `(tail, train, validation)`, or None where it can't be done.
    """
    prefix, tail = split(model)
    if prefix is None:
        return None
    sets = [part for part in (train, validation) if part is not None]
    if only_exact and not all(map(is_exact, sets)):
        return None
    if only_exact and _are_refused(prefix, sets, directory, model.distribute_strategy, verbose):
        return None
    # validation is one pass, and no other data set may have its key
    plain = dataclasses.replace(store, views=1, key=store.key and f"{store.key}, validation")
    make = maker(prefix)
    try:
        return (tail, _replaced(prefix, train, directory, store, verbose, make),
                None if validation is None else _replaced(prefix, validation, directory, plain, verbose, make))
    except NoRoom as error:  # other features in `directory` were counted as these, or others write as well
        if not only_exact or distributing.is_several(model.distribute_strategy):
            raise
        if verbose:
            print(f"{error} Until then all is computed in every epoch.")
        return None


def _are_refused(prefix, sets, directory, strategy, verbose):
    """Whether something speaks against features, and tells what; the chief decides for all workers."""
    reason = distributing.from_chief(_reason(prefix, sets, directory).encode(), strategy).decode()
    if reason and verbose:
        print(reason)
    return bool(reason)


def _reason(prefix, sets, directory):
    """What speaks against features of these sets, or ""."""
    weight = 4 * sum(_rows(part) * sum(map(width, prefix.outputs)) for part in sets)
    arrays = isinstance(sets[0], tuple)
    free = min(IN_MEMORY, room(None)) if arrays else room(directory) + held(directory)
    if not math.isfinite(weight):
        return "The features have no fixed size, so they are not kept: all is computed in every epoch."
    if weight > free:
        return (f"The features would take {size(weight)}, more than there is room for: all is computed in every epoch."
                + " Another `directory` may have room." * (not arrays))
    if not all(is_finite(part[0]) for part in sets if isinstance(part, tuple)):
        return "The data hold NaN or infinite numbers in x, so no features are kept: all is computed in every epoch."
    if directory is not None and not arrays:
        try:
            keys.of_graph(prefix)
        except ValueError as error:
            return f"{error} Until then all is computed in every epoch."
    return ""


def is_exact(part):
    """Whether every pass over a data set gives the same, as far as that is known."""
    known = data.info(part)
    return isinstance(part, tuple) or known is not None and known.reader is not None


def _rows(part):
    if isinstance(part, tuple):
        return len(keras.tree.flatten(part)[0])
    known = data.info(part)
    return 0 if known is None else len(known.files)


def _replaced(prefix, part, directory, store, verbose, make):
    if isinstance(part, tuple):  # `fit` shuffles arrays in its own way
        return arrays_of(prefix, part, store, verbose, make)
    mixed = isinstance(part, keras.utils.PyDataset)  # `fit` shuffles its batches
    return kept(prefix, part, directory, mixed, store, verbose, make)
