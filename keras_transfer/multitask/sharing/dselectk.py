"""A few experts for each task, chosen by smooth binary codes."""
import math

import keras
from keras import ops

from ... import _check
from .experts import ParallelDense, mixed
from .sharing import Sharing


@keras.saving.register_keras_serializable("keras_transfer")
class DSelectK(Sharing):
    """Lets each task choose at most k of the experts, by gradients alone (Hazimeh et al. 2021, arXiv:2106.03760).

    q(a, Z) = sum over i = 1..k of softmax(a)_i r(z_i), where selector i has a number z_il for each bit l of the experts'
    numbers, and r(z)_j is the product over bits l of S(z_l) where bit l of j is 1, else 1 - S(z_l). The smooth step
    S(t) is 0 below -gamma/2, 1 above gamma/2, and -2 t^3 / gamma^3 + 3 t / (2 gamma) + 1/2 between.

    The loss gets entropy x (sum over tasks and selectors of the entropy of r), which drives each selector to one expert.
    Where the number of experts is no power of 2, it gets 1 / sum_j r(z)_j - 1 too, so that no selector ends at a code
    without an expert; until then the weights sum to less than 1. Both are means over the batch, where the authors' code
    takes the sum, and the paper's second term lacks the -1, which has no gradient.

    Args:
        experts: their number n, at least 2; best a power of 2.
        units: the width of each, and of the features that the heads get.
        k: how many experts a task may choose.
        gamma: the width of the smooth step.
        entropy: the strength of the entropy term.
        static: whether a task chooses the same experts for every example (a and Z are weights) or by each example's
            features (a = A x + c, Z_i = B_i x + d_i).
        **options: see `Sharing`.

    Call: features `(batch, width)` -> `{task: (batch, units)}`.

    Example:
        >>> model = kt.attach(backbone, heads, sharing=kt.multitask.DSelectK(experts=8, k=2))
    """

    def __init__(self, experts=4, units=64, k=2, gamma=1.0, entropy=0.01, static=False, **options):
        super().__init__(**options)
        self.experts = _check.whole(experts, "experts", least=2)
        self.units = _check.whole(units, "units", least=1)
        self.k = _check.whole(k, "k", least=1)
        if self.k > self.experts:
            raise ValueError(f"`k` must be at most the number of experts, {self.experts}. Received: {k}")
        self.gamma, self.entropy = _check.over_zero(gamma, "gamma"), _check.at_least_zero(entropy, "entropy")
        self.static = bool(static)

    def build(self, input_shape):
        self.f = ParallelDense(self.experts, self.units, name="experts", dtype=self.dtype_policy)
        self.f.build((1, *input_shape))
        self.gates = [DSelectGate(self.experts, self.k, self.gamma, self.entropy, self.static, name=f"gate_{task}",
                                  dtype=self.dtype_policy) for task in self.tasks]
        for gate in self.gates:
            gate.build(input_shape)

    def call(self, features):
        f = self.f(features[None])
        return self.by_task([mixed(gate(features), f) for gate in self.gates])

    def get_config(self):
        return {**super().get_config(), "experts": self.experts, "units": self.units, "k": self.k, "gamma": self.gamma,
                "entropy": self.entropy, "static": self.static}


@keras.saving.register_keras_serializable("keras_transfer")
class DSelectGate(keras.layers.Layer):
    """The gate of one task: features `(batch, width)` -> weights of the experts `(batch, experts)`, or `(1, experts)`.

    Its arguments are those of `DSelectK`.
    """

    def __init__(self, experts, k, gamma, entropy, static, **options):
        super().__init__(**options)
        self.experts, self.k, self.gamma, self.entropy, self.static = experts, k, gamma, entropy, static
        self.bits = math.ceil(math.log2(experts))

    def build(self, input_shape):
        rows = 0 if self.static else input_shape[-1]
        near_half = keras.initializers.RandomUniform(-self.gamma / 100, self.gamma / 100)
        self.z_bias = self.add_weight(shape=(self.k * self.bits,), initializer=near_half, name="z_bias")
        self.a_bias = self.add_weight(shape=(self.k,), initializer="random_uniform", name="a_bias")
        if rows:
            self.z_kernel = self.add_weight(shape=(rows, self.k * self.bits), initializer=near_half, name="z_kernel")
            self.a_kernel = self.add_weight(shape=(rows, self.k), initializer="random_uniform", name="a_kernel")

    def call(self, features):
        z, a = ops.convert_to_tensor(self.z_bias)[None], ops.convert_to_tensor(self.a_bias)[None]
        if not self.static:
            z, a = z + ops.matmul(features, self.z_kernel), a + ops.matmul(features, self.a_kernel)
        s = smooth_step(ops.reshape(z, (-1, self.k, self.bits)), self.gamma)
        r = self.selectors(s)
        self.add_loss(self.penalty(ops.cast(r, "float32")))
        weights = ops.exp(a - ops.logsumexp(a, axis=1, keepdims=True))  # softmax, which warns of k = 1
        return ops.sum(weights[:, :, None] * r, axis=1)

    def selectors(self, s):
        """Returns r: smooth bits `(batch, k, bits)` -> `(batch, k, experts)`."""
        r = ops.ones_like(s[:, :, :1])
        for bit in range(self.bits):
            codes = ops.convert_to_tensor([(j >> bit) & 1 == 1 for j in range(self.experts)])
            r = r * ops.where(codes, s[:, :, bit, None], 1 - s[:, :, bit, None])
        return r

    def penalty(self, r):
        """Returns the terms for the loss, a mean over the batch."""
        total = -self.entropy * ops.sum(r * ops.log(r + 1e-6), axis=(1, 2))
        if self.experts < 2 ** self.bits:
            total = total + ops.sum(1 / ops.maximum(ops.sum(r, axis=2), 1e-6) - 1, axis=1)
        return ops.mean(total)

    def compute_output_shape(self, input_shape):
        return (1 if self.static else input_shape[0], self.experts)

    def get_config(self):
        return {**super().get_config(), "experts": self.experts, "k": self.k, "gamma": self.gamma,
                "entropy": self.entropy, "static": self.static}


def smooth_step(t, gamma):
    """Returns S(t): 0 below -gamma/2, 1 above gamma/2, a cubic between."""
    u = ops.clip(t / gamma, -0.5, 0.5)  # so that 0 and 1 are exact
    return -2 * u**3 + 1.5 * u + 0.5
