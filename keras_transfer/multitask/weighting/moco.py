"""Weighing corrected gradients."""
import keras
import tensorflow as tf

from ..._linalg import onto_simplex
from .weighting import GradientCombination, gramian_of, masked, weighted


@keras.saving.register_keras_serializable("keras_transfer")
class MoCo(GradientCombination):
    """Tracks each task's gradient over the batches and learns MGDA's weights from the tracked ones (Fernando et al. 2023,
    arXiv:2210.12624).

    In batch k: y_t <- y_t - beta_k (y_t - g_t); w <- P(w - gamma_k (Y'Y + rho I) w), P the projection onto the simplex;
    the step goes along sum_t w_t y_t. beta_k = beta / k^decay, gamma_k = gamma / k^decay; y starts at 0, w at 1 / T.

    Take it where gradients are noisy: MGDA's weights from single batches are biased. It keeps as many numbers as there are
    shared weights, for each task. Here Y'Y is divided by its mean diagonal entry, so that w doesn't depend on a common scale
    of the losses, and k counts the batches in which a task was present; y isn't bounded, which the paper does for its proof.

    Args:
        beta: above 0 and at most 1: what a first batch counts.
        gamma: the rate of the weights, at least 0; 0 keeps them equal.
        rho: draws the weights together, at least 0.
        decay: of both rates, at least 0.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.MoCo())
    """

    keeps_gradients = True

    def __init__(self, beta=0.5, gamma=0.1, rho=0.0, decay=0.5, **options):
        super().__init__(**options)
        if not 0 < beta <= 1:
            raise ValueError(f"`beta` must be a number above 0 and at most 1. Received: {beta!r}")
        for name, value in (("gamma", gamma), ("rho", rho), ("decay", decay)):
            if not value >= 0:
                raise ValueError(f"`{name}` must be a number of at least 0. Received: {value!r}")
        self.beta, self.gamma, self.rho, self.decay = float(beta), float(gamma), float(rho), float(decay)

    def build(self, tasks, shapes=()):
        if not shapes:
            raise ValueError("MoCo keeps a gradient of every shared variable for each task, and was built without shapes of "
                             "variables. Let it weigh the gradients of variables, not those of features.")
        options = {"trainable": False, "aggregation": "only_first_replica"}
        self.y = [self.add_weight(shape=(tasks, *shape), initializer="zeros", name=f"y_{place}", **options)
                  for place, shape in enumerate(shapes)]
        even = keras.initializers.Constant(1 / tasks)
        self.w = self.add_weight(shape=(tasks,), initializer=even, name="w", **options)
        self.k = self.add_weight(shape=(tasks,), initializer="zeros", name="k", **options)
        super().build(tasks, shapes)

    def combine(self, gradients, losses, present):
        gradients = [tf.where(_like(present, g), g, 0.0) for g in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        k = self.k + 1.0
        y = [old - _like(self.beta / k**self.decay, g) * (old - g) for old, g in zip(self.y, gradients)]
        seen = [tf.where(_like(present, g), g, 0.0) for g in y]
        w = self._weights(gramian_of(seen), self.gamma / k**self.decay, present)
        self._keep(zip([*self.y, self.w, self.k], [*y, w, k]), present & finite)
        # what isn't finite is handed on, so that whoever looks for it finds it
        return [tf.where(finite, mean, tf.reduce_sum(g, 0)) for mean, g in zip(weighted(w, seen), gradients)]

    def last_weights(self, present):
        return masked(tf.convert_to_tensor(self.w), present)

    def _weights(self, gramian, gamma, present):
        diagonal = tf.linalg.diag_part(gramian)
        mean = tf.math.divide_no_nan(tf.reduce_sum(diagonal), tf.reduce_sum(tf.cast(present, tf.float32)))
        w = onto_simplex(tf.convert_to_tensor(self.w), present)
        slope = tf.math.divide_no_nan(tf.linalg.matvec(gramian, w), mean) + self.rho * w
        return onto_simplex(w - gamma * slope, present)

    def _keep(self, pairs, changed):
        for variable, value in pairs:
            variable.assign(tf.where(_like(changed, value), value, variable))

    def get_config(self):
        own = {"beta": self.beta, "gamma": self.gamma, "rho": self.rho, "decay": self.decay}
        return {**super().get_config(), **own}


def _like(values, gradient):
    """Gives `values`, `(tasks,)`, the rank of `gradient`."""
    return tf.reshape(values, (-1, *[1] * (len(gradient.shape) - 1)))
