"""Experts for all tasks, a gate for each."""
import keras

from ... import _check
from .experts import ParallelDense, gate, mixed
from .sharing import Sharing


@keras.saving.register_keras_serializable("keras_transfer")
class MMoE(Sharing):
    """Lets each task weigh the same experts in its own way (Ma et al. 2018, KDD, doi:10.1145/3219819.3220007).

    f^k(x) = sum over i of g^k(x)_i f_i(x), with g^k(x) = softmax(W^k x) and experts f_i(x) = relu(x W_i + b_i).

    The first to try where tasks are related in part. The towers h^k of the paper are the heads: `hidden=` gives them layers.
    With one expert it is hard sharing.

    Args:
        experts: their number.
        units: the width of each, and of the features that the heads get.
        **options: see `Sharing`.

    Call: features `(batch, width)` -> `{task: (batch, units)}`.

    Example:
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.MMoE(experts=4))
    """

    def __init__(self, experts=4, units=64, **options):
        super().__init__(**options)
        self.experts = _check.whole(experts, "experts", least=1)
        self.units = _check.whole(units, "units", least=1)

    def build(self, input_shape):
        self.f = ParallelDense(self.experts, self.units, name="experts", dtype=self.dtype_policy)
        self.f.build((1, *input_shape))
        self.g = [gate(self.experts, f"gate_{k}", self.dtype_policy) for k in self.tasks]
        for g in self.g:
            g.build(input_shape)

    def call(self, features):
        f = self.f(features[None])
        return self.by_task([mixed(g(features), f) for g in self.g])

    def get_config(self):
        return {**super().get_config(), "experts": self.experts, "units": self.units}
