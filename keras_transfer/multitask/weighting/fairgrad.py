"""Fair improvements."""
import keras
import tensorflow as tf

from ..._linalg import LARGEST, balanced, cosines, normalized, settled
from .weighting import Weighting


@keras.saving.register_keras_serializable("keras_transfer")
class FairGrad(Weighting):
    """Takes the direction in which the improvements of the tasks are alpha-fair (Ban and Ji 2024, arXiv:2402.15638).

    It maximizes sum_t (g_t'd)^(1 - alpha) / (1 - alpha) over directions d of a given length: d = sum_t a_t g_t with
    G a = a^(-1 / alpha), element by element. alpha = 1 gives `NashMTL`; a larger one cares more for the task that improves
    least, up to MGDA's answer.

    Take it to choose between those two. Here G is divided by the tasks' mean squared gradient length, so that equally long,
    orthogonal gradients give the plain sum and weights don't depend on a common scale; the official code takes G as it is,
    and least squares instead of Newton's method. Where gradients cancel out all weights are 0; a task without gradient gets
    the weight 0 and counts as absent.

    Args:
        alpha: a number above 0; 2 in most of the official experiments.
        **options: see `Weighting`. At most 64 tasks.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.FairGrad(alpha=2.0))
    """

    most = LARGEST

    def __init__(self, alpha=2.0, **options):
        super().__init__(**options)
        if not 0.1 <= alpha <= 100:
            raise ValueError(f"`alpha` must be a number from 0.1 to 100; 1 is proportional fairness. Received: {alpha!r}")
        self.alpha = float(alpha)

    def call(self, losses, gramian, present):
        gramian, active, finite = normalized(gramian, present)
        cosine, lengths = cosines(gramian, active)
        # b_t = a_t |g_t|
        b, solved = balanced(cosine, lengths ** (1 / self.alpha - 1), 1 / self.alpha, active)
        return settled(tf.where(solved, b / lengths, 0.0), present, finite)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}
