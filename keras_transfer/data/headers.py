"""Numbers in the headers of binary files, read in TensorFlow operations."""
import tensorflow as tf

SPARE = 16


def content(bytes):
    """Returns a scalar string as uint8 `(length + SPARE,)`: the zeros added are what reading past the end finds."""
    return tf.pad(tf.io.decode_raw(bytes, tf.uint8), [[0, SPARE]])


def number(data, at, size, little=False):
    """Reads the unsigned whole number of `size` bytes at offset `at`.

    Args:
        data: uint8 tensor of `content`.
        at: offset in bytes from 0, an int or an int64 scalar. Bytes past the end read as 0.
        size: count of bytes, 1 to 4.
        little: bool or bool scalar: the lowest byte comes first.

    Returns:
        int64 scalar.
    """
    rising, falling = (tf.constant([256 ** k for k in order], tf.int64) for order in (range(size), range(size)[::-1]))
    powers = tf.where(little, rising, falling) if tf.is_tensor(little) else rising if little else falling
    return tf.reduce_sum(tf.cast(_piece(data, at, size), tf.int64) * powers)


def begins(data, at, magic):
    """Whether the bytes at offset `at` are `magic`, a bytes object of at most `SPARE` bytes; a bool scalar."""
    return tf.reduce_all(_piece(data, at, len(magic)) == tf.constant(list(magic), tf.uint8))


def _piece(data, at, size):
    return tf.slice(data, [tf.minimum(tf.cast(at, tf.int64), tf.size(data, tf.int64) - SPARE)], [size])
