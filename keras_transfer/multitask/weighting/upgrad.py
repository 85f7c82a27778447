"""Projecting onto the directions that harm no task."""
import keras
import tensorflow as tf

from ..._linalg import LARGEST, cosines, nonnegative_qp, normalized, settled
from .weighting import Weighting, count


@keras.saving.register_keras_serializable("keras_transfer")
class UPGrad(Weighting):
    """Takes the mean of the gradients' projections onto the directions that harm no task (Quinton and Rey 2024,
    arXiv:2406.16232).

    d = mean_i p_i, p_i = g_i + sum_j u_ij g_j nearest to g_i with g_t'p_i >= 0 for every task t:
    u_i = argmin (e_i + u)' G (e_i + u), u >= 0. So g_t'd >= 0 for all tasks, and gradients that don't conflict give their mean.

    Take it where no task may get worse and each should count by the length of its gradient. Unlike PCGrad it depends on no
    order and harms no task however many there are. The weights of equal solutions are the smallest; TorchJD, the code of
    the paper, adds 1e-4 of the squared lengths to the diagonal instead.

    Args:
        **options: see `Weighting`. At most 64 tasks.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.UPGrad())
    """

    most = LARGEST

    def call(self, losses, gramian, present):
        gramian, active, finite = normalized(gramian, present)
        cosine, lengths = cosines(gramian, active)
        u = nonnegative_qp(cosine, cosine, active)  # of unit gradients: row i, times |g_i| / |g_j| in column j
        chosen = tf.cast(active, u.dtype)
        total = chosen + tf.linalg.matvec(u, chosen * lengths, transpose_a=True) / lengths
        mean = total / tf.cast(tf.maximum(count(present), 1.0), u.dtype)
        return settled(mean, present, finite)
