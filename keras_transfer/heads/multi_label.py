"""Any number of labels at once."""
import keras
from keras import ops

from ..masking import Masked, MaskedMetric
from .head import NamedHead


@keras.saving.register_keras_serializable("keras_transfer")
class MultiLabel(NamedHead):
    """Says for each label whether it holds: features `(batch, width)` -> logits `(batch, labels)`.

    Labels are 0 or 1, `(batch, labels)`; floats have NaN and integers -1 where one is missing, element by element.
    Loss: binary cross-entropy, the mean over the labels seen; metrics: the share of labels that are right, and the
    area under the ROC curve over all of them.

    Args:
        classes: the number of labels, or their names in the order of the columns.
        **options: `hidden`, `dropout`, `loss_weight`, `loss`, `metrics`, `name`; see `Head`.

    Example:
        >>> head = kt.heads.MultiLabel(["indoors", "collar", "two animals"])
    """

    least = 1

    def default_loss(self):
        return Masked(keras.losses.BinaryCrossentropy(from_logits=True))

    def default_metrics(self):
        return [MaskedMetric(keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0), elementwise=True),
                MaskedMetric(keras.metrics.AUC(name="auc", from_logits=True), elementwise=True)]

    def probabilities(self, outputs):
        """Returns the probability of each label, `(batch, labels)`."""
        return ops.sigmoid(outputs)
