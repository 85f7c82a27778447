"""Aligning the principal components of the gradients."""
import keras
import tensorflow as tf

from ..._linalg import eigen_power, normalized, settled
from .weighting import Weighting


@keras.saving.register_keras_serializable("keras_transfer")
class AlignedMTL(Weighting):
    """Replaces the gradients by the nearest ones that are orthogonal and equally long (Senushkin et al. 2023,
    arXiv:2305.19000).

    With G = V diag(l) V': w = B (1, ..., 1)', B = sqrt(l_min) V diag(1 / sqrt(l)) V', over eigenvalues l that aren't 0. The
    step goes along the sum of the new gradients, all as long as the weakest component, sqrt(l_min).

    Take it against both conflicts and dominance; the steps are short where gradients are nearly dependent. Eigenvalues below
    1e-6 T of the largest are rounding of float32 and count as 0: components in which gradients cancel out or agree wholly.
    All tasks are equally important: loss weights belong to the heads.

    Args:
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.AlignedMTL())
    """

    def call(self, losses, gramian, present):
        gramian, active, finite = normalized(gramian, present)
        power, least = eigen_power(gramian, -0.5)
        w = tf.sqrt(least) * tf.linalg.matvec(power, tf.cast(active, power.dtype))
        return settled(w, present, finite)
