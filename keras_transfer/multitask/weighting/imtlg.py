"""Equal projections."""
import keras
import tensorflow as tf

from ..._linalg import cosines, eigen_power, normalized, settled
from .weighting import Weighting


@keras.saving.register_keras_serializable("keras_transfer")
class IMTLG(Weighting):
    """Goes where the direction has the same projection on every task's gradient: IMTL-G (Liu et al. 2021, ICLR,
    "Towards Impartial Multi-task Learning").

    d = sum_t a_t g_t with u_1'd = ... = u_T'd, u_t = g_t / |g_t|, and sum_t a_t = 1. With C the cosines:
    b = C^+ (1, ..., 1)', a_t = (b_t / |g_t|) / sum_s (b_s / |g_s|).

    Take it where the losses are in different units: the direction doesn't depend on them. Weights may be negative. They sum
    to 1, so the shortest gradients set the length of the step. The pseudo-inverse is that of the "Jacobian descent" paper
    (arXiv:2406.16232) and lets gradients depend on each other. Where the sum is negative the paper's formula would go uphill
    for every task: here the sum is then -1. It's bounded below by a thousandth of the sum of |b_t| / |g_t|, so that no weight
    exceeds 1000. Where gradients cancel out all weights are 0. A task without gradient gets the weight 0 and counts as absent.

    Args:
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.IMTLG())
    """

    def call(self, losses, gramian, present):
        gramian, active, finite = normalized(gramian, present)
        cosine, lengths = cosines(gramian, active)
        inverse, _ = eigen_power(cosine, -1.0)
        ones = tf.cast(active, cosine.dtype)
        b = tf.linalg.matvec(inverse, ones)
        equal = tf.reduce_max(tf.abs(tf.linalg.matvec(cosine, b) - ones)) < 1e-3
        a = tf.where(equal, b / lengths, 0.0)
        total = tf.maximum(tf.abs(tf.reduce_sum(a)), 1e-3 * tf.reduce_sum(tf.abs(a)))
        return settled(tf.math.divide_no_nan(a, total), present, finite)
