"""Levels of shared and task experts."""
import keras

from ... import _check
from .cgc import Extraction
from .sharing import Sharing


@keras.saving.register_keras_serializable("keras_transfer")
class PLE(Sharing):
    """Separates what tasks share from what they don't level by level (Tang et al. 2020, doi:10.1145/3383313.3412236).

    g^(k,j)(x) = w^(k,j)(g^(k,j-1)) S^(k,j), j = 1..N, where S^(k,j) holds the experts of task k, which read g^(k,j-1), and
    the shared ones, which read g^(s,j-1). The shared gate of every level but the last weighs the experts of all tasks and
    the shared ones: g^(s,j) = w^(s,j)(g^(s,j-1)) S^(s,j). g^(.,0) is x, and g^(k,N) goes to head k.

    With one level it is `CGC`.

    Args:
        levels: their number N.
        task_experts: the number of experts of each task in each level.
        shared_experts: the number of shared experts in each level, at least 1.
        units: the width of each, and of the features that the heads get.
        **options: see `Sharing`.

    Call: features `(batch, width)` -> `{task: (batch, units)}`.

    Example:
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.PLE(levels=2))
    """

    def __init__(self, levels=2, task_experts=2, shared_experts=2, units=64, **options):
        super().__init__(**options)
        self.levels = _check.whole(levels, "levels", least=1)
        self.task_experts = _check.whole(task_experts, "task_experts", least=1)
        self.shared_experts = _check.whole(shared_experts, "shared_experts", least=1)
        self.units = _check.whole(units, "units", least=1)

    def build(self, input_shape):
        self.stack, shape = [], input_shape
        for j in range(self.levels):
            level = Extraction(len(self.tasks), self.task_experts, self.shared_experts, self.units,
                               last=j == self.levels - 1, name=f"level_{j}", dtype=self.dtype_policy)
            level.build([shape] * (len(self.tasks) + 1))
            self.stack.append(level)
            shape = (*input_shape[:-1], self.units)

    def call(self, features):
        g = [features] * (len(self.tasks) + 1)
        for level in self.stack:
            g = level(g)
        return self.by_task(g)

    def get_config(self):
        return {**super().get_config(), "levels": self.levels, "task_experts": self.task_experts,
                "shared_experts": self.shared_experts, "units": self.units}
