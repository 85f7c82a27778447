"""Heads: features -> output, each with its loss, metrics, loss weight and class names."""
from .classifier import Classifier
from .head import Head
from .multi_label import MultiLabel
from .ordinal import Ordinal
from .regressor import Regressor

__all__ = ["Classifier", "Head", "MultiLabel", "Ordinal", "Regressor"]
