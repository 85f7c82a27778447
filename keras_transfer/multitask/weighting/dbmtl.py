"""Balance of losses and of gradients."""
import keras
import tensorflow as tf

from .weighting import GradientCombination, gramian_of, masked, weighted


@keras.saving.register_keras_serializable("keras_transfer")
class DBMTL(GradientCombination):
    """Takes logarithms of the losses and gives all gradients the largest one's norm (Lin et al. 2023, arXiv:2308.12029).

    m_t <- beta m_t + (1 - beta) g_t / L_t, g_t / L_t the gradient of log L_t; the step is the sum of
    max_k |m_k| / |m_t| m_t, over the tasks that have labels in the batch.

    Dual balancing: the unit of a loss doesn't matter, nor the size of a gradient. Keeps a copy of the shared variables for
    each task. m_t begins at 0, so that first steps are short, and stays as it is while the task is absent. beta is the same
    in all steps, as in the authors' library; the paper may let it fall. A loss below 1e-8 counts as 1e-8: a task that
    gets there with a gradient left makes all steps long, so take losses that don't get to zero.

    Args:
        beta: the share of the mean of earlier gradients; 0: the gradients of this step only.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.DBMTL())
    """

    keeps_gradients = True

    def __init__(self, beta=0.9, **options):
        super().__init__(**options)
        if not 0 <= beta < 1:
            raise ValueError(f"`beta` must be a share: at least 0 and less than 1. Received: {beta!r}")
        self.beta = float(beta)

    def build(self, tasks, shapes=()):
        kept = {"initializer": "zeros", "trainable": False, "aggregation": "only_first_replica"}
        self.means = [self.add_weight(shape=(tasks, *shape), name=f"mean_{i}", **kept) for i, shape in enumerate(shapes)]
        super().build(tasks, shapes)

    def combine(self, gradients, losses, present):
        losses = tf.maximum(losses, 1e-8)
        means = [self._mean(m, g, losses, present) for m, g in zip(self.means, gradients)]
        norms = masked(tf.sqrt(tf.linalg.diag_part(gramian_of(means))), present)
        return weighted(tf.math.divide_no_nan(tf.reduce_max(norms), norms), means)

    def _mean(self, mean, gradient, losses, present):
        losses, present = (tf.reshape(x, (-1, *[1] * (len(gradient.shape) - 1))) for x in (losses, present))
        mean.assign(tf.where(present, self.beta * mean + (1 - self.beta) * gradient / losses, mean))
        return mean.value

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}
