"""What a step needs on each of several replicas to be the step of one device."""
import threading

import keras
import tensorflow as tf

from .distributing import summed


class LossesOfReplica(threading.local):
    """What a layer has added to the loss. Replicas run in turns, each in a thread of its own, and would take each other's."""

    def __init__(self):
        self.held = []
        self.append, self.extend, self.clear = self.held.append, self.held.extend, self.held.clear

    def __getitem__(self, place):
        return self.held[place]


def see_overflows_of_all_replicas(optimizer):
    """Lets an optimizer that scales the loss for float16 leave a step out if any replica's gradients overflow.

    Keras asks the first one only.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        def check_finite(gradients):
            overflows = tf.cast(~type(optimizer).check_finite(optimizer, gradients), tf.int32)
            return summed(overflows, tf.distribute.get_strategy()) == 0

        optimizer.check_finite = check_finite


def average_changes(variables, before, rows):
    """Gives each of `variables` its value in `before` plus the mean change over the replicas, each counting its `rows`.

    One that is at rest stays as it is, to the bit.
    """
    if variables:
        rows = tf.cast(rows, tf.float32)
        changes = [tf.cast(rows, b.dtype) * (v - b) for v, b in zip(variables, before)]
        *changes, rows = summed([*changes, rows], tf.distribute.get_strategy())
        for variable, start, change in zip(variables, before, changes):
            variable.assign(start + change / tf.cast(rows, start.dtype))


def share_accumulated(optimizer, strategy):
    """Gives each replica the mean of what gradient accumulators hold on all of them, which leaves their sum as it is.

    Each replica adds its own gradients up, and the sum of all is used. But reading a variable gives that of the first, and
    assigning to it sets all. So whoever keeps the state of an optimizer calls this before, on all workers.
    """
    held = [v for v in optimizer.variables if v.path.endswith("gradient_accumulator")]
    if not held or strategy.num_replicas_in_sync == 1:
        return

    def mean():
        mine = [tf.identity(v.value) for v in held]  # what is only read has no device, which is where it would be summed
        return [total / strategy.num_replicas_in_sync for total in summed(mine, strategy)]

    run = tf.function(lambda: strategy.run(mean))
    for variable, value in zip(held, run()):
        variable.assign(strategy.experimental_local_results(value)[0])


def without_empty_batches(run, inputs):
    """Calls `run(inputs, made_up)`; a replica whose share of a batch has no rows runs one of zeros and drops what comes of it.

    TensorFlow's convolutions on processors give wrong shapes without rows, and norms give NaN. `made_up` says how many rows
    are of zeros, an int32 scalar, or None where there can't be any.
    """
    tensors = keras.tree.flatten(inputs)
    in_step = tf.distribute.get_strategy().num_replicas_in_sync > 1 and tf.distribute.get_replica_context() is not None
    if not in_step or not all(tf.is_tensor(t) and t.shape.rank for t in tensors):
        return run(inputs, None)
    rows = tf.shape(tensors[0])[0]
    missing = tf.cast(tf.equal(rows, 0), tf.int32)
    outputs = run(keras.tree.map_structure(lambda t: _filled(t, missing), inputs), missing)
    return keras.tree.map_structure(lambda t: t[:rows], outputs)


def on_real_rows(norm, made_up):
    """Lets a synchronized norm see a replica's own rows only: those made up would count in the statistics of all replicas."""
    return lambda x, **options: _filled(norm(x[:tf.shape(x)[0] - made_up], **options), made_up)


def _filled(tensor, count):
    return tf.concat([tensor, tf.zeros(tf.concat([[count], tf.shape(tensor)[1:]], 0), tensor.dtype)], 0)
