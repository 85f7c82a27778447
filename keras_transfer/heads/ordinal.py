"""Classes with an order."""
import keras
from keras import ops

from ..masking import Masked, MaskedMetric
from .head import NamedHead, initial


@keras.saving.register_keras_serializable("keras_transfer")
class Ordinal(NamedHead):
    """Chooses one of several classes that have an order: features `(batch, width)` -> logits `(batch, classes - 1)`.

    Logit k is that of P(label > k) = sigmoid(w.x + b_k). All logits share the weights w (Cao, Mirjalili and Raschka
    2020, CORAL, arXiv:1901.07884); their biases fall by construction, b_k = b_(k-1) - softplus(d_k), where the paper
    shows it for the optimum alone, so that the probabilities of the classes are never negative.
    Labels are class numbers `(batch,)`, -1 where one is missing. Loss: the sum over k of the binary cross-entropy of
    [label > k]; metrics: accuracy, and the mean absolute error in classes.

    Args:
        classes: their number, or their names from the lowest to the highest.
        **options: `hidden`, `dropout`, `loss_weight`, `loss`, `metrics`, `name`; see `Head`.

    Example:
        >>> head = kt.heads.Ordinal(["none", "mild", "moderate", "severe"])
    """

    @staticmethod
    def outputs_for(classes):
        """One threshold between each two neighbours."""
        return classes - 1

    def output_layer(self):
        """Returns the layer w.x + b_k."""
        return OrderedThresholds(self.units, name="output", dtype=self.dtype_policy)

    def default_loss(self):
        return Masked(CumulativeCrossentropy())

    def default_metrics(self):
        return [MaskedMetric(keras.metrics.MeanMetricWrapper(level_accuracy, name="accuracy")),
                MaskedMetric(keras.metrics.MeanMetricWrapper(level_error, name="mae"))]

    def probabilities(self, outputs):
        """Returns the probability of each class, `(batch, classes)`: P(label > k-1) - P(label > k)."""
        above = ops.sigmoid(outputs)
        # padded, since the int8 converter can't concatenate the outputs of a sigmoid with constants
        return ops.pad(above, ((0, 0), (1, 0)), constant_values=1) - ops.pad(above, ((0, 0), (0, 1)))


@keras.saving.register_keras_serializable("keras_transfer")
class OrderedThresholds(keras.layers.Layer):
    """w.x + b_k with falling biases: features `(batch, width)` -> logits `(batch, units)`."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 1), initializer=initial(), name="kernel")
        self.first = self.add_weight(shape=(1,), initializer=keras.initializers.Constant((self.units - 1) / 2),
                                     name="first")
        self.steps = self.add_weight(shape=(self.units - 1,), name="steps",  # softplus(0.5413) = 1
                                     initializer=keras.initializers.Constant(0.5413))

    def call(self, features):
        falls = ops.concatenate([ops.zeros_like(self.first), ops.cumsum(ops.softplus(self.steps))])
        return features @ self.kernel + self.first - falls

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("keras_transfer")
class CumulativeCrossentropy(keras.losses.Loss):
    """Sum over k of the binary cross-entropy of [label > k]: labels `(batch,)`, logits `(batch, classes - 1)`."""

    def call(self, y_true, y_pred):
        above = ops.cast(_column(y_true) > ops.arange(y_pred.shape[-1]), y_pred.dtype)
        return ops.sum(ops.softplus(y_pred) - above * y_pred, axis=-1)


@keras.saving.register_keras_serializable("keras_transfer")
def level_accuracy(y_true, y_pred):
    """1 where the predicted class (the number of logits over 0) is the label, else 0: `(batch,)`."""
    return ops.cast(ops.equal(_column(y_true)[:, 0], _level(y_pred)), "float32")


@keras.saving.register_keras_serializable("keras_transfer")
def level_error(y_true, y_pred):
    """The distance, in classes, of the predicted class from the label: `(batch,)`."""
    return ops.cast(ops.abs(_column(y_true)[:, 0] - _level(y_pred)), "float32")


def _level(y_pred):
    return ops.sum(ops.cast(y_pred > 0, "int32"), axis=-1)


def _column(y_true):
    return ops.reshape(ops.cast(y_true, "int32"), (-1, 1))
