"""Task uncertainty."""
import keras
import tensorflow as tf

from .weighting import LearnedWeighting, masked


@keras.saving.register_keras_serializable("keras_transfer")
class Uncertainty(LearnedWeighting):
    """Learns the noise of each task and weighs by its inverse (Kendall et al. 2018, arXiv:1705.07115).

    Minimizes the sum over tasks of exp(-s_t) L_t + s_t / 2, where s_t = log sigma_t^2: L_t / sigma_t^2 + log sigma_t. A loss
    that stays at L_t ends at the weight 1 / (2 L_t).

    This is the paper's form for classification. Its form for regression, with L_t / 2, is the same one at s_t + log 2. Code
    that adds s_t in place of s_t / 2, as much does, has twice these weights in the end; it is `IMTLL` with the sign of s_t
    changed. All s_t begin at 0, so that the first step is that of the plain sum. For s_t a loss below 1e-8 counts as 1e-8:
    a loss of zero or less would drive its weight to infinity.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.Uncertainty())
    """

    def build(self, tasks, shapes=()):
        self.s = self.add_weight(shape=(tasks,), initializer="zeros", name="log_variances")
        super().build(tasks, shapes)

    def objective(self, losses, present):
        # the gradient passes the floor, so that d/dL is exp(-s) below it too
        losses = tf.stop_gradient(tf.maximum(losses, 1e-8)) + (losses - tf.stop_gradient(losses))
        return tf.reduce_sum(masked(tf.exp(-self.s) * losses + self.s / 2, present))
