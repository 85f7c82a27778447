import keras
import numpy as np

from keras_transfer.multitask.sharing.experts import ParallelDense, gate, mixed
from multitask.sharing.laws import FEATURES


def test_each_equals_a_dense_layer_of_its_own():
    layer = ParallelDense(3, 4, activation="tanh")
    said = layer(FEATURES[None])
    layer.bias.assign(np.random.default_rng(1).normal(size=(3, 1, 4)))
    several = np.stack([FEATURES, 2 * FEATURES, -FEATURES])
    assert said.shape == (3, 6, 4)
    for i in range(3):
        alone = keras.layers.Dense(4, activation="tanh")
        alone(FEATURES)
        alone.set_weights([layer.kernel.numpy()[i], layer.bias.numpy()[i, 0]])
        assert np.allclose(layer(FEATURES[None])[i], alone(FEATURES), atol=1e-6)
        assert np.allclose(layer(several)[i], alone(several[i]), atol=1e-6)


def test_weights_start_as_large_as_those_of_a_lone_layer():
    """Keras's initializers count the first axis of a stack as places of a convolution, and start it too small."""
    stack, alone = ParallelDense(50, 60), keras.layers.Dense(60)
    stack.build((1, None, 40)), alone.build((None, 40))
    assert np.isclose(stack.kernel.numpy().std(), alone.kernel.numpy().std(), rtol=0.03)
    assert np.abs(stack.kernel.numpy()).max() <= (6 / 100) ** 0.5
    keras_way = keras.initializers.GlorotUniform(seed=0)((50, 40, 60))
    assert np.std(keras_way) < 0.3 * alone.kernel.numpy().std()


def test_it_keeps_its_initializer_and_activation():
    layer = ParallelDense(2, 3, activation="linear", kernel_initializer="zeros", name="up")
    again = ParallelDense.from_config(layer.get_config())
    assert np.array_equal(again(FEATURES[None]), np.zeros((2, 6, 3))) and again.get_config() == layer.get_config()


def test_a_gate_sums_to_one_and_weighs_by_hand():
    weights = gate(3, "gate", "float32")(FEATURES)
    assert np.allclose(np.sum(weights, -1), 1) and np.std(weights) > 0
    experts = np.arange(12.0).reshape(3, 2, 2)
    # row 0: [0, 1], [4, 5], [8, 9] by 1/2, 1/2, 0; row 1: [2, 3], [6, 7], [10, 11] by 0, 0, 1
    assert np.array_equal(mixed(np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]), experts), [[2, 3], [10, 11]])
    assert np.array_equal(mixed(np.array([[0.0, 1.0, 0.0]]), experts), experts[1])
