"""Impartial learning by losses."""
import keras
import tensorflow as tf

from .weighting import LearnedWeighting, masked


@keras.saving.register_keras_serializable("keras_transfer")
class IMTLL(LearnedWeighting):
    """Learns a scale for each loss that brings all to the same size (Liu et al. 2021, IMTL-L, openreview IMPnRXEWpvr).

    Minimizes the sum over tasks of exp(s_t) L_t - s_t. A loss that stays at L_t ends at the weight 1 / L_t, so that all
    weighed losses are 1.

    For losses of unlike units. It makes no assumption about their distribution, which is all that parts it from
    `Uncertainty`: there weights end at half of these. The paper's other half, IMTL-G, weighs gradients. All s_t begin at 0,
    so that the first step is that of the plain sum. For s_t a loss below 1e-8 counts as 1e-8: a loss of zero or less would
    drive its weight to infinity.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.IMTLL())
    """

    def build(self, tasks, shapes=()):
        self.s = self.add_weight(shape=(tasks,), initializer="zeros", name="log_scales")
        super().build(tasks, shapes)

    def objective(self, losses, present):
        # the gradient passes the floor, so that d/dL is exp(s) below it too
        losses = tf.stop_gradient(tf.maximum(losses, 1e-8)) + (losses - tf.stop_gradient(losses))
        return tf.reduce_sum(masked(tf.exp(self.s) * losses - self.s, present))
