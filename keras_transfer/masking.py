"""Losses and metrics that leave missing labels out."""
import keras
from keras import ops

from .replicating import over_replicas

# Losses that are a mean over the last axis, so that a row may have some of its labels missing.
_ELEMENTWISE = (
    keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy, keras.losses.MeanSquaredError,
    keras.losses.MeanAbsoluteError, keras.losses.Huber, keras.losses.LogCosh, keras.losses.MeanSquaredLogarithmicError,
    keras.losses.MeanAbsolutePercentageError)


@keras.saving.register_keras_serializable("keras_transfer")
class Masked(keras.losses.Loss):
    """A loss over the labels that are there: sum(weight x loss) / number of labels seen.

    With nothing missing it equals the loss inside, sample weights included; one step on a batch with gaps equals one
    step on its labelled rows. A batch without any label gives 0. (Sample weights of 0 are no fix for missing labels:
    0 x NaN = NaN, and the mean would still count them.)

    Args:
        loss: a `keras.losses.Loss`, or the name of one, with the reduction "sum_over_batch_size" (the default),
            "sum" or "mean_with_sample_weight". A loss that is a mean over the last axis (binary cross-entropy, mean
            squared error and their like) is masked element by element, any other row by row.
        missing: the label that stands for a missing one. None: NaN for float labels, -1 for integer labels; truth values and
            unsigned integers have none.

    Call: labels `(batch,)`, `(batch, 1)` or `(batch, units)`, predictions `(batch, units)`, sample weights
    `(batch,)` -> scalar.

    Raises:
        ValueError: the loss inside has another reduction.

    Example:
        >>> loss = kt.Masked(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> loss([2, -1], [[0., 0., 0.], [9., 0., 0.]])   # log(3): the second row has no label
    """

    def __init__(self, loss, missing=None, name=None):
        loss = keras.losses.get(loss)
        if not isinstance(loss, keras.losses.Loss):
            raise ValueError(f"`loss` must be a keras.losses.Loss, such as keras.losses.MeanSquaredError(). "
                             f"Received: {loss!r}")
        if loss.reduction not in ("sum_over_batch_size", "sum", "mean_with_sample_weight"):
            raise ValueError(f"`loss` must have the reduction 'sum_over_batch_size', 'sum' or "
                             f"'mean_with_sample_weight'. Received: {loss.reduction!r}")
        super().__init__(name=name or loss.name, reduction=loss.reduction)
        self.loss, self.missing = loss, missing
        self._each = twin(loss)
        self._each.reduction = "none"
        self._elementwise = isinstance(loss, _ELEMENTWISE)

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true, seen = split_missing(y_true, self.missing)
        y_pred = ops.convert_to_tensor(y_pred)
        y_true, seen, weight = _aligned(y_true, seen, y_pred, self._elementwise, sample_weight)
        if self._elementwise:  # one label a row, so that the mean over the last axis is the element itself
            y_true, y_pred = y_true[..., None], y_pred[..., None]
        each = self._each(y_true, y_pred)
        weight = ops.cast(seen, each.dtype) * ops.cast(weight, each.dtype)
        total = ops.sum(each * weight)
        if self.reduction == "sum":
            return over_replicas(total)
        counted = weight if self.reduction == "mean_with_sample_weight" else ops.cast(seen, each.dtype)
        return over_replicas(total, ops.sum(counted))

    def call(self, y_true, y_pred):
        return self(y_true, y_pred)

    def get_config(self):
        return {"loss": keras.saving.serialize_keras_object(self.loss), "missing": self.missing, "name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


@keras.saving.register_keras_serializable("keras_transfer")
class MaskedMetric(keras.metrics.Metric):
    """A metric over the labels that are there.

    Args:
        metric: the `keras.metrics.Metric` inside; it gives the name.
        missing: as in `Masked`.
        elementwise: whether each element is a label of its own, so that a row may have some missing; else a row
            with a missing element counts as missing.
    """

    def __init__(self, metric, missing=None, elementwise=False, name=None):
        super().__init__(name=name or metric.name)
        self.metric, self.missing, self.elementwise = metric, missing, elementwise

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, seen = split_missing(y_true, self.missing)
        y_pred = ops.convert_to_tensor(y_pred)
        y_true, seen, weight = _aligned(y_true, seen, y_pred, self.elementwise, sample_weight)
        weight = ops.cast(seen, "float32") * ops.cast(weight, "float32")
        if self.elementwise:
            y_true, y_pred, weight = (ops.reshape(x, (-1, 1)) for x in (y_true, y_pred, weight))
        self.metric.update_state(y_true, y_pred, ops.reshape(weight, (-1,)))

    def result(self):
        return self.metric.result()

    def reset_state(self):
        self.metric.reset_state()

    def get_config(self):
        return {"metric": keras.saving.serialize_keras_object(self.metric), "missing": self.missing,
                "elementwise": self.elementwise, "name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "metric": keras.saving.deserialize_keras_object(config["metric"])})


def split_missing(y_true, missing=None):
    """Returns the labels with 0 in place of missing ones, and a mask of the same shape: True where there is a label.

    The value is replaced before any loss sees it, since the gradient of a masked NaN is still NaN. Labels that aren't floats
    come back as int64.
    """
    y_true = ops.convert_to_tensor(y_true)
    floating = "float" in keras.backend.standardize_dtype(y_true.dtype)
    if not floating:  # -1 as a truth value would be True, and as an unsigned number the highest one
        y_true = ops.cast(y_true, "int64")
    if missing is None:
        missing = float("nan") if floating else -1
    if missing == missing:
        seen = ops.not_equal(y_true, ops.cast(missing, y_true.dtype))
    else:
        seen = ops.logical_not(ops.isnan(y_true)) if floating else ops.ones_like(y_true, "bool")
    return ops.where(seen, y_true, ops.zeros_like(y_true)), seen


def masked_in(loss):
    """Returns the `Masked` in a loss, at any depth, or None."""
    while loss is not None and not isinstance(loss, Masked):
        loss = getattr(loss, "loss", None)
    return loss


def twin(loss):
    """Returns a copy of a loss. Not from its config, which `copy.copy` uses too: Keras's Huber leaves its delta out."""
    copied = object.__new__(type(loss))
    vars(copied).update(vars(loss))
    return copied


def _aligned(y_true, seen, y_pred, elementwise, sample_weight):
    """Brings labels, mask and weights to one shape: that of the predictions if elementwise, else `(batch,)`."""
    if elementwise:
        labels, units = (y_true.shape[-1] if len(y_true.shape) == len(y_pred.shape) else 1), y_pred.shape[-1]
        if None not in (labels, units) and labels != units:
            raise ValueError(f"Labels of shape {tuple(y_true.shape)} don't fit predictions of shape "
                             f"{tuple(y_pred.shape)}: each row needs {units} labels.")
        y_true, seen = (ops.broadcast_to(_like(x, y_pred), ops.shape(y_pred)) for x in (y_true, seen))
        weight = _like(ops.convert_to_tensor(1.0 if sample_weight is None else sample_weight), y_pred)
        return y_true, seen, weight
    if len(y_true.shape) == 2 and y_true.shape[-1] == 1:
        y_true, seen = y_true[:, 0], seen[:, 0]
    rows = ops.all(ops.reshape(seen, (ops.shape(seen)[0], -1)), axis=-1) if len(seen.shape) > 1 else seen
    weight = ops.ones_like(rows, "float32") if sample_weight is None else ops.convert_to_tensor(sample_weight)
    return y_true, rows, ops.reshape(weight, (-1,)) if len(weight.shape) else weight


def _like(x, y_pred):
    """Gives `x` the rank of the predictions: `(batch,)` becomes `(batch, 1)`."""
    return ops.expand_dims(x, -1) if 0 < len(x.shape) == len(y_pred.shape) - 1 else x
