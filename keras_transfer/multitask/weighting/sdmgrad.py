"""A direction near the mean, from two halves of the batch."""
import keras
import tensorflow as tf

from ... import _check
from ..._linalg import onto_simplex
from .weighting import Weighting, count, masked, of_present


@keras.saving.register_keras_serializable("keras_transfer")
class SDMGrad(Weighting):
    """MGDA drawn towards the mean, with weights learned from independent halves of each batch (Xiao et al. 2023,
    arXiv:2305.18409).

    w <- P(w - rate (G w + regularization G m)), `steps` times a batch, P the projection onto the simplex, m the mean's weights
    1 / T. The step goes along (g_w + regularization g_m) / (1 + regularization). Entry (i, j) of G is the product of gradients
    from two halves of the batch, which is unbiased. With G fixed, w tends to argmin |g_w + regularization g_m|^2.

    Take it where gradients are noisy: w remembers earlier batches. regularization = 0 is MGDA, a large one the mean. Here G is
    the mean of both orders of the halves, and the rate is 1 / its largest row sum of absolute values, at which the steps
    converge; the official code takes 5 / (mean length)^2 and momentum, and a third batch for the step. Each half is passed by
    itself: batch norms that train see half of the rows.

    Args:
        regularization: lambda, at least 0.
        steps: projected gradient steps on w for each batch.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.SDMGrad(regularization=0.3))
    """

    parts = 2

    def __init__(self, regularization=0.3, steps=20, **options):
        super().__init__(**options)
        if not regularization >= 0:
            raise ValueError(f"`regularization` must be a number of at least 0; 0 is MGDA. Received: {regularization!r}")
        self.regularization, self.steps = float(regularization), _check.whole(steps, "steps", 1)

    def build(self, tasks, shapes=()):
        self.w = self.add_weight(shape=(tasks,), initializer=keras.initializers.Constant(1 / tasks), trainable=False, name="w",
                                 aggregation="only_first_replica")
        super().build(tasks, shapes)

    def call(self, losses, gramian, present):
        gramian, finite = of_present(gramian, present)
        gramian = tf.math.divide_no_nan(gramian, tf.reduce_max(tf.reduce_sum(tf.abs(gramian), -1)))
        mean = tf.math.divide_no_nan(tf.cast(present, tf.float32), count(present))
        w = onto_simplex(tf.convert_to_tensor(self.w), present)
        for _ in range(self.steps):
            w = onto_simplex(w - tf.linalg.matvec(gramian, w + self.regularization * mean), present)
        self.w.assign(tf.where(present & finite, w, self.w))
        weights = (w + self.regularization * mean) / (1 + self.regularization)
        return masked(tf.where(finite, weights, 1.0), present)

    def get_config(self):
        return {**super().get_config(), "regularization": self.regularization, "steps": self.steps}
