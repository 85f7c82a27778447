"""The best one could write by hand: features by OpenVINO from photos that tf.data decodes, and scikit-learn's
LogisticRegression.

python benchmarks/peers/by_hand.py TRAIN TEST [--size 160]     (in the environment of keras_transfer)
"""

import collections
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CI", "true")  # or else `import openvino` reports its use over the network

import keras
import numpy as np
import openvino
import tensorflow as tf
from common import Clock, arguments, few, listed
from sklearn.linear_model import LogisticRegression

import keras_transfer as kt

BATCH = 32


def converted(network, size):
    """Compiles a Keras network for OpenVINO: traced with its weights as constants, and read as a TensorFlow graph."""
    values = [(variable, variable.numpy()) for variable in network.variables]

    @tf.function(input_signature=[tf.TensorSpec((None, size, size, 3))], autograph=False)
    def forward(pixels):
        with keras.StatelessScope(state_mapping=[(variable, tf.constant(value)) for variable, value in values]):
            return network(pixels, training=False)

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "network.pb")
        path.write_bytes(forward.get_concrete_function().graph.as_graph_def().SerializeToString())
        model = openvino.Core().read_model(str(path))
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", hints)


def decoded(files, size):
    """Batches of pixels 0-255 of `files`, decoded beside the inference."""

    def decode(file):
        return tf.image.resize(tf.io.decode_jpeg(tf.io.read_file(file), channels=3), (size, size))

    return tf.data.Dataset.from_tensor_slices(files).map(decode, tf.data.AUTOTUNE).batch(BATCH).prefetch(2)


def features(compiled, files, size):
    """The features `(photos, units)` of `files`."""
    found = np.empty((len(files), compiled.output(0).partial_shape[1].get_length()), "float32")
    # requests in turn, some more than run at once: a callback could let the network go from its own thread, which deadlocks
    count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") + 2
    free, waiting = [compiled.create_infer_request() for _ in range(count)], collections.deque()

    def store(request, start):
        request.wait()
        rows = request.get_output_tensor(0).data
        found[start : start + len(rows)] = rows
        free.append(request)

    for number, pixels in enumerate(decoded(files, size).as_numpy_iterator()):
        if not free:
            store(*waiting.popleft())
        waiting.append((free.pop(), number * BATCH))
        waiting[-1][0].start_async({0: pixels})
    while waiting:
        store(*waiting.popleft())
    return found


def trained(network, files, labels, size, clock):
    """Returns the compiled network and the head."""
    with clock("convert"):
        compiled = converted(network, size)
    with clock("features"):
        found = features(compiled, files, size)
    with clock("head"):
        head = LogisticRegression(max_iter=1000).fit(found, labels)
    return compiled, head


def main():
    given, clock = arguments(__doc__.partition("\n\n")[0]), Clock()
    network = kt.backbone("EfficientNetLite0", input_shape=(given.size, given.size, 3))
    trained(network, *few(*listed(given.train)), given.size, Clock())
    with clock("files"):
        files, labels = listed(given.train)
    compiled, head = trained(network, files, labels, given.size, clock)
    test_files, test_labels = listed(given.test)
    clock.tell(head.score(features(compiled, test_files, given.size), test_labels), len(files))


if __name__ == "__main__":
    main()
