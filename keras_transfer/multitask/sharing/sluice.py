"""Towers that mix parts of their features."""
import keras
from keras import ops

from ... import _check
from .towers import Towers, Unit


class Sluice(Towers):
    """Mixes two subspaces of each task's features separately (Ruder et al. 2019, arXiv:1705.08142).

    At each stage the channels of task t are cut in two halves G_(t,1) and G_(t,2), and
    G~_(t,i) = sum over s and j of alpha_(t,i),(s,j) G_(s,j), so that a task can share one half and keep the other. The loss
    gets orthogonality x sum over stages and tasks of |G_(t,1)' G_(t,2) / rows|^2, which keeps the halves apart.

    At the start a half takes 0.9 of itself, the rest from the same half of the other tasks and nothing from other halves, so
    that equal copies of a pretrained backbone stay as they are. The matrices G of the penalty are features over the rows of
    the batch (for maps over their places too), since a stage may be any layer. The paper's mixture beta over the layers'
    outputs, which needs layers of one shape, is left out. See `Towers` for what becomes of the backbone.

    Args:
        at: the stages, a list of names of layers or blocks of the backbone with an even number of channels.
        own: the weight of a half itself at the start, over 0 and at most 1.
        orthogonality: the strength of the penalty.

    Example:
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.Sluice(at=["block_3", "block_6"]))
    """

    def __init__(self, at, own=0.9, orthogonality=0.01):
        super().__init__(at, own)
        self.orthogonality = _check.at_least_zero(orthogonality, "orthogonality")

    def unit(self, stage):
        return SluiceUnit(own=self.own, orthogonality=self.orthogonality, name=f"{stage}_sluice")


@keras.saving.register_keras_serializable("keras_transfer")
class SluiceUnit(Unit):
    """Mixes the halves of the channels: a list of tensors of one shape, one for each task -> the same.

    Args:
        own: the weight of a half itself at the start.
        orthogonality: the strength of the penalty.
    """

    def __init__(self, own=0.9, orthogonality=0.01, **options):
        super().__init__(own, **options)
        self.orthogonality = _check.at_least_zero(orthogonality, "orthogonality")

    def build(self, input_shapes):
        tasks, channels = len(input_shapes), input_shapes[0][-1]
        if channels % 2:
            raise ValueError(f"A stage of a Sluice needs an even number of channels, and {self.name!r} is behind one of "
                             f"{channels}. Name another one.")
        self.alpha = self.add_weight(shape=(2 * tasks, 2 * tasks), name="alpha",
                                     initializer=lambda shape, dtype: ops.kron(
                                         ops.convert_to_tensor(self.mixture(tasks), dtype), ops.eye(2, dtype=dtype)))

    def call(self, x):
        halves = [half for x_t in x for half in ops.split(x_t, 2, axis=-1)]
        if self.trainable:  # a frozen unit has frozen layers below, so its penalty is a constant
            self.add_loss(self.orthogonality * sum(overlap(a, b) for a, b in zip(halves[::2], halves[1::2])))
        mixed = [sum(self.alpha[i, j] * half for j, half in enumerate(halves)) for i in range(len(halves))]
        return [ops.concatenate(pair, axis=-1) for pair in zip(mixed[::2], mixed[1::2])]

    def get_config(self):
        return {**super().get_config(), "orthogonality": self.orthogonality}


def overlap(a, b):
    """Returns |A'B / rows|^2 for `(..., channels)`, where all axes but the last are rows."""
    a, b = (ops.reshape(ops.cast(x, "float32"), (-1, x.shape[-1])) for x in (a, b))
    return ops.sum((ops.matmul(ops.transpose(a), b) / ops.cast(ops.shape(a)[0], "float32")) ** 2)
