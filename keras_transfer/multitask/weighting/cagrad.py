"""Averting conflicts near the mean."""
import keras
import tensorflow as tf

from ... import _check
from ..._linalg import LARGEST, interior_point, normalized, positive, settled
from .weighting import Weighting


@keras.saving.register_keras_serializable("keras_transfer")
class CAGrad(Weighting):
    """Improves the task that improves least, near the mean of all gradients (Liu et al. 2021, arXiv:2110.14048).

    d = argmax min_t g_t'd, |d - g_0| <= c |g_0|, g_0 = mean_t g_t. With g_w = sum_t w_t g_t, w on the simplex:
    w = argmin g_w'g_0 + c |g_0| |g_w|; d = g_0 + c |g_0| / |g_w| g_w, divided by 1 + c^2 as in the official code.

    Take it to descend on the mean loss with fewer conflicts; c = 0 gives the mean. Where g_w is 0, as
    where gradients cancel out, 1 / |g_w| is bounded by 1000 / the root of the mean squared length. Weights sum to about
    1 + c |g_0| / |g_w|, so the step is that of a mean, not of a sum.

    Args:
        c: the radius as a share of |g_0|, at least 0 and less than 1; 0.4 for NYU-v2 in the paper.
        **options: see `Weighting`. At most 64 tasks.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.CAGrad(c=0.4))
    """

    most = LARGEST

    def __init__(self, c=0.4, **options):
        super().__init__(**options)
        self.c = _check.share(c, "c")

    def call(self, losses, gramian, present):
        gramian, _, finite = normalized(gramian, present)
        gramian, chosen = positive(gramian, 0.0), tf.cast(present, gramian.dtype)
        mean = tf.math.divide_no_nan(chosen, tf.reduce_sum(chosen))
        radius = self.c * _length(gramian, mean)  # c |g_0|
        w = _most_averse(gramian, mean, radius, present)
        averse = radius / tf.maximum(_length(gramian, w), 1e-3) * w
        return settled((mean + averse) / (1 + self.c**2), present, finite)

    def get_config(self):
        return {**super().get_config(), "c": self.c}


@tf.function(autograph=False)
def _most_averse(gramian, mean, radius, free):
    """Returns the w on the simplex that minimizes g_w'g_0 + radius |g_w|."""
    with_mean = tf.linalg.matvec(gramian, mean)  # g_t'g_0

    def problem(w, mu):
        along = radius**2 * tf.matmul(w, gramian)
        root = tf.sqrt(tf.maximum(tf.reduce_sum(w * along, -1, keepdims=True), 0.0) + mu**2 + 1e-30)
        unit = along / root
        return with_mean + unit, (radius**2 * gramian - unit[:, :, None] * unit[:, None, :]) / root[..., None]

    return interior_point(problem, gramian[:1], free, tf.ones_like(mean))[0]


def _length(gramian, weights):
    return tf.sqrt(tf.maximum(tf.reduce_sum(weights * tf.linalg.matvec(gramian, weights)), 0.0))
