"""`kt.strategy`: one line from one processor to many machines, and what the workers of a cluster must agree on."""
import concurrent.futures
import contextlib
import functools
import os
import pathlib
import re
import tempfile
import uuid

from . import _check
from .clusters import ROLES, cluster

_KINDS = ("auto", "default", "mirrored", "multi_worker", "tpu")
_CHUNK = 1 << 24  # words of 4 bytes that are sent at once
_made = {}        # kind -> its one strategy in this process


def strategy(kind="auto"):
    """Returns the `tf.distribute.Strategy` for what this process has; models made in its scope train on all of it.

    A process has one strategy of each kind, so a second call returns the same object (collectives of a second one
    fail in TensorFlow). For several machines it has to be called before TensorFlow has run anything.

    Args:
        kind: "auto": with a `TF_CONFIG` of several workers "multi_worker", with several GPUs "mirrored", else
            "default". "mirrored": `MirroredStrategy` over the GPUs of this machine. "multi_worker":
            `MultiWorkerMirroredStrategy` over the workers in `TF_CONFIG`; it waits until all of them have started.
            "default": no distribution. "tpu", "tpu:NAME" or "tpu:grpc://ADDRESS": `TPUStrategy`.

    Returns:
        A `tf.distribute.Strategy`: build, compile, train, save and export inside `with strategy.scope():`.

    Raises:
        ValueError: `kind` is unknown, `TF_CONFIG` is wrong, or there is no such TPU.
        RuntimeError: TensorFlow was used before it could join the cluster, or its port is taken.

    Example:
        >>> with kt.strategy("auto").scope():
        ...     model = kt.attach(kt.backbone("ResNet50"), kt.heads.Classifier(labels))
    """
    name, _, address = str(kind).partition(":")
    _check.one_of(name if name == "tpu" else kind, _KINDS, "kind of strategy")
    if name == "auto":
        kind = name = _chosen()
    if name == "default":
        import tensorflow as tf

        return tf.distribute.get_strategy()
    if kind not in _made:
        made = {"mirrored": _mirrored, "multi_worker": _multi_worker}.get(name)
        _made[kind] = _tpu(address) if made is None else made()
    return _made[kind]


def _chosen():
    import tensorflow as tf

    if sum(map(len, cluster().values())) > 1:
        return "multi_worker"
    return "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "default"


def _mirrored():
    import tensorflow as tf

    return tf.distribute.MirroredStrategy()


def _multi_worker():
    import tensorflow as tf

    workers = cluster()
    if not workers:
        raise ValueError('`TF_CONFIG` is not set, so it is not known which workers there are. Set it on each of them: '
                         '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}.')
    addresses = ", ".join(sum(workers.values(), []))
    print(f"Joining the cluster of `TF_CONFIG`, when all its workers have started: {addresses}", flush=True)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, tf.errors.OpError) as error:
        raise RuntimeError(f"This worker can't join the cluster of `TF_CONFIG` ({_first_line(error)}). Call kt.strategy "
                           "before anything else with TensorFlow, and see that its own port is free.") from error


def _tpu(address):
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address or None)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, ImportError, OSError, tf.errors.OpError) as error:
        which = f"TPU {address!r}" if address else "TPU"
        raise ValueError(f"There is no {which} within reach ({_first_line(error)}). Give its name or address as in "
                         '"tpu:NAME" or "tpu:grpc://10.0.0.2:8470", or "auto" to train without one.') from error


def _first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


# --- the workers among themselves


def is_several(strategy):
    """Whether a strategy spans several processes."""
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    return len(strategy.cluster_resolver.cluster_spec().as_dict()) > 0 and strategy.cluster_resolver.task_id is not None


def is_chief(strategy):
    """Whether this process is the one that writes: the chief, or else the first worker; alone it always is."""
    return position(strategy)[0] == 0


def scratch():
    """Returns a free path for what this worker has to write along with the chief, and is not kept."""
    return pathlib.Path(tempfile.gettempdir()) / f"keras_transfer_{os.getpid()}" / "1"


def outside_scope(function):
    """Decorator: what is called in the scope of a strategy runs outside of it, in a thread that has entered none."""
    @functools.wraps(function)
    def call(*args, **options):
        import tensorflow as tf

        if not tf.distribute.has_strategy():
            return function(*args, **options)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(function, *args, **options).result()

    return call


def summed(value, strategy):
    """Within a step on each replica: the sum of a tensor, or a list of them, over all replicas."""
    import tensorflow as tf

    if strategy.num_replicas_in_sync == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def in_replica(function, *args):
    """Calls a function; in a strategy's scope but outside of a step on each replica, and returns the first's result."""
    import tensorflow as tf

    if not tf.distribute.in_cross_replica_context():
        return function(*args)
    here = tf.distribute.get_strategy()
    return tf.nest.map_structure(lambda value: here.experimental_local_results(value)[0], here.run(function, args=args))


def from_chief(content, strategy):
    """Returns the bytes that the chief gives, on every worker; all of them have to call it."""
    if not is_several(strategy):
        return content
    import numpy as np
    import tensorflow as tf

    def sent(words):
        def one(words):
            context = tf.distribute.get_replica_context()
            first = tf.equal(context.replica_id_in_sync_group, 0)  # the chief's
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(first, words, tf.zeros_like(words)))

        return _run(one, words, strategy)

    length = int(sent(np.array([len(content)], "int64"))[0])
    words = np.frombuffer(content[:length].ljust(-(-length // 4) * 4, b"\0"), "int32")
    parts = [sent(words[start:start + _CHUNK]) for start in range(0, len(words), _CHUNK)]
    return b"".join(part.tobytes() for part in parts)[:length]


def anywhere(flag, strategy):
    """Returns whether a flag is set on any worker; all of them have to call it."""
    if not is_several(strategy):
        return flag
    import numpy as np
    import tensorflow as tf

    def one(mine):
        return summed(tf.identity(mine), strategy)  # what comes in has no device, which is where it would be summed

    return bool(_run(one, np.array([flag], "int32"), strategy)[0])


def _run(function, words, strategy):
    """Calls a function on every replica, and returns what the first one here gives."""
    import tensorflow as tf

    with lost_workers_told(strategy):
        run = tf.function(lambda words: strategy.run(function, args=(words,)))
        return strategy.experimental_local_results(run(tf.constant(words)))[0].numpy()


def position(strategy):
    """Returns the number of this worker among all that train one model, from 0 (the chief), and how many they are."""
    if not is_several(strategy):
        return 0, 1
    here = strategy.cluster_resolver
    roles = here.cluster_spec().as_dict()
    tasks = [(role, number) for role in ROLES for number in range(len(roles.get(role, [])))]
    return tasks.index((here.task_type, here.task_id)), len(tasks)


def is_shared(directory, strategy):
    """Whether all workers see the same folder at `directory`, which is made; all of them have to call it."""
    number, count = position(strategy)
    if count == 1:
        return True
    directory = pathlib.Path(directory)
    mark = directory / f".{from_chief(uuid.uuid4().hex.encode(), strategy).decode()}"
    with contextlib.suppress(OSError):  # a worker that can't write there has no part in it, and the others go on
        directory.mkdir(parents=True, exist_ok=True)
        if is_chief(strategy):
            mark.touch()
    from_chief(b"", strategy)  # nobody goes on before the chief has come here, nor the chief before all others
    with contextlib.suppress(OSError):
        if mark.exists():
            mark.with_name(f"{mark.name}.{number}").touch()
    from_chief(b"", strategy)
    seen = list(directory.glob(f"{mark.name}*"))
    found = from_chief(b"all" if len(seen) == 1 + count else b"some", strategy) == b"all"
    for file in seen if is_chief(strategy) else directory.glob(f"{mark.name}.{number}") if not found else ():
        file.unlink(missing_ok=True)
    return found


@contextlib.contextmanager
def lost_workers_told(strategy):
    """TensorFlow's error for a worker that died, as one sentence that says what to do."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError) as error:
        if not is_several(strategy):
            raise
        named = re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", str(error))
        who = " ".join(named[-1]).capitalize() if named else "A worker"
        raise RuntimeError(f"{who} of the cluster is gone, and no other can go on without it. Look for the error there and "
                           "start all workers again: `kt.fine_tune` with a `directory` goes on from its last whole "
                           "epoch.") from error
