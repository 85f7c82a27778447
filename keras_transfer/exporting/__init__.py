"""Trained models as files for other programs: TF Serving, phones, other runtimes; each file run before it's trusted."""
from .writing import export

__all__ = ["export"]
