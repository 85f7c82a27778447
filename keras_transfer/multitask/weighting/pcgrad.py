"""Projecting conflicting gradients."""
import keras
import tensorflow as tf

from .weighting import Weighting, masked


@keras.saving.register_keras_serializable("keras_transfer")
class PCGrad(Weighting):
    """Takes from each task's gradient what opposes another task's (Yu et al. 2020, arXiv:2001.06782).

    For each task i, over the others j in a random order: if g_i' g_j < 0, g_i' <- g_i' - (g_i' g_j) / |g_j|^2 g_j. The step
    goes along the sum of all g_i'. Gradients that don't oppose each other give the plain sum.

    Take it first of the methods that look at gradients: it solves nothing and leaves agreeing tasks alone. Two tasks are never
    harmed by its step; three or more may be, depending on the order.

    Here g_i' is kept as its coefficients on g_1, ..., g_T, so that the Gramian is all that is needed.

    Args:
        seed: of the orders; None: drawn anew.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.PCGrad())
    """

    draws = True

    def __init__(self, seed=None, **options):
        super().__init__(**options)
        self.seed = seed

    def call(self, losses, gramian, present):
        gramian = tf.where(present[:, None] & present[None, :], gramian, 0.0)
        finite = tf.reduce_all(tf.math.is_finite(gramian))
        squares = tf.linalg.diag_part(gramian)
        others = ~tf.eye(self.tasks, dtype=tf.bool)
        # row i holds the coefficients of g_i'; a column of `order` says which j all rows look at next
        order = tf.argsort(keras.random.uniform((self.tasks, self.tasks), seed=self.generator))
        rows, coefficients = tf.range(self.tasks), tf.eye(self.tasks)
        for step in range(self.tasks):
            j = order[:, step]
            product = tf.reduce_sum(coefficients * tf.gather(gramian, j), -1)  # g_i' g_j
            opposed = (product < 0) & tf.gather_nd(others, tf.stack([rows, j], -1))
            change = tf.where(opposed, tf.math.divide_no_nan(product, tf.gather(squares, j)), 0.0)
            coefficients -= change[:, None] * tf.one_hot(j, self.tasks)
        summed = tf.reduce_sum(tf.where(present[:, None], coefficients, 0.0), 0)
        return masked(tf.where(finite, summed, 1.0), present)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
