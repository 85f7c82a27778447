"""Weights by how fast losses fall."""
import keras
import tensorflow as tf

from .weighting import Weighting, count, masked


@keras.saving.register_keras_serializable("keras_transfer")
class DWA(Weighting):
    """Weighs up tasks whose loss fell least over the last epochs (dynamic weight average, Liu et al. 2019, arXiv:1803.10704).

    w_t = T exp(r_t / temperature) / sum_k exp(r_k / temperature), r_t = L_t(epoch - 1) / L_t(epoch - 2), where L_t(epoch) is
    the mean loss of an epoch. In the first two epochs all r_t are 1, so all weights too.

    Costs nothing: one backward pass, and only losses are looked at. Each mean is over the batches in which the task has
    labels, and an epoch without any is left out. Where one of the two means isn't above zero, r_t is 1.

    Args:
        temperature: the larger, the more even the weights.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.DWA(temperature=2.0))
    """

    needs_gramian = False

    def __init__(self, temperature=2.0, **options):
        super().__init__(**options)
        if not temperature > 0:
            raise ValueError(f"`temperature` must be a number above 0. Received: {temperature!r}")
        self.temperature = float(temperature)

    def build(self, tasks, shapes=()):
        kept = {"shape": (tasks,), "trainable": False, "aggregation": "only_first_replica"}
        self.total = self.add_weight(initializer="zeros", name="total", **kept)
        self.batches = self.add_weight(initializer="zeros", name="batches", **kept)
        self.last = self.add_weight(initializer="zeros", name="last", **kept)  # mean of the epoch before; 0: none yet
        self.rates = self.add_weight(initializer="ones", name="rates", **kept)
        super().build(tasks, shapes)

    def call(self, losses, gramian, present):
        self.total.assign_add(masked(losses, present))
        self.batches.assign_add(tf.cast(present, tf.float32))
        r = tf.where(present, self.rates / self.temperature, float("-inf"))
        return count(present) * masked(tf.nn.softmax(r), present)

    def on_epoch_end(self):
        """Takes the means of the epoch; called between epochs."""
        seen = self.batches > 0
        mean = tf.math.divide_no_nan(self.total, self.batches)
        rates = tf.where((mean > 0) & (self.last > 0), tf.math.divide_no_nan(mean, self.last), 1.0)
        self.rates.assign(tf.where(seen, rates, self.rates))
        self.last.assign(tf.where(seen, mean, self.last))
        self.total.assign(tf.zeros_like(mean))
        self.batches.assign(tf.zeros_like(mean))

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
