"""Makers of small SavedModels of every kind, for tests."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

FEATURES = tf.TensorSpec([None, 6], tf.float32, name="x")


class Reusable(tf.Module):
    """A dense layer with a batch norm and an L2 loss, as the convention for TF2 hub models wants it."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.normal(size=(6, 4)).astype("float32"), name="kernel")
        self.gamma = tf.Variable(tf.ones(4), name="gamma")
        self.beta = tf.Variable(tf.zeros(4), name="beta")
        self.mean = tf.Variable(tf.zeros(4), trainable=False, name="mean")
        self.variance = tf.Variable(tf.ones(4), trainable=False, name="variance")
        self.variables_ = [self.kernel, self.gamma, self.beta, self.mean, self.variance]
        self.regularization_losses = [self.penalty]

    @tf.function(input_signature=[])
    def penalty(self):
        return 0.01 * tf.reduce_sum(self.kernel**2)

    @tf.function
    def __call__(self, x, training=False):
        h = x @ self.kernel
        if training:
            mean, variance = tf.nn.moments(h, [0])
            self.mean.assign(0.9 * self.mean + 0.1 * mean)
            self.variance.assign(0.9 * self.variance + 0.1 * variance)
        else:
            mean, variance = self.mean, self.variance
        return tf.nn.relu((h - mean) * tf.math.rsqrt(variance + 1e-3) * self.gamma + self.beta)


def reusable(path):
    """TF2 reusable SavedModel: 3 trainable, 2 other variables, one regularization loss."""
    module = Reusable()
    for training in (True, False):
        module.__call__.get_concrete_function(FEATURES, training=training)
    root = tf.train.Checkpoint()
    root.__call__, root.regularization_losses = module.__call__, module.regularization_losses
    root.variables = module.variables_
    root.trainable_variables = module.variables_[:3]
    root.module = module
    tf.saved_model.save(root, str(path), signatures=module.__call__.get_concrete_function(FEATURES, training=False))
    return path


class Plain(tf.Module):
    """Two variables and a function."""

    def __init__(self):
        self.kernel = tf.Variable(np.random.default_rng(1).normal(size=(6, 3)).astype("float32"), name="kernel")
        self.bias = tf.Variable(tf.zeros(3), name="bias")

    @tf.function(input_signature=[FEATURES])
    def __call__(self, x):
        return tf.nn.tanh(x @ self.kernel + self.bias)


def plain(path):
    """`tf.Module` with `__call__`: 2 trainable variables."""
    tf.saved_model.save(Plain(), str(path))
    return path


class _Uncallable(tf.Module):
    def __init__(self):
        self.kernel = tf.Variable(tf.eye(6, 3), name="kernel")

    @tf.function(input_signature=[FEATURES])
    def serve_it(self, x):
        return {"features": x @ self.kernel}


def signature_only(path):
    """Nothing but the signature serving_default: 1 trainable variable."""
    module = _Uncallable()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve_it})
    return path


def keras_net():
    """A Keras model with a norm: 4 trainable, 2 other variables."""
    return keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5), keras.layers.BatchNormalization(momentum=0.5), keras.layers.ReLU()]
    )


def keras_export(path, training=False):
    """Keras 3 `export`, with an endpoint for training beside it if asked."""
    model = keras_net()
    if not training:
        model.export(str(path), verbose=False)
        return path
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = [tf.TensorSpec((None, 6), tf.float32)]
    archive.add_endpoint("serve", lambda x: model(x, training=False), input_signature=spec)
    archive.add_endpoint("serve_train", lambda x: model(x, training=True), input_signature=spec)
    archive.write_out(str(path), verbose=False)
    return path


def tf1_hub(path):
    """The format of TF1's hub modules: no tags, the signature `default`, a graph with its variables."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 6], name="x")
        kernel = v1.get_variable("kernel", initializer=np.eye(6, 2, dtype="float32") * 3)
        y = x @ kernel
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def({"default": x}, {"default": y})
        builder.add_meta_graph_and_variables(session, [], {"default": signature})
        builder.save()
    (pathlib.Path(path) / "tfhub_module.pb").write_bytes(b"\x08\x03")
    return path


class _Words(tf.Module):
    def __init__(self, vocabulary):
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            default_value=0,
        )
        self.embedding = tf.Variable(np.random.default_rng(2).normal(size=(4, 3)).astype("float32"), name="embedding")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def __call__(self, text):
        return tf.gather(self.embedding, self.table.lookup(text))


def words(path, folder):
    """Text input and a table filled from a file in `assets`: 1 trainable variable."""
    vocabulary = pathlib.Path(folder) / "words.txt"
    vocabulary.write_text("unknown\ncat\ndog\nbird\n")
    tf.saved_model.save(_Words(vocabulary), str(path))
    return path


class _Dicts(tf.Module):
    def __init__(self):
        self.weight = tf.Variable(2.0, name="weight")

    @tf.function(
        input_signature=[
            {"a": tf.TensorSpec([None, 2], tf.float32, name="a"), "b": tf.TensorSpec([None, 2], tf.int32, name="b")}
        ]
    )
    def __call__(self, inputs):
        b = tf.cast(inputs["b"], tf.float32)
        return {"sum": self.weight * (inputs["a"] + b), "difference": inputs["a"] - b}


def dicts(path):
    """Two inputs and two outputs by name."""
    tf.saved_model.save(_Dicts(), str(path))
    return path


class Writer(tf.Module):
    """Writes a file when it's called: at once, in a nested function, or in a branch of control flow."""

    def __init__(self, target, where):
        self.target, self.where = str(target), where
        self.weight = tf.Variable(1.0)

    @tf.function(input_signature=[FEATURES])
    def __call__(self, x):
        if self.where == "nested":
            self.inner(x)
        elif self.where == "branch":
            tf.cond(tf.reduce_sum(x) > 0, self.write, lambda: tf.constant(0))
        elif self.where == "loop":
            tf.while_loop(lambda i: i < 1, lambda i: i + 1 + 0 * self.write(), [tf.constant(0)])
        elif self.where == "data":
            for _ in tf.data.Dataset.range(1).map(lambda i: i + tf.cast(self.write(), tf.int64)):
                pass
        else:
            self.write()
        return x * self.weight

    @tf.function
    def inner(self, x):
        return self.innermost(x)

    @tf.function
    def innermost(self, x):
        self.write()
        return x

    def write(self):
        with tf.control_dependencies([tf.io.write_file(self.target, "written")]):
            return tf.constant(0)


def writer(path, target, where="call"):
    """A SavedModel that writes the file `target` when it's called."""
    tf.saved_model.save(Writer(target, where), str(path))
    return path
