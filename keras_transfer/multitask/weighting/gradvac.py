"""Vaccinating gradients against conflicts."""
import keras
import tensorflow as tf

from ... import _check
from .weighting import Weighting, masked, of_present

NEAREST = 0.999  # targets are held below it, as at 1 a gradient would have to become infinitely long


@keras.saving.register_keras_serializable("keras_transfer")
class GradVac(Weighting):
    """Turns gradients towards each other until they are as near as they usually are (Wang et al. 2021, arXiv:2010.05874).

    For each task i, over the others j in a random order, with c the cosine of g_i' and g_j and c* its target: if c < c*,
    g_i' <- g_i' + |g_i'| (c* sqrt(1 - c^2) - c sqrt(1 - c*^2)) / (|g_j| sqrt(1 - c*^2)) g_j, which makes the cosine c*. Then
    c* <- (1 - beta) c* + beta c. The step goes along the sum of all g_i'. Targets start at 0, which is PCGrad.

    Take it for tasks that are related: it acts on gradients that don't oppose each other, too. Here one cosine is taken over
    all that is shared, not one for each layer. A pair in which a task is absent, or without gradient, is left alone and keeps
    its target; targets are held between -0.999 and 0.999.

    Args:
        beta: at least 0 and less than 1: how fast targets follow; 0 is PCGrad.
        seed: of the orders; None: drawn anew.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.GradVac())
    """

    draws = True

    def __init__(self, beta=0.01, seed=None, **options):
        super().__init__(**options)
        self.beta, self.seed = _check.share(beta, "beta"), seed

    def build(self, tasks, shapes=()):
        self.targets = self.add_weight(shape=(tasks, tasks), initializer="zeros", trainable=False, name="targets",
                                       aggregation="only_first_replica")
        super().build(tasks, shapes)

    def call(self, losses, gramian, present):
        gramian, finite = of_present(gramian, present)
        lengths = tf.sqrt(tf.linalg.diag_part(gramian))
        cosines = tf.math.divide_no_nan(gramian, lengths[:, None] * lengths[None, :])
        # row i holds the coefficients of g_i' / |g_i| on g_j / |g_j|; a column of `order` says which j all rows look at next
        order = tf.argsort(keras.random.uniform((self.tasks, self.tasks), seed=self.generator))
        rows, targets = tf.eye(self.tasks), tf.convert_to_tensor(self.targets)
        for step in range(self.tasks):
            rows, targets = self._turned(rows, targets, cosines, tf.one_hot(order[:, step], self.tasks))
        self.targets.assign(tf.where(finite, targets, self.targets))
        weights = tf.math.divide_no_nan(tf.linalg.matvec(rows, lengths, transpose_a=True), lengths)
        return masked(tf.where(finite, weights, 1.0), present)

    def _turned(self, rows, targets, cosines, j):
        """Turns each row towards its j, one-hot; one that has no length left, or that is its own j, stays."""
        products = tf.matmul(rows, cosines)
        length = tf.sqrt(tf.maximum(tf.reduce_sum(rows * products, -1), 0.0))  # |g_i'| / |g_i|
        c = tf.clip_by_value(tf.math.divide_no_nan(tf.reduce_sum(products * j, -1), length), -1.0, 1.0)
        target = tf.reduce_sum(targets * j, -1)
        pair = (length > 1e-3 * tf.reduce_sum(tf.abs(rows), -1)) & (tf.linalg.diag_part(j) == 0)
        pair &= tf.linalg.matvec(j, tf.linalg.diag_part(cosines)) > 0
        sine, target_sine = tf.sqrt(1 - c**2), tf.sqrt(1 - target**2)
        added = tf.where(pair & (c < target), length * (target * sine - c * target_sine) / target_sine, 0.0)
        moved = tf.where(pair, self.beta * (c - target), 0.0)
        targets = tf.clip_by_value(targets + moved[:, None] * j, -NEAREST, NEAREST)
        return rows + added[:, None] * j, targets

    def get_config(self):
        return {**super().get_config(), "beta": self.beta, "seed": self.seed}
