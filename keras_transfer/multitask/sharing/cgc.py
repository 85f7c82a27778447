"""Shared experts and experts of each task."""
import keras
from keras import ops

from ... import _check
from .experts import ParallelDense, gate, mixed
from .sharing import Sharing


@keras.saving.register_keras_serializable("keras_transfer")
class CGC(Sharing):
    """Gives each task experts of its own beside the shared ones (Tang et al. 2020, RecSys, doi:10.1145/3383313.3412236).

    g^k(x) = w^k(x) S^k(x), with w^k(x) = softmax(W^k x) and S^k the experts of task k and the shared ones, each
    relu(x W_i + b_i).

    For tasks that harm each other when they share everything: no task can change the experts of another. The towers of
    the paper are the heads. Without shared experts the tasks are independent.

    Args:
        task_experts: the number of experts of each task.
        shared_experts: the number of experts that all tasks read; 0 for none.
        units: the width of each, and of the features that the heads get.
        **options: see `Sharing`.

    Call: features `(batch, width)` -> `{task: (batch, units)}`.

    Example:
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.CGC(task_experts=2, shared_experts=2))
    """

    def __init__(self, task_experts=2, shared_experts=2, units=64, **options):
        super().__init__(**options)
        self.task_experts = _check.whole(task_experts, "task_experts", least=1)
        self.shared_experts = _check.whole(shared_experts, "shared_experts")
        self.units = _check.whole(units, "units", least=1)

    def build(self, input_shape):
        self.level = Extraction(len(self.tasks), self.task_experts, self.shared_experts, self.units, last=True,
                                name="level", dtype=self.dtype_policy)
        self.level.build([input_shape] * (len(self.tasks) + 1))

    def call(self, features):
        return self.by_task(self.level([features] * (len(self.tasks) + 1)))

    def get_config(self):
        return {**super().get_config(), "task_experts": self.task_experts, "shared_experts": self.shared_experts,
                "units": self.units}


@keras.saving.register_keras_serializable("keras_transfer")
class Extraction(keras.layers.Layer):
    """One level of experts: the inputs of all tasks and the shared one -> their outputs.

    Task k reads its own experts and the shared ones; the shared gate, which the last level lacks, reads the experts of all.

    Call: list of tasks + 1 tensors `(batch, width)`, the shared one last -> list of `(batch, units)`.
    """

    def __init__(self, tasks, task_experts, shared_experts, units, last, **options):
        super().__init__(**options)
        self.tasks, self.task_experts, self.shared_experts = tasks, task_experts, shared_experts
        self.units, self.last = units, last

    def build(self, input_shapes):
        *own, shared = input_shapes

        def experts(count, name, shape):
            layer = ParallelDense(count, self.units, name=name, dtype=self.dtype_policy)
            layer.build((1, *shape))
            return layer

        def gated(count, name, shape):
            layer = gate(count, name, self.dtype_policy)
            layer.build(shape)
            return layer

        self.own = [experts(self.task_experts, f"experts_{k}", shape) for k, shape in enumerate(own)]
        self.shared = experts(self.shared_experts, "shared_experts", shared) if self.shared_experts else None
        self.gates = [gated(self.task_experts + self.shared_experts, f"gate_{k}", shape) for k, shape in enumerate(own)]
        self.shared_gate = None if self.last else gated(self.tasks * self.task_experts + self.shared_experts, "shared_gate",
                                                        shared)

    def call(self, inputs):
        *x, x_shared = inputs
        own = [f(x_k[None]) for f, x_k in zip(self.own, x)]
        shared = [self.shared(x_shared[None])] if self.shared_experts else []
        outputs = [mixed(w(x_k), ops.concatenate([own_k, *shared])) for w, x_k, own_k in zip(self.gates, x, own)]
        return outputs if self.last else [*outputs, mixed(self.shared_gate(x_shared), ops.concatenate([*own, *shared]))]

    def get_config(self):
        return {**super().get_config(), "tasks": self.tasks, "task_experts": self.task_experts,
                "shared_experts": self.shared_experts, "units": self.units, "last": self.last}
