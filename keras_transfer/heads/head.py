"""What all heads have in common."""
import math
import numbers
import re
import types

import keras

from .. import _check
from ..masking import twin


class Head(keras.layers.Layer):
    """Hidden layers with dropout, then one linear layer: features `(batch, width)` -> outputs `(batch, units)`.

    The last one's weights are small at first (see `initial`). Subclass it for a head of your own: give `units` to
    `__init__`, and define `default_loss` and `default_metrics`.

    Args:
        units: the number of outputs.
        hidden: the widths of hidden layers with ReLU, from the features on.
        dropout: the share of units dropped before each linear layer in training.
        loss_weight: what the loss of this head is multiplied by in the sum over heads.
        loss: a `keras.losses.Loss` in place of the default one.
        metrics: a list of `keras.metrics.Metric` in place of the default ones.
        **options: `name`, `dtype` (default float32, also under mixed precision) and `trainable` of a Keras layer.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, units, *, hidden=(), dropout=0.0, loss_weight=1.0, loss=None, metrics=None, **options):
        # without Keras's running number, so that a script finds the same name however often it is run
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        super().__init__(**{"dtype": "float32", "name": name, **options})
        self.units = _check.whole(units, "units", least=1)
        self.hidden = [_check.whole(h, "hidden", least=1) for h in ([hidden] if isinstance(hidden, int) else hidden)]
        self.dropout = _check.share(dropout, "dropout")
        if isinstance(loss_weight, bool) or not isinstance(loss_weight, numbers.Real) or not 0 <= loss_weight < math.inf:
            raise ValueError(f"`loss_weight` must be a number of at least 0. Received: {loss_weight!r}")
        self.loss_weight = float(loss_weight)
        self._given = types.SimpleNamespace(loss=loss, metrics=metrics)  # Keras would track metrics held directly
        self._stack = []
        for i, width in enumerate(self.hidden):
            self._stack += [keras.layers.Dropout(self.dropout, name=f"dropout_{i}", dtype=self.dtype_policy),
                            keras.layers.Dense(width, activation="relu", name=f"hidden_{i}", dtype=self.dtype_policy)]
        self._stack += [keras.layers.Dropout(self.dropout, name="dropout", dtype=self.dtype_policy), self.output_layer()]

    def output_layer(self):
        """Returns the last, linear layer."""
        return keras.layers.Dense(self.units, kernel_initializer=initial(), name="output", dtype=self.dtype_policy)

    def build(self, input_shape):
        for layer in self._stack:
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, features, training=None):
        for layer in self._stack:
            features = layer(features, training=training) if isinstance(layer, keras.layers.Dropout) else layer(features)
        return features

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    @property
    def has_default_loss(self):
        """Whether no loss of the caller's own was given, so that it's known what labels it takes."""
        return self._given.loss is None

    def default_loss(self):
        """Returns a new loss for the outputs of this head."""
        raise NotImplementedError(f"{type(self).__name__} has no default loss; give `loss=`.")

    def default_metrics(self):
        """Returns a list of new metrics for the outputs of this head."""
        return []

    def make_loss(self):
        """Returns a new object of the loss given, or of the default one."""
        return self.default_loss() if self._given.loss is None else twin(self._given.loss)

    def make_metrics(self):
        """Returns new objects of the metrics given, or of the default ones."""
        return self.default_metrics() if self._given.metrics is None else [
            type(m).from_config(m.get_config()) for m in self._given.metrics]

    def get_config(self):
        return {**super().get_config(), "units": self.units, "hidden": self.hidden, "dropout": self.dropout,
                "loss_weight": self.loss_weight, "loss": keras.saving.serialize_keras_object(self._given.loss),
                "metrics": keras.saving.serialize_keras_object(self._given.metrics)}

    @classmethod
    def from_config(cls, config):
        revived = {k: keras.saving.deserialize_keras_object(config[k]) for k in ("loss", "metrics")}
        return cls(**{**config, **revived})


def initial():
    """Returns the initializer of a last layer: small weights, so that few steps on few labels need not undo their draw.

    Outputs begin at a third of a standard deviation of the features. Fast R-CNN (Girshick 2015, arXiv:1504.08083) has such a
    last layer, and BiT (Kolesnikov et al. 2020, arXiv:1912.11370) zeros, from which no gradient would reach the features.
    """
    return keras.initializers.VarianceScaling(0.1, "fan_in")


def class_names(classes, least=2):
    """Returns the names of `classes`, a number or a list of names; refuses repeats and fewer than `least`."""
    names = [str(i) for i in range(classes)] if isinstance(classes, int) else [str(c) for c in classes]
    if isinstance(classes, (str, bool)) or len(names) < least:
        raise ValueError(f"`classes` must be a number of at least {least}, or a list of that many names. "
                         f"Received: {classes!r}")
    twice = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"`classes` has names that occur twice: {', '.join(twice)}. Each class needs its own.")
    return names


class NamedHead(Head):
    """A head whose outputs stand for named classes.

    Args:
        classes: their number, or their names in the order of the labels.
        **options: as for `Head`.
    """

    least = 2

    def __init__(self, classes, **options):
        self_names = class_names(classes, self.least)
        super().__init__(self.outputs_for(len(self_names)), **options)
        self.class_names = self_names

    @staticmethod
    def outputs_for(classes):
        """Returns the number of outputs for a number of classes."""
        return classes

    def get_config(self):
        config = super().get_config()
        del config["units"]
        return {**config, "classes": list(self.class_names)}

