"""A scale and a shift for each task."""
import keras

from .sharing import Sharing


@keras.saving.register_keras_serializable("keras_transfer")
class FiLM(Sharing):
    """Scales and shifts the shared features for each task (Perez et al. 2018, arXiv:1709.07871).

    x^k = (1 + gamma^k) * x + beta^k, one number for each unit. Both start at 0, so that at the start every task has the
    features themselves.

    The cheapest sharing: 2 x width numbers a task. A linear head could learn the same, so give the heads `hidden` layers.
    In the paper gamma and beta are computed from a conditioning input; here the task is the condition, and they are weights.

    Args:
        **options: see `Sharing`.

    Call: features `(batch, width)` -> `{task: (batch, width)}`.

    Example:
        >>> heads = {"breed": kt.heads.Classifier(37, hidden=64), "age": kt.heads.Regressor(hidden=64)}
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.FiLM())
    """

    def build(self, input_shape):
        shape = (len(self.tasks), input_shape[-1])
        self.gamma = self.add_weight(shape=shape, initializer="zeros", name="gamma")
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")

    def call(self, features):
        return self.by_task([(1 + self.gamma[k]) * features + self.beta[k] for k in range(len(self.tasks))])
