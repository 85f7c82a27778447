"""Gradients of one size."""
import keras
import tensorflow as tf

from .weighting import Weighting, count, masked


@keras.saving.register_keras_serializable("keras_transfer")
class GradNorm(Weighting):
    """Learns weights that bring the gradients to one size, larger for tasks that lag behind (Chen et al. 2018, arXiv:1711.02257).

    G_t = w_t |g_t|, r_t = (L_t / L_t(0)) / mean_k (L_k / L_k(0)). After each step w goes down the gradient of
    sum_t |G_t - mean(G) r_t ** alpha|, the second term held constant, and is scaled to sum to the number of tasks.

    L_t(0) is the first loss that is seen of the task, so weights move from the first step on. Here g_t is the gradient over
    all that the tasks share, in place of the last shared layer, and w moves by plain gradient descent. A weight stays at 0.001
    or more before it is scaled, where the paper doesn't say what keeps it above 0. A loss below 1e-8 counts as 1e-8. The means
    are over the tasks that have labels in the batch; these share among them what they had of the sum.

    Args:
        alpha: how strongly tasks are brought to train at one rate; 0: gradients of one size only.
        lr: the learning rate of the weights.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.GradNorm(alpha=0.5))
    """

    def __init__(self, alpha=1.5, lr=0.025, **options):
        super().__init__(**options)
        self.alpha, self.lr = alpha, lr

    def build(self, tasks, shapes=()):
        kept = {"shape": (tasks,), "trainable": False, "aggregation": "only_first_replica"}
        self.w = self.add_weight(initializer="ones", name="task_weights", **kept)
        self.first = self.add_weight(initializer="zeros", name="first_losses", **kept)  # 0: not seen yet
        super().build(tasks, shapes)

    def call(self, losses, gramian, present):
        losses, w = tf.maximum(losses, 1e-8), masked(self.w.value, present)
        first = tf.where(present & (self.first <= 0), losses, self.first)
        self.first.assign(first)
        norms = tf.sqrt(tf.maximum(tf.linalg.diag_part(gramian), 0.0))
        progress = masked(tf.math.divide_no_nan(losses, first), present)
        r = tf.math.divide_no_nan(progress, _mean(progress, present))
        gaps = w * norms - _mean(w * norms, present) * r**self.alpha
        moved = masked(tf.maximum(w - self.lr * tf.sign(gaps) * norms, 1e-3), present)
        moved *= tf.math.divide_no_nan(tf.reduce_sum(w), tf.reduce_sum(moved))
        self.w.assign(tf.where(present, moved, self.w))
        return w

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "lr": self.lr}


def _mean(values, present):
    return tf.math.divide_no_nan(tf.reduce_sum(masked(values, present)), count(present))
