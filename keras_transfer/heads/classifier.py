"""One class of several."""
import keras
from keras import ops

from ..masking import Masked, MaskedMetric
from .head import NamedHead


@keras.saving.register_keras_serializable("keras_transfer")
class Classifier(NamedHead):
    """Chooses one of several classes: features `(batch, width)` -> logits `(batch, classes)`.

    Labels are class numbers `(batch,)`, -1 where one is missing. Loss: softmax cross-entropy, -log softmax(z)_y;
    metric: accuracy.

    Args:
        classes: their number, or their names in the order of the labels (as `kt.data.photos` returns them).
        **options: `hidden`, `dropout`, `loss_weight`, `loss`, `metrics`, `name`; see `Head`.

    Example:
        >>> model = kt.attach(kt.backbone("MobileNetV2"), kt.heads.Classifier(["cat", "dog"], dropout=0.2))
    """

    def default_loss(self):
        return Masked(keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def default_metrics(self):
        return [MaskedMetric(keras.metrics.SparseCategoricalAccuracy(name="accuracy"))]

    def probabilities(self, outputs):
        """Returns the probability of each class, `(batch, classes)`."""
        return ops.softmax(outputs)
