"""Photos and tables of labels to `tf.data`, with labels that may be missing.

The datasets yield (pixels 0-255, labels) in batches, are shuffled and augmented by (seed, epoch) only, and know their
labels and files (`info`). `decode` is the one way from bytes to pixels, also for prediction and serving.
"""
from .balancing import balance
from .decoding import decode
from .describing import Info, info
from .folders import photos
from .scans import digits
from .tables import table

__all__ = ["Info", "balance", "decode", "digits", "info", "photos", "table"]
