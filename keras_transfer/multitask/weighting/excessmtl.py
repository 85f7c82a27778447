"""Weights by the distance to convergence."""
import keras
import tensorflow as tf

from .weighting import GradientCombination, masked, weighted


@keras.saving.register_keras_serializable("keras_transfer")
class ExcessMTL(GradientCombination):
    """Weighs up tasks that are far from their optimum, not those with noisy labels (He et al. 2024, arXiv:2402.02009).

    The excess risk of a task is estimated by E_t = g_t' H_t^-1 g_t, H_t the diagonal matrix of the roots of the sum of g_t^2
    over all steps. w_t <- w_t exp(eta E_t / E_t(0)), then scaled to sum to the number of tasks.

    Keeps a copy of the shared variables for each task. A task that can't learn its noisy labels has a large loss, but
    gradients that cancel over time, so its weight doesn't grow.

    As in the authors' code E_t(0) is the estimate at the first step of the task that has a gradient, with which weights
    stay as they are; the paper takes the mean over a warm-up of three epochs. Tasks that have labels in the batch share among
    them what they had of the sum. Losses aren't looked at.

    Args:
        eta: the step size of the weights.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.ExcessMTL())
    """

    keeps_gradients = True

    def __init__(self, eta=0.01, **options):
        super().__init__(**options)
        if not eta >= 0:
            raise ValueError(f"`eta` must be a number of at least 0. Received: {eta!r}")
        self.eta = float(eta)

    def build(self, tasks, shapes=()):
        kept = {"initializer": "zeros", "trainable": False, "aggregation": "only_first_replica"}
        self.squares = [self.add_weight(shape=(tasks, *shape), name=f"squares_{i}", **kept) for i, shape in enumerate(shapes)]
        self.logs = self.add_weight(shape=(tasks,), name="log_weights", **kept)
        self.first = self.add_weight(shape=(tasks,), name="first_risks", **kept)  # 0: none yet
        super().build(tasks, shapes)

    def combine(self, gradients, losses, present):
        risks = tf.add_n([self._risk(g, squares) for g, squares in zip(gradients, self.squares)])
        growth = tf.math.divide_no_nan(risks, self.first.value)
        self.first.assign(tf.where(present & (self.first <= 0), risks, self.first))
        logs = self.logs + self.eta * masked(growth, present)
        logs += _log_sum(self.logs, present) - _log_sum(logs, present)
        self.logs.assign(tf.where(present, logs, self.logs))
        return weighted(masked(tf.exp(self.logs), present), gradients)

    def last_weights(self, present):
        return masked(tf.exp(self.logs), present)

    @staticmethod
    def _risk(gradient, squares):
        squares.assign_add(gradient**2)
        return tf.reduce_sum(gradient**2 / tf.sqrt(squares + 1e-7), range(1, len(gradient.shape)))

    def get_config(self):
        return {**super().get_config(), "eta": self.eta}


def _log_sum(logs, present):
    return tf.reduce_logsumexp(tf.where(present, logs, float("-inf")))
