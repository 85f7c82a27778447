"""Features from OpenVINO: twice to five times as fast as TensorFlow on processors."""
import os
import tempfile

import keras
import numpy as np
import tensorflow as tf

from ... import _check
from ..shards import BFLOAT16
from .tracing import constant_function, inputs_of
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
            model, inputs, outputs = _converted(core, prefix)
            self.compiled = core.compile_model(model, "CPU", {
                "PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": self.precision})
        except (RuntimeError, NotImplementedError, tf.errors.OpError) as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise Unsuitable(f"OpenVINO can't run the frozen part of this model ({reason}). Give engine=\"tensorflow\".") from error
        half = self.precision == "bf16" or any(layer.compute_dtype != "float32" for layer in prefix.layers)
        self.tolerance = TOLERANCE["bf16" if half else "f32"]
        self.inputs = _places(inputs, self.compiled.inputs)   # of the network's, among those of OpenVINO
        self.outputs = _places(outputs, self.compiled.outputs)

    def run(self, batches, put):
        """Calls `put(token, features)` for each (token, x) of `batches`; features: a list of arrays `(batch, ...)`.

        `put` is called from other threads, in any order.
        """
        queue, failed, checked = self.queue_of(self.compiled, 0), [], False

        def done(request, given):
            try:
                token, _ = given
                put(token, [self._array(request.get_output_tensor(k).data, k) for k in self.outputs])
            except BaseException as error:  # noqa: B036 - it must reach the thread that waits
                failed.append(error)

        queue.set_callback(done)
        try:
            for token, x in batches:
                arrays = inputs_of(self.prefix, x)
                checked = checked or self._check(arrays)
                queue.start_async(self._named(arrays), (token, arrays), share_inputs=True)  # kept alive by the pair
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
        found = self.compiled(self._named(row))
        for place, array in zip(self.outputs, wanted):
            array = array.astype("float32")
            largest = np.abs(array).max(initial=0.0)
            off = np.abs(self._array(found[place], place).astype("float32") - array).max(initial=0.0)
            if not off <= self.tolerance * largest:
                raise Unsuitable(f"OpenVINO's features differ from Keras's by {off:.3g}, where the largest is {largest:.3g}. "
                                 "Give engine=\"tensorflow\".")
        return True


    def _array(self, data, place):
        """A copy of an output, of which OpenVINO says float16 where it's bfloat16."""
        half = self.compiled.outputs[place].get_element_type().get_type_name() == "bf16"
        return np.array(data.view(BFLOAT16) if half else data)

    def _named(self, arrays):
        return {place: array for place, array in zip(self.inputs, arrays) if place is not None}


def _places(names, ports):
    """Where the tensors with these names are among the ports; None for one that OpenVINO has done without."""
    places = {name.split(":")[0]: place for place, port in enumerate(ports) for name in port.get_names()}
    return [places.get(name) for name in names]


def _converted(core, prefix):
    """The network as an OpenVINO model, and the names of its inputs and outputs in the order of `prefix`.

    `convert_model` would trace it again, and report its use over the network.
    """
    function = constant_function(prefix)
    captures = len(function.captured_inputs)
    inputs, outputs = ([t.op.name for t in tensors] for tensors in (function.inputs, function.outputs))
    graph = function.graph.as_graph_def()
    captured = dict(zip(inputs[len(inputs) - captures:], function.captured_inputs))
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
    return model, inputs[:len(inputs) - captures], outputs
