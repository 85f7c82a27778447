"""Several dense layers side by side, and the weighted sum of what they give."""
import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_transfer")
class ParallelDense(keras.layers.Layer):
    """`count` dense layers, each with weights of its own: `(1 or count, batch, width)` -> `(count, batch, units)`.

    y_i = activation(x_i W_i + b_i). Each W_i starts like that of a lone `Dense`: uniform within
    sqrt(6 / (width + units)), which the usual initializers don't give for a stack of matrices.

    Args:
        count: how many there are; with one input all read the same.
        units: the width of each.
        activation: as in `Dense`.
        kernel_initializer: None for the above, or as in `Dense`.
    """

    def __init__(self, count, units, activation="relu", kernel_initializer=None, **options):
        super().__init__(**options)
        self.count, self.units = count, units
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = None if kernel_initializer is None else keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        width = input_shape[-1]
        limit = (6 / (width + self.units)) ** 0.5
        # without autocast, so that penalties on the weights are exact under mixed precision
        self.kernel = self.add_weight(shape=(self.count, width, self.units), name="kernel", autocast=False,
                                      initializer=self.kernel_initializer or keras.initializers.RandomUniform(-limit, limit))
        self.bias = self.add_weight(shape=(self.count, 1, self.units), name="bias", initializer="zeros")

    def call(self, x):
        return self.activation(ops.matmul(x, ops.cast(self.kernel, self.compute_dtype)) + self.bias)

    def compute_output_shape(self, input_shape):
        return (self.count, *input_shape[1:-1], self.units)

    def get_config(self):
        initializer = self.kernel_initializer
        return {**super().get_config(), "count": self.count, "units": self.units,
                "activation": keras.activations.serialize(self.activation),
                "kernel_initializer": None if initializer is None else keras.initializers.serialize(initializer)}


def gate(experts, name, dtype):
    """Returns the layer softmax(W x): `(batch, width)` -> `(batch, experts)`, each row summing to 1."""
    return keras.layers.Dense(experts, activation="softmax", use_bias=False, name=name, dtype=dtype)


def mixed(weights, experts):
    """Returns sum over i of weights_i x experts_i: `(batch or 1, experts)`, `(experts, batch, units)` -> `(batch, units)`."""
    return ops.sum(ops.transpose(weights)[:, :, None] * experts, axis=0)
