"""One HTML page about a trained model: what it learned, how well it does, where it errs, what to know before use."""
from .shown import Report
from .writing import report

__all__ = ["Report", "report"]
