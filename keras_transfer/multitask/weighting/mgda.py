"""The shortest common direction."""
import keras
import tensorflow as tf

from ..._linalg import LARGEST, cosines, normalized, settled, simplex_qp
from .weighting import Weighting


@keras.saving.register_keras_serializable("keras_transfer")
class MGDA(Weighting):
    """Goes along the shortest convex combination of the gradients, which improves all tasks (Sener and Koltun 2018,
    arXiv:1810.04650).

    w = argmin |sum_t w_t g_t|^2, w_t >= 0, sum_t w_t = 1. With d that combination, g_t'd >= |d|^2 for every task; d = 0 where
    no direction improves all. The shortest gradients dominate, and a task without gradient stops the step.

    Take it where no task may get worse; the steps are shorter than those of the plain sum. Here the quadratic program is
    solved to high accuracy instead of a number of Frank-Wolfe steps; of equal minimizers (equal gradients, say) it takes
    the most even one. The gradients aren't normalized first, which is an option of the official code.

    Args:
        **options: see `Weighting`. At most 64 tasks.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.MGDA())
    """

    most = LARGEST

    def call(self, losses, gramian, present):
        gramian, active, finite = normalized(gramian, present)
        cosine, lengths = cosines(gramian, active)
        # with v_t = w_t |g_t| / shortest |g| small gradients are as exact as large ones
        per_v = tf.reduce_min(tf.where(active, lengths, lengths.dtype.max)) / lengths
        w = per_v * simplex_qp(cosine, per_v, active)
        without = present & ~active
        return settled(tf.where(tf.reduce_any(without), _even(without), w), present, finite)


def _even(chosen):
    chosen = tf.cast(chosen, tf.float64)
    return tf.math.divide_no_nan(chosen, tf.reduce_sum(chosen))
