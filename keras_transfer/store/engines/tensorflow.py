"""Features from TensorFlow: one graph without variables, on every device of the strategy in turn."""
import collections
import platform

import numpy as np
import tensorflow as tf

from ... import _compat
from .tracing import constant_function, inputs_of


class TensorFlowEngine:
    """Runs a frozen network with TensorFlow.

    While a batch is computed the next ones are read. With several devices each takes a batch in turn. On GPUs the graph
    is compiled by XLA where Keras would do so, too; on processors it isn't, since its convolutions take ten times as long
    there.

    Args:
        prefix: a Functional `keras.Model`, run in inference mode.
        dtype: what the store keeps ("float32" or "bfloat16"); TensorFlow computes in the network's own dtype.
        rows: how many rows most batches have, which makes no difference here.
    """

    name = "tensorflow"

    def __init__(self, prefix, dtype="float32", rows=32):
        strategy = prefix.distribute_strategy
        self.devices = strategy.extended.worker_devices if strategy.num_replicas_in_sync > 1 else [None]
        self.prefix, function = prefix, constant_function(prefix)
        self.function = tf.function(lambda *inputs: function(*inputs), jit_compile=True) if _compiles(prefix) else function

    def run(self, batches, put):
        """Calls `put(token, features)` for each (token, x) of `batches`; features: a list of arrays `(batch, ...)`."""
        waiting = collections.deque()
        for number, (token, x) in enumerate(batches):
            with tf.device(self.devices[number % len(self.devices)]):
                waiting.append((token, self.function(*map(tf.convert_to_tensor, inputs_of(self.prefix, x)))))
            if len(waiting) >= len(self.devices):
                _deliver(*waiting.popleft(), put)
        while waiting:
            _deliver(*waiting.popleft(), put)


def _compiles(prefix):
    """Whether XLA compiles this network: on a GPU, but not where a layer, determinism or macOS speak against it, as in Keras."""
    return (bool(tf.config.list_logical_devices("GPU")) and platform.system() != "Darwin" and not _compat.is_deterministic()
            and all(layer.supports_jit for layer in _compat.flat_layers(prefix)))


def _deliver(token, features, put):
    put(token, [np.asarray(tensor) for tensor in features])
