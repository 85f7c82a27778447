"""What heads say, as named tensors that a client can read, in TensorFlow operations."""
import tensorflow as tf

from ..heads import MultiLabel

THRESHOLD = 0.5  # of MultiLabel: a label that is more likely there than not


def answers(name, head, classes, outputs, top_k=None):
    """Returns the answers of one head.

    Args:
        name: of the head; begins every key.
        head: the head, or None for an output of another layer.
        classes: its class names, or None if it has none.
        outputs: what it gave, `(batch, units)`.
        top_k: how many of the likeliest classes to name; None: none beside the first.

    Returns:
        For a head without classes `{name: outputs}`. For one class of several `name/label`, string `(batch,)`,
        `name/probability`, float32 `(batch,)`, and `name/probabilities`, float32 `(batch, classes)`. For several labels
        `name/label` holds those over 0.5, joined with "|", and there is no `name/probability`. With `top_k` also
        `name/top_labels` and `name/top_probabilities`, both `(batch, k)`, the likeliest first.
    """
    if classes is None or not hasattr(head, "probabilities"):
        return {name: tf.convert_to_tensor(outputs)}
    words, probabilities = tf.constant(classes), tf.cast(head.probabilities(outputs), tf.float32)
    said = {f"{name}/probabilities": probabilities}
    if isinstance(head, MultiLabel):
        said[f"{name}/label"] = _joined(words, probabilities > THRESHOLD)
    else:
        said[f"{name}/label"] = tf.gather(words, tf.argmax(probabilities, -1))
        said[f"{name}/probability"] = tf.reduce_max(probabilities, -1)
    if top_k is not None:
        best = tf.math.top_k(probabilities, min(top_k, len(classes)))
        said |= {f"{name}/top_labels": tf.gather(words, best.indices), f"{name}/top_probabilities": best.values}
    return said


def _joined(words, there):
    """The words that are there, `(batch,)`, joined with "|"."""
    rows = tf.ragged.boolean_mask(tf.broadcast_to(words, tf.shape(there)), there)
    return tf.strings.reduce_join(rows, axis=1, separator="|")


def blanked(said, readable):
    """Returns the answers with those of unreadable rows empty: "" and 0, never NaN.

    Args:
        said: `{key: tensor}`, `(batch, ...)`.
        readable: bool `(batch,)`.
    """
    def blank(value):
        keep = tf.reshape(readable, tf.concat([tf.shape(readable), tf.ones(tf.rank(value) - 1, tf.int32)], 0))
        return tf.where(keep, value, tf.zeros_like(value))

    return {key: tf.ensure_shape(blank(value), value.shape) for key, value in said.items()}
