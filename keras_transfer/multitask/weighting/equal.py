"""The plain sum."""
import keras
import tensorflow as tf

from .weighting import Weighting


@keras.saving.register_keras_serializable("keras_transfer")
class Equal(Weighting):
    """Weighs all tasks alike, w_t = 1: the plain sum of the losses, each times the loss weight of its head.

    The first thing to try, and hard to beat (Kurin et al. 2022, arXiv:2201.04122; Xin et al. 2022, arXiv:2209.11379).

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.Equal())
    """

    needs_gramian = False

    def call(self, losses, gramian, present):
        return tf.cast(present, tf.float32)
