"""Towers whose weights are drawn to each other."""
import keras
from keras import ops

from ... import _check
from .experts import ParallelDense
from .sharing import Sharing, widths


class SoftSharing(Sharing):
    """A tower of dense layers for each task, and a penalty on how far their weights are apart.

    Subclass it and define `penalty`.

    Args:
        strength: what the penalty is multiplied by. Which suits depends on the data: try some, a factor of ten apart.
        hidden: the widths of the towers' layers with ReLU, a number or a list.
        **options: see `Sharing`.

    Call: features `(batch, width)` -> `{task: (batch, last width)}`.
    """

    def __init__(self, strength=0.01, hidden=64, **options):
        super().__init__(**options)
        self.strength, self.hidden = _check.at_least_zero(strength, "strength"), widths(hidden)

    def build(self, input_shape):
        self.towers, shape = [], (1, *input_shape)
        for i, width in enumerate(self.hidden):
            layer = ParallelDense(len(self.tasks), width, name=f"hidden_{i}", dtype=self.dtype_policy)
            layer.build(shape)
            self.towers.append(layer)
            shape = layer.compute_output_shape(shape)

    def call(self, features):
        x = features[None]
        for layer in self.towers:
            x = layer(x)
        self.add_loss(self.strength * sum(self.penalty(ops.convert_to_tensor(layer.kernel)) for layer in self.towers))
        return self.by_task([x[k] for k in range(len(self.tasks))])

    def penalty(self, weights):
        """Returns the penalty on the weights of one layer, `(tasks, width, units)` -> scalar."""
        raise NotImplementedError(f"{type(self).__name__} defines no `penalty`.")

    def get_config(self):
        return {**super().get_config(), "strength": self.strength, "hidden": list(self.hidden)}


@keras.saving.register_keras_serializable("keras_transfer")
class L2Sharing(SoftSharing):
    """Gives each task a tower and holds their weights near each other (Duong et al. 2015, ACL, P15-2139).

    The loss gets strength x sum over layers and pairs of tasks s < t of |W_s - W_t|^2, over matrices without biases. With
    strength 0 the towers are independent; as it grows, they become one.

    The paper has two tasks, one of which is trained beforehand; here all are trained together.

    Args:
        strength: lambda of the penalty. Which suits depends on the data: try some, a factor of ten apart.
        hidden: the widths of the towers' layers with ReLU, a number or a list.
        **options: see `Sharing`.

    Call: features `(batch, width)` -> `{task: (batch, last width)}`.

    Example:
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.L2Sharing(strength=0.01, hidden=64))
    """

    def penalty(self, weights):
        return ops.sum((weights[:, None] - weights[None]) ** 2) / 2


@keras.saving.register_keras_serializable("keras_transfer")
class TraceNormSharing(SoftSharing):
    """Gives each task a tower, all made of few common matrices (Yang and Hospedales 2017, arXiv:1606.04038).

    The loss gets strength x sum over layers of |W|_*, the sum of the singular values of W `(width x units, tasks)`, whose
    columns are the flattened matrices of the tasks: the "last axis flattening" of the paper. A small trace norm means few
    directions: other than with `L2Sharing`, weights may differ in size and sign and still be shared.

    The gradient is W (W'W)^(-1/2) by the eigenvalues of W'W `(tasks, tasks)`; directions that aren't there, within rounding,
    get none, which is a subgradient.

    Args:
        strength: the factor of the penalty. Which suits depends on the data: try some, a factor of ten apart.
        hidden: the widths of the towers' layers with ReLU, a number or a list.
        **options: see `Sharing`.

    Call: features `(batch, width)` -> `{task: (batch, last width)}`.

    Example:
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.TraceNormSharing(strength=0.01, hidden=64))
    """

    def penalty(self, weights):
        rows = ops.reshape(weights, (weights.shape[0], -1))  # W'
        squares, directions = ops.eigh(ops.stop_gradient(ops.matmul(rows, ops.transpose(rows))))
        there = squares > 1e-6 * ops.max(squares)
        inverse = ops.where(there, 1 / ops.sqrt(ops.where(there, squares, 1.0)), 0.0)
        root = ops.matmul(directions * inverse, ops.transpose(directions))  # (W'W)^(-1/2)
        # <W (W'W)^(-1/2), W> is the trace norm, and with the first factor held still so is the gradient
        return ops.sum(ops.stop_gradient(ops.matmul(root, rows)) * rows)
