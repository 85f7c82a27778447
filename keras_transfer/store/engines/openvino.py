"""Features from OpenVINO: on processors as fast as TensorFlow or faster, and in bfloat16 about twice."""
import collections
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
        self.prefix = prefix
        core = openvino.Core()
        capable = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if dtype == "bfloat16" and capable else "f32"
        try:
            model, inputs, outputs = _converted(core, prefix)
            self.compiled = core.compile_model(model, "CPU", {
                "PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": self.precision})
        except (RuntimeError, NotImplementedError, tf.errors.OpError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
            raise Unsuitable(f"OpenVINO can't run the frozen part of this model ({reason}). Give engine=\"tensorflow\".") from error
        half = self.precision == "bf16" or any(layer.compute_dtype != "float32" for layer in prefix.layers)
        self.tolerance = TOLERANCE["bf16" if half else "f32"]
        self.inputs = _places(inputs, self.compiled.inputs)   # of the network's, among those of OpenVINO
        self.outputs = _places(outputs, self.compiled.outputs)
        self.checked = False

    def run(self, batches, put):
        """Calls `put(token, features)` for each (token, x) of `batches`; features: a list of arrays `(batch, ...)`."""
        # without callbacks: one that ends after the last wait could let the network go from its own thread, which aborts
        count = self.compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") + 1
        free, waiting = [self.compiled.create_infer_request() for _ in range(count)], collections.deque()
        try:
            for token, x in batches:
                arrays = inputs_of(self.prefix, x)
                if not free:
                    free.append(self._delivered(waiting, put))
                free[-1].start_async(self._named(arrays), share_inputs=True)
                waiting.append((free.pop(), token, arrays))  # the arrays are read until it's done
            while waiting:
                self._delivered(waiting, put)
        finally:
            for request, *_ in waiting:
                request.wait()

    def _delivered(self, waiting, put):
        """Hands over what was begun first, and returns its request; before the first time it's checked, while others run."""
        self.checked = self.checked or self._check(waiting[0][2])
        request, token, _ = waiting.popleft()
        request.wait()
        put(token, [self._array(request.get_output_tensor(place).data, place) for place in self.outputs])
        return request

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


def _places(tensors, ports):
    """Where these tensors are among the ports; None for an input that OpenVINO has done without."""
    places = {name.split(":")[0]: place for place, port in enumerate(ports) for name in port.get_names()}
    return [next((places[name] for name in _names(tensor) if name in places), None) for tensor in tensors]


def _names(tensor):
    """The names of a tensor, and of those that it's only another name of, which OpenVINO may use instead."""
    yield tensor.op.name
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
        yield tensor.op.name


def _converted(core, prefix):
    """The network as an OpenVINO model, and its graph's inputs and outputs in the order of `prefix`.

    `convert_model` would trace it again, and report its use over the network.
    """
    function = constant_function(prefix)
    inputs, outside = (function.inputs[:len(function.inputs) - len(function.captured_inputs)],
                       function.inputs[len(function.inputs) - len(function.captured_inputs):])
    graph = function.graph.as_graph_def()
    captured = dict(zip((t.op.name for t in outside), function.captured_inputs, strict=True))
    for node in graph.node:
        if node.name in captured:  # a tensor from outside the graph becomes a constant
            node.op = "Const"
            node.attr.clear()
            node.attr["dtype"].type = captured[node.name].dtype.as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(captured[node.name].numpy()))
    handle, path = tempfile.mkstemp(suffix=".pb")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(graph.SerializeToString())
        model = core.read_model(path)
    finally:
        os.unlink(path)
    return model, inputs, function.outputs
