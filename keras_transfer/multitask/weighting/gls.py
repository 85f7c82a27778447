"""The geometric mean of losses."""
import keras
import tensorflow as tf

from .weighting import Weighting, count, masked


@keras.saving.register_keras_serializable("keras_transfer")
class GLS(Weighting):
    """Minimizes the geometric mean of the losses (geometric loss strategy, Chennupati et al. 2019, arXiv:1904.08492).

    L = (L_1 ... L_T)^(1 / T), so w_t = dL / dL_t = L / (T L_t).

    The unit of a loss doesn't matter: a loss times c changes the length of all steps, not their direction. Without state.

    The mean is over the tasks that have labels in the batch. A loss below 1e-8 counts as 1e-8, since the logarithm needs it:
    at zero or less a task keeps a large but finite weight.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.GLS())
    """

    needs_gramian = False

    def call(self, losses, gramian, present):
        losses, tasks = tf.maximum(losses, 1e-8), count(present)
        mean = tf.exp(tf.math.divide_no_nan(tf.reduce_sum(masked(tf.math.log(losses), present)), tasks))
        return masked(tf.math.divide_no_nan(mean, tasks * losses), present)
