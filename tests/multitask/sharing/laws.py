"""What the tests of all ways of sharing use: small networks, round trips, gradients that reach every weight."""

import keras
import numpy as np
import tensorflow as tf

import keras_transfer as kt

TASKS = ["colour", "light"]
FEATURES = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")


def heads():
    return {"colour": kt.heads.Classifier(3), "light": kt.heads.Regressor()}


def dense_backbone():
    """4 numbers -> 6 features, in three blocks."""
    x = inputs = keras.Input((4,), name="numbers")
    for i in range(1, 4):
        x = keras.layers.Dense(6, activation="tanh", name=f"block_{i}_dense")(x)
    return keras.Model(inputs, x, name="dense")


def numbers(rows=8, seed=0):
    """Rows for `dense_backbone`, and labels for `heads`."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4)).astype("float32")
    return x, {"colour": random.integers(0, 3, rows), "light": random.normal(size=rows).astype("float32")}


def missing(labels):
    """The same without a single label, so that nothing but penalties trains."""
    return {"colour": np.full_like(labels["colour"], -1), "light": np.full_like(labels["light"], np.nan)}


def check_round_trip(layer, x=FEATURES):
    """A layer from its config, with the same weights, gives the same, and has the same config."""
    said = layer(x)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    blank = again(x)
    assert any(not np.allclose(said[k], blank[k]) for k in said) or all(w.path.endswith("beta") for w in layer.weights)
    again.set_weights(layer.get_weights())
    assert all(np.array_equal(said[k], again(x)[k]) for k in said)
    assert again.get_config() == layer.get_config()


def check_gradients(layer, x=FEATURES):
    """Every trainable weight moves an output of some task, and each task moves some weight."""
    layer(x)
    with tf.GradientTape(persistent=True) as tape:
        said = layer(x)
        signs = tf.random.stateless_normal(next(iter(said.values())).shape, (0, 1))
        each = {k: tf.reduce_sum(y * signs) for k, y in said.items()}
        total = tf.add_n(list(each.values()))
    weights = [w.value for w in layer.trainable_weights]
    for weight, gradient in zip(layer.trainable_weights, tape.gradient(total, weights)):
        assert gradient is not None and np.abs(gradient).max() > 0, weight.path
    for task in each:
        assert any(g is not None and np.abs(g).max() > 0 for g in tape.gradient(each[task], weights)), task


def check_compiles(layer, x=FEATURES):
    """XLA gives what plain calls give."""
    plain = layer(x)
    compiled = tf.function(lambda x: layer(x), jit_compile=True)(x)
    assert all(np.allclose(plain[k], compiled[k], atol=1e-5) for k in plain)


def check_layer(layer, x=FEATURES):
    check_gradients(layer, x)
    check_round_trip(layer, x)
    check_compiles(layer, x)


def rise(layer, amount=0.1, seed=1):
    """Moves every weight of a layer that starts without effect."""
    random = np.random.default_rng(seed)
    layer.set_weights([w + amount * random.normal(size=w.shape) for w in layer.get_weights()])


def calibrated(backbone, x):
    """Fits the norms of a fresh network to `x`, so that its features are of ordinary size."""
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.beta.assign(layer.beta * 0 + 1)
    kt.unfreeze(backbone, norms=True)
    backbone(x, training=True)
    return backbone


def trained(model, x, labels, epochs=1, rate=0.1):
    """Returns which weights have moved, by path."""
    model.compile(optimizer=keras.optimizers.SGD(rate), jit_compile=False, **kt.objectives(model))
    before = {w.path: w.numpy() for w in model.weights}
    model.fit(x, labels, epochs=epochs, verbose=0)
    return {w.path for w in model.weights if not np.array_equal(w.numpy(), before[w.path])}
