"""What the workers of a cluster must be of one mind about before they train."""
import hashlib
import json

import keras

from . import distributing
from .fitting import info_of
from .freezing import GradualUnfreezing
from .store import keys

RATE_CALLBACKS = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)
STEERING = (*RATE_CALLBACKS, GradualUnfreezing, keras.callbacks.EarlyStopping, keras.callbacks.TerminateOnNaN)
UNSEEING = (*RATE_CALLBACKS, keras.callbacks.EarlyStopping, keras.callbacks.TerminateOnNaN, keras.callbacks.CSVLogger,
            keras.callbacks.RemoteMonitor)  # to these the rest of a model is as good as all of it


def agreed(directory, callbacks, strategy):
    """What all workers must be of one mind about, or they would wait for each other without end.

    Returns the directory, the chief's where this worker has none, and whether any worker has callbacks that may look at the
    model, as those that only write are often the chief's alone.
    """
    steering = sorted(type(callback).__name__ for callback in callbacks if isinstance(callback, STEERING))
    mine = json.dumps([directory and str(directory), steering]).encode()
    chiefs, steers = json.loads(distributing.from_chief(mine, strategy))
    if distributing.anywhere(steers != steering, strategy):
        raise ValueError("Callbacks that steer training, such as EarlyStopping, must be given to all workers alike; only what "
                         f"writes may be the chief's alone. Received here: {', '.join(steering) or 'none'}, by the chief: "
                         f"{', '.join(steers) or 'none'}.")
    if distributing.anywhere(directory is not None and chiefs is None, strategy):
        raise ValueError("`directory` is given to other workers but not to the chief, which alone writes the checkpoint. Give "
                         "it to all of them.")
    return chiefs if directory is None else directory, distributing.anywhere(
        any(type(callback) not in UNSEEING for callback in callbacks), strategy)


def fingerprint_of(data, strategy):
    """What tells arrays and sets of `kt.data` from others, None for any other set or none.

    It is that of the chief: on other machines the same files may have other times, and each may have arrays of its own.
    """
    own = getattr(info_of(data), "fingerprint", None)
    if isinstance(data, tuple) and distributing.is_chief(strategy):
        own = keys.of_elements(hashlib.sha256(), data).hexdigest()
    return distributing.from_chief((own or "").encode(), strategy).decode() or None
