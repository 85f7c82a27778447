"""Features from OpenVINO: on processors as fast as TensorFlow or faster, and in bfloat16 about twice."""
import collections
import contextlib
import dataclasses
import math
import os
import tempfile

import keras
import numpy as np
import tensorflow as tf

from ... import _check
from ..shards import BFLOAT16
from .ids import Ids
from .tracing import constant_function, inputs_of
from .unsuitable import Missing, Unsuitable

AHEAD = 3  # batches that are begun beyond what the processor computes at once: while the first answer is checked it goes on
PIECE = 4  # rows that are computed at once, if one row's largest map takes more than LARGE bytes
LARGE = 3 * 2 ** 18
TOLERANCE = {"f32": 1e-3, "bf16": 0.2}  # of the largest value, on the first row: a wrong conversion is off by far more


class OpenVINOEngine:
    """Runs a frozen network with OpenVINO, several batches at once.

    The precision of the computation is always set to `dtype`, never the processor's default. The first row is compared
    with what Keras gives for it, and ids that an embedding doesn't have are refused, as Keras does.

    Args:
        prefix: a Functional `keras.Model`, run in inference mode.
        dtype: "float32" or "bfloat16"; a processor without bfloat16 computes in float32.
        rows: how many rows most batches have. Batches of any size are taken.

    Raises:
        Missing: OpenVINO isn't installed, or can't be imported.
        Unsuitable: OpenVINO doesn't work here, or the network can't be converted, or gives something else then.
    """

    name = "openvino"

    def __init__(self, prefix, dtype="float32", rows=32):
        openvino, core, capable = _started()
        self.prefix, self.ids = prefix, Ids(prefix)
        self.precision = "bf16" if dtype == "bfloat16" and capable else "f32"
        with _unsuitable_at_errors():
            model, inputs, outputs = _converted(core, prefix)
            model, self.piece = _in_pieces(model, rows)
            self.ahead = rows // self.piece if self.piece else 1  # pieces a batch: it's whole batches that are begun ahead
            self.compiled = core.compile_model(model, "CPU", {
                "PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": self.precision})
        half = self.precision == "bf16" or any(layer.compute_dtype != "float32" for layer in prefix.layers)
        self.tolerance = TOLERANCE["bf16" if half else "f32"]
        self.inputs = _places(inputs, self.compiled.inputs)   # of the network's, among those of OpenVINO
        self.outputs = _places(outputs, self.compiled.outputs)
        self.tensor, self.kinds = openvino.Tensor, [port.get_element_type() for port in self.compiled.inputs]
        self.checked = self.delivered = False

    def run(self, batches, put):
        """Calls `put(token, features)` for each (token, x) of `batches`; features: a list of arrays `(batch, ...)`."""
        # without callbacks: one that ends after the last wait could let the network go from its own thread, which aborts
        with self._beginning():
            count = (self.compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") + AHEAD) * self.ahead
            free, waiting = [self.compiled.create_infer_request() for _ in range(count)], collections.deque()
        try:
            for token, x in batches:
                batch = _Batch(token, [*map(np.ascontiguousarray, inputs_of(self.prefix, x))], [None] * len(self.outputs))
                self.ids.check(batch.inputs)
                for start in range(0, batch.rows, self.piece or batch.rows):
                    if not free:
                        free.append(self._delivered(waiting, put))
                    arrays = batch.piece(start, self.piece)
                    with self._beginning():
                        for place, tensor in self._tensors(arrays).items():
                            free[-1].set_input_tensor(place, tensor)
                        free[-1].start_async()
                    waiting.append((free.pop(), batch, start, arrays))  # the arrays are read until it's done
            while waiting:
                self._delivered(waiting, put)
        finally:
            for request, *_ in waiting:
                with contextlib.suppress(RuntimeError):  # what ended it is told, and not what ended because of it
                    request.wait()

    def _beginning(self):
        """Context: errors of OpenVINO let another engine try, until something was handed over."""
        return contextlib.nullcontext() if self.delivered else _unsuitable_at_errors()

    def _delivered(self, waiting, put):
        """Takes what was begun first, hands over the batch that is whole then, and returns the request.

        The very first answer is checked before, while others run.
        """
        self.checked = self.checked or self._check(waiting[0][-1])
        request, batch, start, _ = waiting.popleft()
        with self._beginning():
            request.wait()
        for number, place in enumerate(self.outputs):
            batch.put(number, start, self._array(request.get_output_tensor(place).data, place))
        if start + (self.piece or batch.rows) >= batch.rows:
            self.delivered = True
            put(batch.token, batch.features)
        return request

    def _check(self, arrays):
        row = [array[:1] for array in arrays]
        packed = keras.tree.pack_sequence_as(self.prefix.input, row)
        try:
            wanted = [keras.ops.convert_to_numpy(t) for t in keras.tree.flatten(self.prefix(packed, training=False))]
        except (ValueError, tf.errors.OpError) as error:
            raise Unsuitable("The frozen part of this model takes no single row, so OpenVINO's features can't be compared with "
                             "Keras's. Give engine=\"tensorflow\".") from error
        with self._beginning():
            found = self.compiled(self._tensors(arrays if self.piece else row))
        for place, array in zip(self.outputs, wanted):
            array = array.astype("float32")
            largest = np.abs(array).max(initial=0.0)
            off = np.abs(self._array(found[place], place)[:1].astype("float32") - array).max(initial=0.0)
            if not off <= self.tolerance * largest:
                raise Unsuitable(f"OpenVINO's features differ from Keras's by {off:.3g}, where the largest is {largest:.3g}. "
                                 "Give engine=\"tensorflow\".")
        return True

    def _array(self, data, place):
        """An output, of which OpenVINO says float16 where it's bfloat16."""
        half = self.compiled.outputs[place].get_element_type().get_type_name() == "bf16"
        return data.view(BFLOAT16) if half else data

    def _tensors(self, arrays):
        """Arrays as inputs in the same memory, which OpenVINO's own way from arrays would copy: those of tf.data are read-only."""
        return {place: self.tensor(array.view("uint16") if array.dtype == BFLOAT16 else array, array.shape, self.kinds[place])
                for place, array in zip(self.inputs, arrays) if place is not None}


def _started():
    """Returns the package, its `Core`, and whether the processor has bfloat16."""
    try:
        openvino = _check.extra("openvino", "openvino")
        core = openvino.Core()
        return openvino, core, "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except ImportError as error:
        raise Missing(str(error)) from error
    except Exception as error:  # of whatever kind a broken installation raises
        raise Unsuitable(f"OpenVINO is installed, but doesn't start ({_reason(error)}). Give engine=\"tensorflow\".") from error


@contextlib.contextmanager
def _unsuitable_at_errors():
    """Context: what OpenVINO can't do, another engine may."""
    try:
        yield
    except (RuntimeError, tf.errors.OpError) as error:
        raise Unsuitable(f"OpenVINO can't run the frozen part of this model ({_reason(error)}). "
                         "Give engine=\"tensorflow\".") from error


def _reason(error):
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:200]


@dataclasses.dataclass
class _Batch:
    """A batch that is computed in pieces: its inputs, and its features as far as they are there."""

    token: object
    inputs: list
    features: list

    @property
    def rows(self):
        return len(self.inputs[0])

    def piece(self, start, rows):
        """The inputs of `rows` rows from `start` on, the last row again where there are no more; all for None."""
        if rows is None:
            return self.inputs
        if start + rows <= self.rows:
            return [array[start:start + rows] for array in self.inputs]
        return [array[np.minimum(np.arange(start, start + rows), self.rows - 1)] for array in self.inputs]

    def put(self, number, start, array):
        """Copies an output of a piece, a view of OpenVINO's memory, into its place."""
        if self.features[number] is None:
            self.features[number] = np.empty((self.rows, *array.shape[1:]), array.dtype)
        rows = self.features[number][start:start + len(array)]
        rows[:] = array[:len(rows)]


def _in_pieces(model, rows):
    """Returns the model for a fixed number of rows and that number, where that takes less time; or (model, None).

    A network with large maps is bound by memory: of a few rows at once, more stays in the processor's cache.
    """
    if rows < PIECE:
        return model, None
    fixed = model.clone()
    try:
        fixed.reshape({port: [PIECE, *list(port.partial_shape)[1:]] for port in fixed.inputs})
    except RuntimeError:  # a shape within the network can't change
        return model, None
    computed = [out for op in fixed.get_ops() if op.get_type_name() != "Constant" for out in op.outputs()]
    if any(out.partial_shape.is_dynamic for out in computed) or any(list(out.shape)[:1] != [PIECE] for out in fixed.outputs):
        return model, None
    largest = max(math.prod(out.shape) for out in computed) * 4 // PIECE  # bytes a row
    return (fixed, PIECE) if largest > LARGE else (model, None)


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
    graph, needed = function.graph.as_graph_def(), _needed(function.outputs)
    for place in reversed(range(len(graph.node))):  # what nobody reads would be computed, and be an output
        if graph.node[place].name not in needed:
            del graph.node[place]
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


def _needed(tensors):
    """The names of all operations that these tensors are computed by."""
    names, todo = set(), [tensor.op for tensor in tensors]
    while todo:
        operation = todo.pop()
        if operation.name not in names:
            names.add(operation.name)
            todo += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    return names
