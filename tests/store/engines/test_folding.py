"""Folded norms compute the same function; what can't be folded is left alone."""

import keras
import numpy as np
import pytest

from keras_transfer.store.engines.folding import folded
from keras_transfer.store.engines.tracing import constant_function


def norm(seed=0, **options):
    """A batch norm whose statistics and weights are no ordinary ones."""
    layer = keras.layers.BatchNormalization(**options)

    def settle():
        random = np.random.default_rng(seed)
        layer.set_weights([random.uniform(0.5, 2, w.shape) for w in layer.get_weights()])

    return layer, settle


def network(layer, shape=(6, 6, 3), **options):
    bn, settle = norm(**options)
    inputs = keras.Input(shape)
    model = keras.Model(inputs, bn(layer(inputs)))
    settle()
    for weight in layer.weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    return model, layer, bn


LAYERS = {
    "conv": lambda: keras.layers.Conv2D(4, 3),
    "conv without bias": lambda: keras.layers.Conv2D(4, 3, use_bias=False),
    "groups": lambda: keras.layers.Conv2D(6, 3, groups=3),
    "depthwise": lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
    "dense": lambda: keras.layers.Dense(4),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False, "epsilon": 0.1}])
def test_scaled_weights_and_a_shift_are_the_norm(kind, options):
    model, layer, bn = network(LAYERS[kind](), **options)
    values, shifts = folded(model)
    assert list(shifts) == [id(bn)] and len(values) == len(layer.weights)
    x = np.random.default_rng(2).normal(size=(2, 6, 6, 3)).astype("float32")
    expected, before = model(x, training=False).numpy(), layer(x).numpy()
    for variable, value in values:
        variable.assign(value)
    np.testing.assert_allclose(layer(x).numpy() + shifts[id(bn)], expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(before + shifts[id(bn)], expected, atol=1e-2)


def test_the_model_itself_keeps_its_weights():
    model, *_ = network(LAYERS["conv"]())
    before = model.get_weights()
    folded(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))


def left_alone():
    inputs = keras.Input((6, 6, 3))
    conv = keras.layers.Conv2D(3, 3, padding="same")
    yield "an activation of its own", keras.Model(
        inputs, keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 3, activation="relu")(inputs)))
    x = conv(inputs)
    yield "read twice", keras.Model(inputs, keras.layers.Add()([x, keras.layers.BatchNormalization()(x)]))
    yield "an output itself", keras.Model(inputs, [x, keras.layers.BatchNormalization()(x)])
    yield "used twice", keras.Model(inputs, keras.layers.BatchNormalization()(conv(conv(inputs))))
    bn = keras.layers.BatchNormalization()
    yield "a norm used twice", keras.Model(inputs, bn(bn(keras.layers.Conv2D(3, 3)(inputs))))
    yield "another axis", keras.Model(
        inputs, keras.layers.BatchNormalization(axis=1)(keras.layers.Conv2D(3, 3)(inputs)))
    yield "a layer between", keras.Model(
        inputs, keras.layers.BatchNormalization()(keras.layers.ReLU()(keras.layers.Conv2D(3, 3)(inputs))))
    yield "half precision", keras.Model(
        inputs, keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 3, dtype="mixed_bfloat16")(inputs)))
    yield "another norm", keras.Model(inputs, keras.layers.LayerNormalization()(keras.layers.Conv2D(3, 3)(inputs)))
    for mode in ("int8", "int4", "float8"):
        model = keras.Model(inputs, keras.layers.BatchNormalization()(keras.layers.Dense(3)(inputs)))
        model.quantize(mode)
        yield mode, model
    yield "a convolution of one's own", keras.Model(inputs, keras.layers.BatchNormalization()(Standardized(3, 3)(inputs)))
    yield "a norm of one's own", keras.Model(inputs, Doubled()(keras.layers.Conv2D(3, 3)(inputs)))
    nested = keras.Model(inputs, conv(inputs))
    yield "in a nested model, too", keras.Model(inputs, nested(keras.layers.BatchNormalization()(conv(inputs))))


class Standardized(keras.layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel / keras.ops.std(kernel))


class Doubled(keras.layers.BatchNormalization):
    def call(self, inputs, **options):
        return 2 * super().call(inputs, **options)


@pytest.mark.parametrize("number", range(15))
def test_what_is_not_one_linear_layer_below_one_norm_is_left_alone(number):
    reason, model = list(left_alone())[number]
    assert folded(model) == ([], {}), reason


def test_a_folded_norm_hands_the_mask_on():
    x = np.random.default_rng(2).normal(size=(8, 10, 4)).astype("float32")
    x[1:, 5:] = 0
    bn, settle = norm()
    inputs = keras.Input((10, 4))
    h = bn(keras.layers.Dense(8)(keras.layers.Masking()(inputs)))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(h))
    settle()
    assert folded(model)[1] and np.allclose(np.stack(constant_function(model)(x)[0]), model.predict(x, verbose=0), atol=1e-5)
