"""Towers that reduce the features of all."""
import keras
from keras import ops

from .towers import Towers, Unit


class NDDR(Towers):
    """Gives each task a learnt reduction of the features of all tasks (Gao et al. 2019, arXiv:1801.08297).

    x~_t = [x_1; ...; x_T] W_t at each stage: a 1 x 1 convolution over the channels of all tasks, or a dense layer for
    vectors. At the start W_t has 0.9 on the diagonal of the task's own channels and 0.1 / (tasks - 1) on that of each other's,
    so that equal copies stay as they are.

    More free than `CrossStitch`, whose units are these with every block of W_t a multiple of the identity. The batch norm and
    the ReLU that the paper puts behind W_t are left out, since they'd change the features of a pretrained backbone, and so
    are its shortcuts to the end. See `Towers` for what becomes of the backbone.

    Args:
        at: the stages, a list of names of layers or blocks of the backbone.
        own: the weight of a task's own features at the start, over 0 and at most 1.

    Example:
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.NDDR(at=["block_3", "block_6"]))
    """

    def unit(self, stage):
        return NDDRUnit(own=self.own, name=f"{stage}_nddr")


@keras.saving.register_keras_serializable("keras_transfer")
class NDDRUnit(Unit):
    """x~_t = [x_1; ...; x_T] W_t: a list of tensors of one shape, one for each task -> the same.

    Args:
        own: the diagonal of a task's own channels at the start.
    """

    def build(self, input_shapes):
        tasks, channels = len(input_shapes), input_shapes[0][-1]

        def diagonals(shape, dtype):
            return ops.kron(ops.convert_to_tensor(self.mixture(tasks), dtype), ops.eye(channels, dtype=dtype))

        # [W_1, ..., W_T], beside each other
        self.kernel = self.add_weight(shape=(tasks * channels, tasks * channels), initializer=diagonals, name="kernel")

    def call(self, x):
        return ops.split(ops.matmul(ops.concatenate(x, axis=-1), self.kernel), len(x), axis=-1)
