"""Nothing frozen is computed twice: split a model at its frozen boundary, and keep what comes through it."""
from .caching import Store, cache_features, features
from .splitting import split

__all__ = ["Store", "cache_features", "features", "split"]
