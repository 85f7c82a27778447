"""All losses fall at one rate, without gradients of single tasks."""
import keras
import tensorflow as tf

from .weighting import Weighting, masked


@keras.saving.register_keras_serializable("keras_transfer")
class FAMO(Weighting):
    """Learns weights with which the losses fall at the same relative rate (FAMO, Liu et al. 2023, arXiv:2306.03792).

    w_t = c z_t / L_t, c = 1 / sum_k (z_k / L_k), z = softmax(xi). After the step the losses of the same batch are taken
    again, and Adam goes along d xi = J' (log L - log L_after) + gamma xi, J the Jacobian of the softmax: the logit of a task
    that fell more than the others goes down.

    One backward pass and one more forward pass a step, whatever the number of tasks. The weights sum to 1.

    As the authors' code, and not their algorithm 1, it moves xi by Adam. Losses are measured from 0, and below 0 they count as
    0; 1e-8 is added everywhere. The softmax is over the tasks that have labels in the batch; Adam counts the steps of each.

    Args:
        lr: the learning rate of xi.
        gamma: how strongly xi is drawn back to 0.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.FAMO())
    """

    needs_gramian = False

    def __init__(self, lr=0.025, gamma=0.001, **options):
        super().__init__(**options)
        for name, value in (("lr", lr), ("gamma", gamma)):
            if not value >= 0:
                raise ValueError(f"`{name}` must be a number of at least 0. Received: {value!r}")
        self.lr, self.gamma = float(lr), float(gamma)

    def build(self, tasks, shapes=()):
        kept = {"shape": (tasks,), "initializer": "zeros", "trainable": False, "aggregation": "only_first_replica"}
        self.xi = self.add_weight(name="xi", **kept)
        self.before = self.add_weight(name="before", **kept)  # log L of this step
        self.first, self.second = self.add_weight(name="first", **kept), self.add_weight(name="second", **kept)  # Adam's
        self.steps = self.add_weight(name="steps", **kept)
        super().build(tasks, shapes)

    def call(self, losses, gramian, present):
        losses = tf.maximum(losses, 0.0) + 1e-8
        self.before.assign(tf.where(present, tf.math.log(losses), self.before))
        z = self._z(present)
        return masked(tf.math.divide_no_nan(z / losses, tf.reduce_sum(z / losses)), present)

    def after_update(self, losses, present):
        delta = masked(self.before - tf.math.log(tf.maximum(losses, 0.0) + 1e-8), present)
        z = self._z(present)
        gradient = z * (delta - tf.reduce_sum(z * delta)) + self.gamma * self.xi
        self.steps.assign_add(tf.cast(present, tf.float32))
        for moment, decay, value in ((self.first, 0.9, gradient), (self.second, 0.999, gradient**2)):
            moment.assign(tf.where(present, decay * moment + (1 - decay) * value, moment))
        mean, square = (tf.math.divide_no_nan(moment, 1 - decay**self.steps)
                        for moment, decay in ((self.first, 0.9), (self.second, 0.999)))
        self.xi.assign_sub(masked(self.lr * mean / (tf.sqrt(square) + 1e-8), present))

    def _z(self, present):
        return masked(tf.nn.softmax(tf.where(present, self.xi, float("-inf"))), present)

    def get_config(self):
        return {**super().get_config(), "lr": self.lr, "gamma": self.gamma}
