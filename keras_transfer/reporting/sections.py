"""What a report says about each head."""
import keras
import numpy as np

from ..heads import MultiLabel, Regressor
from . import for_classes, for_labels, for_numbers


def section(name, head, truth, outputs):
    """Returns what the page shows of a head.

    Args:
        name: of the head.
        head: the layer.
        truth: labels `(rows,)` or `(rows, units)`; missing ones are -1, or NaN where they are floats.
        outputs: what the head said, `(rows, units)`.

    Returns:
        A dict: `name`, `kind` ("classes", "labels", "numbers" or "other"), `about`; but for "other", of which nothing
        is known, also `seen` and `missing` (labels), `tiles`, `names`, `mistakes`, `wrong` (how many mistakes there
        are), and the tables and plots of its kind.

    Raises:
        ValueError: labels don't fit the head.
    """
    truth, outputs = np.asarray(truth), np.asarray(outputs, "float32")
    if isinstance(head, Regressor):
        return {"name": name, "kind": "numbers", **for_numbers.section(head, truth, outputs)}
    if not hasattr(head, "probabilities") or not hasattr(head, "class_names"):
        return {"name": name, "kind": "other", "about": type(head).__name__, "mistakes": []}
    probabilities = keras.ops.convert_to_numpy(head.probabilities(outputs)).astype(float)
    kind, module = ("labels", for_labels) if isinstance(head, MultiLabel) else ("classes", for_classes)
    return {"name": name, "kind": kind, **module.section(head, truth, probabilities)}
