"""A small bypass for each task."""
import keras

from ... import _check
from .experts import ParallelDense
from .sharing import Sharing


@keras.saving.register_keras_serializable("keras_transfer")
class ResidualAdapter(Sharing):
    """Adds to the shared features a small correction for each task (Rebuffi et al. 2017, arXiv:1705.08045).

    x^k = x + U^k relu(D^k x + d^k) + u^k, where D^k goes down to a few units and U^k up again. U^k and u^k start at 0, so
    that at the start every task has the features themselves.

    For tasks that need nearly the same features. The paper puts a full 1 x 1 convolution with a batch norm behind every
    convolution of the network; this is its bottleneck form (Houlsby et al. 2019, arXiv:1902.00751) on the features.

    Args:
        units: the width of the bottleneck.
        **options: see `Sharing`.

    Call: features `(batch, width)` -> `{task: (batch, width)}`.

    Example:
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.ResidualAdapter(units=16))
    """

    def __init__(self, units=16, **options):
        super().__init__(**options)
        self.units = _check.whole(units, "units", least=1)

    def build(self, input_shape):
        self.down = ParallelDense(len(self.tasks), self.units, name="down", dtype=self.dtype_policy)
        self.down.build((1, *input_shape))
        self.up = ParallelDense(len(self.tasks), input_shape[-1], activation="linear", kernel_initializer="zeros", name="up",
                                dtype=self.dtype_policy)
        self.up.build((len(self.tasks), input_shape[0], self.units))

    def call(self, features):
        adapted = features[None] + self.up(self.down(features[None]))
        return self.by_task([adapted[k] for k in range(len(self.tasks))])

    def get_config(self):
        return {**super().get_config(), "units": self.units}
