"""The EXIF orientation of a JPEG, parsed and undone in TensorFlow operations."""
import tensorflow as tf

from .headers import begins, number

TAG = 0x0112
UP = 1  # the orientation of a photo that lies as it's to be seen
USUAL = 2  # blocks before EXIF, or before the picture, of nearly all photos
MOST_ENTRIES = 1000  # a real directory has some dozens; a garbled count must not cost time


def orientation(data):
    """Reads how a JPEG must be turned.

    Args:
        data: uint8 tensor of `headers.content`.

    Returns:
        int64 scalar from 1 (as it lies) to 8; 1 if the EXIF block is absent or garbled.
    """
    at = _exif_at(data)
    return tf.cond(at > 0, lambda: _from_directory(data, at), lambda: tf.constant(1, tf.int64))


def _exif_at(data):
    """The offset of the TIFF header within the EXIF block, or 0: EXIF comes before anything but application data."""
    def is_exif(at):
        return (number(data, at, 2) == 0xFFE1) & begins(data, at + 4, b"Exif\0\0")

    def goes_on(at):
        marker = number(data, at, 2)
        application = (marker >= 0xFFE0) & (marker <= 0xFFEF) | (marker == 0xFFFE)
        return application & ~is_exif(at)

    def after(at):
        return at + 2 + tf.maximum(number(data, at + 2, 2), 2)

    at = tf.constant(2, tf.int64)
    for _ in range(USUAL):  # a loop in the graph takes as long as it takes to decode a small photo
        at = tf.where(goes_on(at), after(at), at)
    at = tf.cond(goes_on(at), lambda: tf.while_loop(goes_on, lambda at: (after(at),), (at,))[0], lambda: at)
    return tf.where(is_exif(at), at + 10, tf.zeros((), tf.int64))


def _from_directory(data, at):
    little = begins(data, at, b"II")
    known = (little | begins(data, at, b"MM")) & (number(data, at + 2, 2, little) == 42)
    start = at + number(data, at + 4, 4, little)
    entries = start + 2 + 12 * tf.range(tf.minimum(number(data, start, 2, little), MOST_ENTRIES))

    def pair(offset):  # a two-byte number of every entry at once
        places = tf.minimum(entries + offset, tf.size(data, tf.int64) - 2)
        one, two = tf.cast(tf.gather(data, places), tf.int64), tf.cast(tf.gather(data, places + 1), tf.int64)
        return tf.where(little, one + 256 * two, 256 * one + two)

    # the value is a two-byte number (type 3), or, from careless writers, a four-byte one (type 4)
    long = pair(2) == 4
    value = tf.where(long & ~little, pair(10), pair(8))
    fits = (pair(0) == TAG) & ((pair(2) == 3) | long) & (value >= 1) & (value <= 8)
    found = tf.concat([tf.boolean_mask(value, fits & known), tf.ones((1,), tf.int64)], 0)
    return found[0]


def upright_size(height, width, orientation):
    """The (height, width) in pixels after `upright`: 5 to 8 lie on their side."""
    if orientation is UP:
        return height, width
    return tf.where(orientation >= 5, width, height), tf.where(orientation >= 5, height, width)


def upright(image, orientation):
    """Turns an image `(height, width, channels)` as its orientation, an int64 scalar from 1 to 8 or `UP`, says."""
    if orientation is UP:
        return image
    def one_of(*values):
        return tf.reduce_any(orientation == tf.constant(values, tf.int64))

    def turned():
        turned = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
        turned = tf.cond(one_of(2, 3, 6, 7), lambda: tf.reverse(turned, (1,)), lambda: turned)
        return tf.cond(one_of(3, 4, 7, 8), lambda: tf.reverse(turned, (0,)), lambda: turned)

    return tf.cond(orientation > 1, turned, lambda: image)
