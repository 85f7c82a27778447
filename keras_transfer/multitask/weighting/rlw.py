"""Random weights."""
import keras
import tensorflow as tf

from .weighting import Weighting, masked


@keras.saving.register_keras_serializable("keras_transfer")
class RLW(Weighting):
    """Draws new weights at every step (random loss weighting, Lin et al. 2022, arXiv:2111.10603).

    w = softmax(z), z_t ~ N(0, 1).

    A control for all other methods: one that is no better has learned nothing about the tasks. As in the paper the weights
    sum to 1, so the mean step is that of the plain sum divided by T; with plain SGD take a learning rate T times as large.

    The softmax is over the tasks that have labels in the batch.

    Args:
        seed: of the draws; None: drawn anew.
        **options: see `Weighting`.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.RLW(seed=1))
    """

    needs_gramian, draws = False, True

    def __init__(self, seed=None, **options):
        super().__init__(**options)
        self.seed = seed

    def call(self, losses, gramian, present):
        z = keras.random.normal((self.tasks,), seed=self.generator)
        return masked(tf.nn.softmax(tf.where(present, z, float("-inf"))), present)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
