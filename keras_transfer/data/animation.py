"""Where the first frame of a GIF lies, found in TensorFlow operations."""
import tensorflow as tf

from .headers import number

EXTENSION = 0x21


def first_frame(data):
    """Finds the first frame.

    Args:
        data: uint8 tensor of `headers.content`, of a GIF.

    Returns:
        Offsets in bytes of the frame's descriptor and of what follows the frame, int64 scalars; the second is past the
        end of a truncated file.
    """
    start = tf.while_loop(lambda at: number(data, at, 1) == EXTENSION, lambda at: (_after_blocks(data, at + 2),),
                          (13 + _palette(data, 10),))[0]
    return start, _after_blocks(data, start + 11 + _palette(data, start + 9))


def _palette(data, at):
    """The length in bytes of the palette that the flags at an offset announce."""
    flags = number(data, at, 1)
    return tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), tf.zeros((), tf.int64))


def _after_blocks(data, at):
    """The offset behind a chain of blocks; each begins with its length, the last has none."""
    return 1 + tf.while_loop(lambda at: number(data, at, 1) > 0, lambda at: (at + 1 + number(data, at, 1),), (at,))[0]
