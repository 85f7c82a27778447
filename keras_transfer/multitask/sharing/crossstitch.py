"""Towers that mix their features."""
import keras

from .towers import Towers, Unit


class CrossStitch(Towers):
    """Gives each task a copy of the backbone and mixes their features at inner stages (Misra et al. 2016, arXiv:1604.03539).

    x~_t = sum over s of alpha_ts x_s at each stage, with one number alpha_ts for each pair of tasks. At the start alpha is
    0.9 for a task's own features and 0.1 / (tasks - 1) for each other's, so that equal copies stay as they are.

    For two or three tasks of which nobody knows how deep they should share. The paper's units had learning rates of 100 to
    1000 times the network's; here they have the network's own. See `Towers` for what becomes of the backbone.

    Args:
        at: the stages, a list of names of layers or blocks of the backbone.
        own: the weight of a task's own features at the start, over 0 and at most 1; 1 begins with independent networks.

    Example:
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.CrossStitch(at=["block_3", "block_6"]))
    """

    def unit(self, stage):
        return CrossStitchUnit(own=self.own, name=f"{stage}_stitch")


@keras.saving.register_keras_serializable("keras_transfer")
class CrossStitchUnit(Unit):
    """x~_t = sum over s of alpha_ts x_s: a list of tensors of one shape, one for each task -> the same.

    Args:
        own: alpha_tt at the start.
    """

    def build(self, input_shapes):
        tasks = len(input_shapes)
        self.alpha = self.add_weight(shape=(tasks, tasks), name="alpha",
                                     initializer=lambda shape, dtype: keras.ops.convert_to_tensor(self.mixture(tasks), dtype))

    def call(self, x):
        return [sum(self.alpha[t, s] * x_s for s, x_s in enumerate(x)) for t in range(len(x))]
