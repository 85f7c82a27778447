"""Masks of each task on shared stages."""
import keras
from keras import ops

from .sharing import Sharing, several
from .stages import stage_names, tapped


@keras.saving.register_keras_serializable("keras_transfer")
class MTAN(Sharing):
    """Lets each task mask the features of one shared backbone, stage by stage (Liu et al. 2019, arXiv:1803.10704).

    a^_j = a_j * p_j with the mask a_j = sigmoid(h(relu(g([p_j; f(a^_(j-1))])))): p_j are the features of stage j, g and h are
    1 x 1 convolutions, and f, a 3 x 3 convolution with ReLU, brings what the task had before to the size of stage j. The last
    stage is the output of the backbone, and its a^ goes to the head. Vectors take dense layers instead.

    For many tasks: the backbone runs once, and each task adds little. The mask reads p_j, where the paper's reads the first
    convolution u_j of the stage, which not every backbone has; f and g give a quarter of the channels of p_j. Each
    convolution has a batch norm, as in the paper.

    In the model the layer `backbone` has the outputs of the stages too; its layers are those of the given backbone, not
    copies, and `kt.freeze` and `kt.unfreeze` set them as ever. The masks always train. The features of the task `breed` are
    the layer `features_breed`.

    Args:
        at: the stages, a list of names of layers or blocks of the backbone from input to output, whose maps don't grow.
        **options: see `Sharing`.

    Call: list of the stages' features, `(batch, height, width, channels)`, `(batch, steps, channels)` or
    `(batch, channels)`, the backbone's output last -> `{task: of the last one's shape}`.

    Raises:
        ValueError: the stages aren't in order, or their size isn't known.

    Example:
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.MTAN(at=["block_3", "block_6"]))
    """

    def __init__(self, at, **options):
        super().__init__(**options)
        self.at = stage_names(at)

    def over(self, backbone, inputs, tasks):
        """Returns `{task: tensor}` for symbolic `inputs` of `backbone`."""
        self.for_tasks(several(tasks))
        return self(tapped(backbone, self.at)(inputs))

    def build(self, input_shapes):
        names = [*self.at, "the output"]
        for j in range(1, len(names)):
            check_sizes(input_shapes[j - 1], input_shapes[j], names[j - 1], names[j])
        self.attention = [[Attention(name=f"attention_{task}_{j}", dtype=self.dtype_policy) for j in range(len(names))]
                          for task in self.tasks]
        for chain in self.attention:
            for j, attention in enumerate(chain):
                attention.build(input_shapes[max(j - 1, 0):j + 1])

    def call(self, stages, training=None):
        attended = []
        for chain in self.attention:
            previous = []
            for p, attention in zip(stages, chain):
                previous = [attention([*previous, p], training=training)]
            attended += previous
        return self.by_task(attended)

    def get_config(self):
        return {**super().get_config(), "at": list(self.at)}


@keras.saving.register_keras_serializable("keras_transfer")
class Attention(keras.layers.Layer):
    """a * p with a = sigmoid(h(relu(g([p; f(a^)])))), all with batch norms: `[p]` or `[a^, p]` -> the shape of p."""

    def build(self, input_shapes):
        *previous, p = input_shapes
        width = max(1, p[-1] // 4)
        self.f = None
        if previous:
            self.f = Normed(width, convolves=len(p) == len(previous[0]) == 4, name="f", dtype=self.dtype_policy)
            self.f.build(previous[0])
        self.g = Normed(width, name="g", dtype=self.dtype_policy)
        self.g.build((*p[:-1], p[-1] + (width if previous else 0)))
        self.h = Normed(p[-1], activation="sigmoid", name="h", dtype=self.dtype_policy)
        self.h.build((*p[:-1], width))

    def call(self, inputs, training=None):
        *previous, p = inputs
        before = [resized(self.f(x, training=training), p.shape) for x in previous]
        a = self.h(self.g(ops.concatenate([p, *before], axis=-1), training=training), training=training)
        return a * p

    def compute_output_shape(self, input_shapes):
        return input_shapes[-1]


@keras.saving.register_keras_serializable("keras_transfer")
class Normed(keras.layers.Layer):
    """activation(norm(W x)): `(batch, ..., channels)` -> `(batch, ..., units)`; W is 3 x 3 if it `convolves`, else 1 x 1."""

    def __init__(self, units, activation="relu", convolves=False, **options):
        super().__init__(**options)
        self.units, self.activation, self.convolves = units, activation, convolves

    def build(self, input_shape):
        make = keras.layers.Conv2D if self.convolves else keras.layers.Dense
        how = {"kernel_size": 3, "padding": "same"} if self.convolves else {}
        self.linear = make(self.units, use_bias=False, name="linear", dtype=self.dtype_policy, **how)
        self.linear.build(input_shape)
        self.norm = keras.layers.BatchNormalization(name="norm", dtype=self.dtype_policy)
        self.norm.build((*input_shape[:-1], self.units))

    def call(self, x, training=None):
        return getattr(ops, self.activation)(self.norm(self.linear(x), training=training))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "activation": self.activation, "convolves": self.convolves}


def check_sizes(before, after, name, next_name):
    """Refuses two stages one after the other of which the second isn't a vector and the first can't be brought to its size."""
    if len(after) == 2:
        return
    told = f"from {name!r} {tuple(before)} to {next_name!r} {tuple(after)}"
    if len(before) != len(after):
        raise ValueError(f"MTAN can't go {told}. Name stages in the order of depth.")
    if None in (*before[1:-1], *after[1:-1]) and len(after) == 4:
        raise ValueError(f"MTAN needs stages of a known size and can't go {told}. Give the backbone an `input_shape`.")
    if any(b is not None and b < a for b, a in zip(before[1:-1], after[1:-1])) or len(after) == 3 and before[1] != after[1]:
        raise ValueError(f"MTAN can't go {told}: maps may shrink, not grow. Name stages in the order of depth.")


def resized(x, shape):
    """Averages `x` to the size of `shape`: places side by side for maps, all of them for a vector."""
    if len(shape) == 2:
        return ops.mean(x, axis=range(1, len(x.shape) - 1)) if len(x.shape) > 2 else x
    if len(shape) == 3 or x.shape[1:3] == shape[1:3]:
        return x
    strides = tuple(a // b for a, b in zip(x.shape[1:3], shape[1:3]))
    return ops.average_pool(x, strides, strides, padding="same")[:, :shape[1], :shape[2]]
