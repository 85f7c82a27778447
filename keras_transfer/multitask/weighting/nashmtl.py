"""Bargaining for the direction."""
import keras
import tensorflow as tf

from ..._linalg import LARGEST, balanced, cosines, normalized, settled
from .weighting import Weighting


@keras.saving.register_keras_serializable("keras_transfer")
class NashMTL(Weighting):
    """Takes the direction of Nash's bargaining solution: the product of all improvements is largest (Navon et al. 2022,
    arXiv:2202.01017).

    G a = 1 / a, element by element: the stationary point of a'Ga / 2 - sum_t log a_t, which is convex.

    Take it where the losses are in different units: a task scaled by c > 0 gets its weight divided by c, and the direction
    stays. Here G is divided by the tasks' mean squared gradient length, so that equally long, orthogonal gradients give the
    plain sum, weights don't depend on a common scale and the step has the length sqrt(sum_t |g_t|^2). The official code
    divides by the Frobenius norm and then clips the step to length 1. It linearizes and calls a cone solver; here it's
    Newton's method.

    Where gradients cancel out there is no bargain: all weights are 0. A task without gradient gets the weight 0 and counts
    as absent.

    Args:
        **options: see `Weighting`. At most 64 tasks.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.NashMTL())
    """

    most = LARGEST

    def call(self, losses, gramian, present):
        gramian, active, finite = normalized(gramian, present)
        cosine, lengths = cosines(gramian, active)
        b, solved = balanced(cosine, tf.ones_like(lengths), 1.0, active)  # b_t = a_t |g_t|
        return settled(tf.where(solved, b / lengths, 0.0), present, finite)
