"""Smooth Tchebycheff scalarization."""
import keras
import tensorflow as tf

from ... import _check
from .weighting import Weighting, count, masked


@keras.saving.register_keras_serializable("keras_transfer")
class STCH(Weighting):
    """Minimizes a smooth maximum of the losses, each in units of its nadir (Lin et al. 2024, arXiv:2402.19078).

    Smooth Tchebycheff scalarization: T mu log sum_t exp(log(L_t / z_t) / mu), so w_t = T p_t / L_t, where
    p = softmax(log(L / z) / mu). The smaller mu, the nearer to training the worst task only. The nadir z_t is the mean loss of
    the last epoch of the warm-up, in which the sum of the logarithms is minimized: w_t = 1 / L_t.

    As in the authors' code for networks: logarithms, the nadir in place of the ideal point, preferences all alike. The code
    spends one more epoch on the nadir than its argument (4) says; here that epoch is the last one of the warm-up. A task that
    had no label in it gets its nadir from the first epoch in which it has, and counts as standing at its nadir until then.
    A loss below 1e-8 counts as 1e-8, since the logarithm needs it.

    Args:
        mu: how smooth the maximum is.
        warmup: the epochs before the nadir is known.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.STCH(mu=0.5, warmup=2))
    """

    needs_gramian = False

    def __init__(self, mu=1.0, warmup=1, **options):
        super().__init__(**options)
        if not mu > 0:
            raise ValueError(f"`mu` must be a number above 0. Received: {mu!r}")
        self.mu, self.warmup = float(mu), _check.whole(warmup, "warmup", least=1)

    def build(self, tasks, shapes=()):
        kept = {"initializer": "zeros", "trainable": False, "aggregation": "only_first_replica"}
        self.total = self.add_weight(shape=(tasks,), name="total", **kept)
        self.batches = self.add_weight(shape=(tasks,), name="batches", **kept)
        self.nadir = self.add_weight(shape=(tasks,), name="nadir", **kept)  # 0: not known yet
        self.epochs = self.add_weight(shape=(), name="epochs", **kept)
        super().build(tasks, shapes)

    def call(self, losses, gramian, present):
        losses = tf.maximum(losses, 1e-8)
        self.total.assign_add(masked(losses, present))
        self.batches.assign_add(tf.cast(present, tf.float32))
        ratios = tf.where(self.nadir > 0, tf.math.divide_no_nan(losses, self.nadir.value), 1.0)
        p = tf.nn.softmax(tf.where(present, tf.math.log(ratios) / self.mu, float("-inf")))
        return masked(count(present) * p / losses, present)

    def on_epoch_end(self):
        """Takes the nadir from the epoch; called between epochs."""
        self.epochs.assign_add(1.0)
        due = (self.epochs >= self.warmup) & (self.nadir <= 0)
        self.nadir.assign(tf.where(due, tf.math.divide_no_nan(self.total, self.batches), self.nadir))
        self.total.assign(tf.zeros_like(self.total))
        self.batches.assign(tf.zeros_like(self.batches))

    def get_config(self):
        return {**super().get_config(), "mu": self.mu, "warmup": self.warmup}
