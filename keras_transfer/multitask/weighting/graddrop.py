"""Dropping gradients by their signs."""
import keras
import tensorflow as tf

from .weighting import GradientCombination


@keras.saving.register_keras_serializable("keras_transfer")
class GradDrop(GradientCombination):
    """Lets only one sign through at each element, drawn by how much the tasks agree on it (Chen et al. 2020,
    arXiv:2010.06808).

    P = (1 + sum_t g_t / sum_t |g_t|) / 2; with U uniform on [0, 1), an element keeps the positive g_t if P > U and the negative
    ones if not; the kept ones are added up. Where all tasks agree this is the plain sum, elsewhere its mean over the draws is.

    Take it against many small conflicts. All tasks see the same U. The paper draws at the features, with gradients times the
    signs of the features and P from their sums over the batch; here each element of a shared variable, or of the features of
    each example, is drawn by itself. Nothing leaks.

    Args:
        seed: of the draws; None: drawn anew.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.GradDrop())
    """

    draws = True

    def __init__(self, seed=None, **options):
        super().__init__(**options)
        self.seed = seed

    def combine(self, gradients, losses, present):
        return [self._combined(_present(gradient, present)) for gradient in gradients]

    def _combined(self, gradients):
        total, size = tf.reduce_sum(gradients, 0), tf.reduce_sum(tf.abs(gradients), 0)
        p = (1 + tf.math.divide_no_nan(total, size)) / 2
        u = keras.random.uniform(tf.shape(p), seed=self.generator)
        # NaN is kept, so that whoever looks for it finds it
        kept = tf.reduce_sum(tf.where((p > u)[None], tf.maximum(gradients, 0.0), tf.minimum(gradients, 0.0)), 0)
        return tf.where(tf.math.is_finite(size), kept, total)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def _present(gradient, present):
    """Returns gradients `(tasks, ...)` with 0 for absent tasks."""
    return tf.where(tf.reshape(present, (-1, *[1] * (len(gradient.shape) - 1))), gradient, 0.0)
