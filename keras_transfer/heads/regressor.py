"""Numbers."""
import keras
from keras import ops

from ..masking import Masked, MaskedMetric
from .head import Head

_MISSING = float("nan")  # of integers, too, among which -1 is a number


@keras.saving.register_keras_serializable("keras_transfer")
class Regressor(Head):
    """Predicts numbers in the user's own units: features `(batch, width)` -> values `(batch, units)`.

    Labels are `(batch,)` or `(batch, units)`, NaN where one is missing: of integers none is, and -1 is a number. The last
    layer predicts the standardized value z, and the head returns `mean + std * z`. The loss, mean squared error, is of
    standardized values, so that it has the size of the other heads' losses whatever the units; the metric, mean absolute
    error, is in the user's units.

    Args:
        target: the number of values; or `{"mean": m, "std": s}` of the training labels, as `kt.data.table` returns
            it, with numbers or, for several values, lists. A number alone stands for mean 0 and std 1.
        **options: `hidden`, `dropout`, `loss_weight`, `loss`, `metrics`, `name`; see `Head`.

    Raises:
        ValueError: a standard deviation is not over 0, or mean and std differ in length.

    Example:
        >>> head = kt.heads.Regressor({"mean": 4.2, "std": 3.1})   # years
    """

    def __init__(self, target=1, **options):
        if isinstance(target, dict):
            mean, std = (_numbers(target, key) for key in ("mean", "std"))
        else:
            mean, std = [0.0] * int(target), [1.0] * int(target)
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise ValueError(f"`target` must have one mean and one std over 0 for each value. "
                             f"Received: mean={mean}, std={std}")
        super().__init__(len(mean), **options)
        self.mean, self.std = mean, std

    def call(self, features, training=None):
        return super().call(features, training=training) * ops.convert_to_tensor(self.std) + ops.convert_to_tensor(self.mean)

    def default_loss(self):
        return Standardized(Masked(keras.losses.MeanSquaredError(), missing=_MISSING), self.mean, self.std)

    def default_metrics(self):
        return [MaskedMetric(keras.metrics.MeanAbsoluteError(name="mae"), missing=_MISSING, elementwise=True)]

    def get_config(self):
        config = super().get_config()
        del config["units"]
        return {**config, "target": {"mean": self.mean, "std": self.std}}


@keras.saving.register_keras_serializable("keras_transfer")
class Standardized(keras.losses.Loss):
    """`loss((y - mean) / std, (prediction - mean) / std)`.

    Args:
        loss: a `keras.losses.Loss`.
        mean: a list of numbers, one for each value.
        std: a list of numbers, one for each value.
    """

    def __init__(self, loss, mean, std, name=None):
        super().__init__(name=name or loss.name, reduction=loss.reduction)
        self.loss, self.mean, self.std = loss, list(mean), list(std)

    def __call__(self, y_true, y_pred, sample_weight=None):
        return self.loss(self._standard(y_true), self._standard(y_pred), sample_weight)

    def call(self, y_true, y_pred):
        return self(y_true, y_pred)

    def _standard(self, values):
        mean, std = (self.mean, self.std) if len(self.mean) > 1 else (self.mean[0], self.std[0])
        return (ops.cast(values, "float32") - ops.convert_to_tensor(mean)) / ops.convert_to_tensor(std)

    def get_config(self):
        return {"loss": keras.saving.serialize_keras_object(self.loss), "mean": self.mean, "std": self.std,
                "name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


def _numbers(target, key):
    if key not in target:
        raise ValueError(f"`target` must have the keys 'mean' and 'std'. Received: {sorted(target)}")
    value = target[key]
    return [float(v) for v in (value if hasattr(value, "__len__") else [value])]
