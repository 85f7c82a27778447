"""What a step needs on each of several replicas to be the step of one device."""
import functools
import itertools
import threading

import keras
import tensorflow as tf
from keras import ops

from .distributing import lost_workers_told, summed


class LossesOfReplica(threading.local):
    """What a layer has added to the loss. Replicas run in turns, each in a thread of its own, and would take each other's."""

    def __init__(self):
        self.held = []
        self.append, self.extend, self.clear = self.held.append, self.held.extend, self.held.clear

    def __getitem__(self, place):
        return self.held[place]


class ToldOfLostWorkers:
    """Model mixin: a worker that died is told in a sentence."""

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, **options):
        with lost_workers_told(self.distribute_strategy):
            return super().fit(*args, **options)

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args, **options):
        with lost_workers_told(self.distribute_strategy):
            return super().evaluate(*args, **options)

    @functools.wraps(keras.Model.predict)
    def predict(self, *args, **options):
        with lost_workers_told(self.distribute_strategy):
            return super().predict(*args, **options)


def one_by_one(run):
    """Returns `run`, a function of an iterator of batches that runs one step, as one that runs all."""
    def run_all(iterator):  # a step that found no batch would still have counted in the optimizer
        first = next(iterator)
        return run(batch for batch in itertools.chain([first], iterator))

    return run_all


def over_replicas(total, count=None):
    """Returns `total / count`, both over all replicas, so that it matters not where labels or rows are missing.

    Keras adds the gradients of the replicas up, and logs the mean of their values times their number. So the value is
    the same on each of them, a share of the whole, and the gradient is that of the replica's own part.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    context = tf.distribute.get_replica_context()
    if replicas == 1:
        return total if count is None else ops.divide_no_nan(total, count)
    if context is None:  # in a scope but not in a step, where Keras takes a share of means alone
        return total if count is None else ops.divide_no_nan(total, count) / replicas
    one = ops.ones_like(total) / replicas if count is None else count
    mine = [ops.stop_gradient(total), ops.stop_gradient(one)]
    everywhere, count = context.all_reduce(tf.distribute.ReduceOp.SUM, mine)
    own = ops.divide_no_nan(total, count)
    return own + ops.stop_gradient(ops.divide_no_nan(everywhere, count) / replicas - own)


def loss_of_layers(losses, x):
    """Returns the sum of what layers have added to the loss on the batch `x`, a scalar; each replica's counts by its rows.

    So a mean over a replica's rows becomes one over all rows, what comes of weights alone is itself, and what comes of a row
    that was made up for an empty share is nothing.
    """
    total = tf.add_n([ops.sum(ops.cast(loss, keras.config.floatx())) for loss in losses])
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return total
    rows = ops.cast(ops.shape(next(part for part in keras.tree.flatten(x) if part is not None))[0], total.dtype)
    return over_replicas(tf.math.multiply_no_nan(total, rows), rows)  # a mean over no rows is NaN


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
