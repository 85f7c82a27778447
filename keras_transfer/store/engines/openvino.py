"""Features from OpenVINO: twice to five times as fast as TensorFlow on processors."""
import os
import tempfile

import keras
import numpy as np
import tensorflow as tf

from ... import _check
from .tracing import constant_function
from .unsuitable import Unsuitable

TOLERANCE = {"f32": 1e-3, "bf16": 0.2}  # of the largest value, on the first row: a wrong conversion is off by far more


class OpenVINOEngine:
    """Runs a frozen network with OpenVINO, several batches at once.

    The precision of the computation is always set to `dtype`, never the processor's default. The first row is compared
    with what Keras gives for it.

    Args:
        prefix: a Functional `keras.Model`, run in inference mode.
        dtype: "float32" or "bfloat16"; a processor without bfloat16 computes in float32.

    Raises:
        ImportError: OpenVINO isn't installed.
        Unsuitable: the network can't be converted, or gives something else then.
    """

    name = "openvino"

    def __init__(self, prefix, dtype="float32"):
        openvino = _check.extra("openvino", "openvino")
        self.prefix, self.queue_of = prefix, openvino.AsyncInferQueue
        core = openvino.Core()
        capable = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if dtype == "bfloat16" and capable else "f32"
        try:
            self.compiled = core.compile_model(_converted(core, prefix), "CPU", {
                "PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": self.precision})
        except (RuntimeError, NotImplementedError, tf.errors.OpError) as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise Unsuitable(f"OpenVINO can't run the frozen part of this model ({reason}). Give engine=\"tensorflow\".") from error
        self.places = [_place(port.get_any_name()) for port in self.compiled.inputs]

    def run(self, batches, put):
        """Calls `put(token, features)` for each (token, x) of `batches`; features: a list of arrays `(batch, ...)`.

        `put` is called from other threads, in any order.
        """
        queue, failed, checked = self.queue_of(self.compiled, 0), [], False

        def done(request, given):
            try:
                token, _ = given
                put(token, [np.array(request.get_output_tensor(k).data) for k in range(len(self.compiled.outputs))])
            except BaseException as error:  # noqa: B036 - it must reach the thread that waits
                failed.append(error)

        queue.set_callback(done)
        try:
            for token, x in batches:
                arrays = [np.asarray(array) for array in keras.tree.flatten(x)]
                checked = checked or self._check(arrays)
                queue.start_async({k: arrays[place] for k, place in enumerate(self.places)}, (token, arrays),
                                  share_inputs=True)  # kept alive by the token's pair
                if failed:
                    break
        finally:
            queue.wait_all()
        if failed:
            raise failed[0]

    def _check(self, arrays):
        row = [array[:1] for array in arrays]
        packed = keras.tree.pack_sequence_as(self.prefix.input, row)
        wanted = [keras.ops.convert_to_numpy(t) for t in keras.tree.flatten(self.prefix(packed, training=False))]
        found = self.compiled({k: row[place] for k, place in enumerate(self.places)})
        for number, array in enumerate(wanted):
            largest = np.abs(array).max(initial=0.0)
            off = np.abs(found[number].astype("float32") - array).max(initial=0.0)
            if not off <= TOLERANCE[self.precision] * largest:
                raise Unsuitable(f"OpenVINO's features differ from Keras's by {off:.3g}, where the largest is {largest:.3g}. "
                                 "Give engine=\"tensorflow\".")
        return True


def _place(name):
    return int(name.split(":")[0].rpartition("_")[2])


def _converted(core, prefix):
    """The network as an OpenVINO model. `convert_model` would trace it again, and report its use over the network."""
    function = constant_function(prefix)
    graph = function.graph.as_graph_def()
    captured = dict(zip((t.op.name for t in function.inputs[len(function.inputs) - len(function.captured_inputs):]),
                        function.captured_inputs))
    for node in graph.node:
        if node.name in captured:  # a tensor from outside the graph becomes a constant
            node.op = "Const"
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(captured[node.name].numpy()))
            del node.attr["shape"], node.attr["_user_specified_name"]
    handle, path = tempfile.mkstemp(suffix=".pb")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(graph.SerializeToString())
        model = core.read_model(path)
    finally:
        os.unlink(path)
    return model
