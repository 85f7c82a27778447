"""Nothing frozen is computed twice: split a model at its frozen boundary, and keep what comes through it."""
from .splitting import split

__all__ = ["split"]
