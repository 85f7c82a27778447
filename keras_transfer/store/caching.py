"""`kt.cache_features`: what is frozen is computed once, kept, and read again in any order."""
import dataclasses
import pathlib
import shutil
import tempfile
import uuid
import weakref

import filelock
import keras

from .. import _check, _compat, distributing
from ..data.describing import described
from ..network import check_methods, is_inlined, model_of
from . import keys, matching, reading, sources
from .engines.choosing import candidates
from .engines.unsuitable import Unsuitable
from .filling import Filler
from .shards import Layout, Shards, lock_of, rows_of, unwritable
from .splitting import split


@dataclasses.dataclass(frozen=True)
class Store:
    """How features are computed and kept, for `kt.cache_features` and `kt.fine_tune(cache=...)`.

    Args:
        dtype: "float32", or "bfloat16": half the space, three significant digits.
        engine: "tensorflow"; "openvino" (`keras-transfer[openvino]`), on processors as fast or faster; or "auto": OpenVINO
            where it's installed, works, and there is no GPU.
        views: how many passes over an augmented data set are kept; the k-th epoch reads view k mod `views`.
        key: a word for what the data are, for data sets that aren't of `kt.data`: it replaces the pass over them that
            tells whether they are the same as before. Give each data set its own, and another one when it changes.

    Raises:
        ValueError: an argument is out of range.
    """

    dtype: str = "float32"
    engine: str = "auto"
    views: int = 1
    key: str | None = None

    def __post_init__(self):
        _check.one_of(self.dtype, ("float32", "bfloat16"), "dtype")
        _check.one_of(self.engine, ("auto", "tensorflow", "openvino"), "engine")
        _check.whole(self.views, "views", least=1)
        if self.key is not None and not isinstance(self.key, str):
            raise ValueError(f"`key` must be text. Received: {self.key!r}")


def cache_features(model, dataset, directory=None, *, shuffle=False, store=Store(), verbose="auto"):
    """Runs the frozen part of `model` over a data set once, and returns the features and the rest of the model.

    Training the rest on the features is training the model, in a fraction of the time: the same batches in the same
    order give the same losses. Any frozen part will do, also a backbone of which the last blocks train. In a plain Keras
    model dropout draws in frozen parts, too, and isn't cached; what was called with `training=False` is, without dropout.

    The features stay in `directory`, keyed by the frozen graph, its weights, `store` and the data; checked sums guard
    them. The same call finds them again, a run that was killed goes on where it was, what is damaged is computed anew,
    and two runs with one directory wait for each other. Several workers, which all have to make the call, share the work
    if they see one folder there; else each computes all.

    Args:
        model: what `kt.attach` returned, or any Functional model, with its flags set.
        dataset: a set of `kt.data`; or any finite `tf.data.Dataset` of batches, `keras.utils.PyDataset` or tuple of
            arrays that gives the same elements in every pass. A PyDataset is read by one thread, whatever its `workers`.
        directory: a folder; None: a temporary one that goes with the returned data set.
        shuffle: whether the rows come in a new order in each epoch. A shuffled set of `kt.data` keeps its own order
            in any case.
        store: a `kt.Store`.
        verbose: whether a line tells how large the features are and how long they take: "auto", 0, 1 or 2.

    Returns:
        `(features, tail)`: a `tf.data.Dataset` with the elements of `dataset` in which features stand for x (a tensor,
        or a tuple where several cross the cut; `(x,)` then for a set of x alone) and tuples for lists, in batches of the
        same size; and a Functional `keras.Model` that shares its layers with `model`.

    Raises:
        TypeError: `model` isn't Functional, or `store` no `kt.Store`.
        ValueError: nothing is frozen; the model has a `train_step`, `compute_loss` or the like of its own, which the rest
            of it wouldn't; or the data have no end, give other elements in the next pass, or changed meanwhile.
        OSError: the folder can't be written, or has too little space; what was computed stays.

    Example:
        >>> kt.freeze(model)
        >>> features, tail = kt.cache_features(model, train, "cache", shuffle=True)
        >>> tail.compile(optimizer="adam", **kt.objectives(tail))
        >>> tail.fit(features, epochs=30)  # trains the heads of `model`
    """
    given, model = model, _functional(model)
    check_methods(given)
    prefix, tail = split(model)
    if prefix is None:
        raise ValueError(f"Nothing at the input of {model.name!r} is frozen, so there are no features to keep. Call "
                         "`kt.freeze(model)` first; what augments photos inside the model must come out of it, a nested "
                         "model that is called with training=False is cached whole or not at all, and no features are kept "
                         "that carry a mask to layers which train.")
    return kept(prefix, dataset, directory, shuffle, store, verbose), tail


def kept(prefix, dataset, directory=None, shuffle=False, store=Store(), verbose=0, make=None):
    """Returns the dataset of what `prefix` gives for the elements of `dataset`. Arguments as for `cache_features`.

    `make` may be what `maker` has returned for `prefix`, so that several data sets have one engine.
    """
    make = make or maker(prefix)
    source = sources.source_of(dataset, _checked(store).views, store.key)
    if directory is not None and store.views > 1 and store.key is None and source.info is None:
        raise ValueError("Several passes of a data set that isn't of kt.data can't be told from others, so that nobody would "
                         "find them in `directory` again. Say what the data are, with store=kt.Store(views=..., key=...), "
                         "or leave `directory` out.")
    matching.check_inputs(prefix, source)
    source.check_unchanged()
    columns = matching.columns_of(prefix, source, store)
    network, mark = (None, None) if directory is None else (
        (keys.of_network(prefix), matching.names_for(prefix, source)), source.mark())
    rows = rows_of(Layout("", columns, 1).row_bytes, source.step, source.count)  # the mark of foreign data counts them
    strategy = prefix.distribute_strategy
    shared = directory is not None and distributing.is_shared(directory, strategy)  # else each worker computes all of it
    worker = distributing.position(strategy) if shared and source.repeatable else (0, 1)
    for engine, more in _with_more(candidates(store.engine)):
        key = "" if directory is None else keys.of_words(
            network, store.dtype, engine.name, mark, source.views, columns, rows)
        shards = Shards(_folder(directory, key), Layout(key, columns, rows, source.views))
        if directory is None:
            weakref.finalize(shards, shutil.rmtree, shards.path, ignore_errors=True)
        try:
            filler = Filler(shards, source, lambda: make(engine, store.dtype, source.step), worker, verbose)
            counts = _complete(filler, verbose)
            break
        except Unsuitable as error:
            if not more:
                raise
            filler.say(_instead(error))
    result, epoch, reader = reading.dataset(shards, counts, source, prefix.output, shuffle)
    if source.info is None:
        return result
    fingerprint = key or uuid.uuid4().hex  # of features that go with the process, others must not be found again
    return described(result, dataclasses.replace(
        source.info, epoch=epoch, fingerprint=fingerprint, reader=None if source.info.random else reader))


def features(model, dataset, *, store=Store(), verbose=0):
    """Returns features as NumPy arrays, for scikit-learn and the like.

    Args:
        model: what `kt.backbone` returned, or `kt.attach`: then the features are what its heads read, or what a layer
            `sharing` reads. Which layers are frozen plays no part; all run in inference mode.
        dataset: as for `cache_features`, or one without labels. A shuffled set of `kt.data` without random augmentation
            is read in the order of `kt.data.info(dataset).files`.
        store: a `kt.Store`: dtype and engine.
        verbose: as in `cache_features`.

    Returns:
        An array `(rows, units)` for a data set of x; `(features, labels)` or `(features, labels, weights)` for one of
        (x, y) or (x, y, weights), in its structure. Where `sharing` taps the backbone and each head has features of
        its own, as with `kt.multitask.CrossStitch`, the features are a dict `{name of the head: array}`. Of a model
        without heads whose outputs are a dict they are that dict, as from `predict`.

    Example:
        >>> x, y = kt.features(kt.backbone("EfficientNetLite0"), train)
        >>> sklearn.linear_model.LogisticRegression(max_iter=1000).fit(x, y)
    """
    model = _functional(model)
    if not is_inlined(model):
        raise ValueError(f"{type(model).__name__} {model.name!r} has a `call` of its own, of which its graph doesn't tell. Give "
                         "keras.Model(inputs, model(inputs)), with inputs = keras.Input(shape).")
    return arrays_of(keras.Model(_inputs(model), _read_by_heads(model), name="prefix"), dataset, store, verbose)


def _inputs(model):
    """The inputs in the structure in which x comes; a list for a dict by their names, as x may hold more than they take."""
    structure = _compat.input_structure(model)
    by_name = isinstance(structure, dict) and sorted(structure) == _compat.input_names(_compat.graph(model))
    flat = by_name and all(isinstance(tensor, keras.KerasTensor) for tensor in structure.values())
    return model.inputs if flat else structure


def _read_by_heads(model):
    """What the joints give that `attach` makes: a tensor, or `{name of a head: tensor}`; the outputs, where there are none."""
    layers = {layer.name: layer for layer in model.layers}
    for joints in ("features", {head: f"features_{head}" for head in _compat.graph(model).output_names}):
        if {"backbone", *keras.tree.flatten(joints)} <= layers.keys():
            return keras.tree.map_structure(lambda name: _compat.outputs_of_uses(model, layers[name])[0][0], joints)
    outputs = _compat.output_structure(_compat.graph(model))
    return outputs if isinstance(outputs, dict) else model.outputs


def _checked(store):
    if not isinstance(store, Store):
        raise TypeError(f"`store` must be a kt.Store. Received: {store!r}")
    return store


def maker(prefix):
    """Returns a function that makes an engine for `prefix`, of (class, dtype, rows a batch); but one of a class and dtype."""
    made = {}

    def make(engine, dtype, rows):
        if (engine, dtype) not in made:
            made[engine, dtype] = engine(prefix, dtype, rows)
        return made[engine, dtype]

    return make


def arrays_of(prefix, dataset, store, verbose=0, make=None):
    """Returns the elements of `dataset` as arrays, with what `prefix` gives in place of x. Arguments as for `kept`."""
    make, store = make or maker(prefix), _checked(store)
    source = sources.source_of(dataset, key="unkeyed")
    matching.check_inputs(prefix, source)
    source.check_unchanged()
    columns = matching.columns_of(prefix, source, store)
    layout = Layout("", columns, rows_of(Layout("", columns, 1).row_bytes, source.step, source.count))
    for engine, more in _with_more(candidates(store.engine)):
        with tempfile.TemporaryDirectory(prefix="keras-transfer-") as folder:
            shards = Shards(folder, layout)
            try:
                filler = Filler(shards, source, lambda: make(engine, store.dtype, source.step), verbose=verbose)
                return reading.arrays(shards, filler.fill()[0], source, prefix.output)
            except Unsuitable as error:
                if not more:
                    raise
                filler.say(_instead(error))


def _instead(error):
    """What is said where "auto" goes on with TensorFlow."""
    reason = str(error).removesuffix(' Give engine="tensorflow".').removesuffix(".")
    return f"{reason}. TensorFlow runs it."


def _functional(model):
    model = model_of(model)
    if not isinstance(model, keras.Model) or _compat.graph(model) is None:
        raise TypeError("`model` must be what kt.attach or kt.backbone returned, or another Functional or Sequential model that is "
                        f"built. Received: {type(model).__name__}")
    return model


def _folder(directory, key):
    """The folder of this store."""
    if directory is None:
        return pathlib.Path(tempfile.mkdtemp(prefix="keras-transfer-"))
    path = pathlib.Path(directory, key[:16])
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(directory, error) from error
    return path


def _complete(filler, verbose):
    """Returns the rows of each view of a store that is complete now."""
    shards, known = filler.shards, filler.source.count
    if (counts := shards.counts(known)) is not None:
        return counts  # without a lock: a complete store may lie where nothing can be written
    lock = lock_of(shards.path, filler.worker[0])
    try:
        lock.acquire(timeout=1)
    except filelock.Timeout:
        if verbose:
            print(f"Another run is filling {shards.path}; this one waits for it.")
        lock.acquire()
    except OSError as error:
        raise unwritable(shards.path, error) from error
    try:
        return shards.counts(known) or filler.fill()
    finally:
        lock.release()


def _with_more(items):
    """Yields each item, and whether more follow."""
    yield from ((item, k + 1 < len(items)) for k, item in enumerate(items))
