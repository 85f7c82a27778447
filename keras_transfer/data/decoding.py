"""The one function from the bytes of a photo to pixels, for training, prediction and serving alike."""
import numbers

import tensorflow as tf

from .. import _check
from .formats import picture
from .orientation import upright, upright_size


def decode(bytes, size, fit="stretch"):
    """Decodes the bytes of one photo to pixels of the given size.

    Use it wherever a photo enters: it consists of TensorFlow operations only, so the same function runs in `tf.data`,
    in `tf.map_fn` and inside a SavedModel. JPEG, PNG, BMP, GIF and WebP (first frame) are told apart by content; grey,
    palette, CMYK, 16-bit and transparent photos become RGB (alpha is dropped); the EXIF orientation of a JPEG is
    honoured. Large JPEGs are scaled down by the decoder itself, never below what `size` needs.

    Args:
        bytes: scalar string tensor or bytes object, the content of the file.
        size: height and width in pixels: an int, or (height, width).
        fit: "stretch" changes the proportions, "crop" keeps the largest central part that has those of `size`,
            "pad" keeps the whole photo between black borders.

    Returns:
        float32 `(height, width, 3)`, pixels 0-255, bilinear with antialiasing.

    Raises:
        ValueError: for an unknown `fit` or a bad `size`.
        tf.errors.InvalidArgumentError: when run, for bytes that aren't a whole photo, or claim over 200 million pixels.

    Example:
        >>> bytes = tf.io.encode_png(tf.zeros((20, 30, 3), tf.uint8))
        >>> decode(bytes, size=(10, 10), fit="crop").shape
        TensorShape([10, 10, 3])
    """
    height, width = height_and_width(size)
    place = FITS[_check.one_of(fit, tuple(FITS), "fit")]

    def shrink(rows, columns):
        ratios = tf.cast(rows, tf.float32) / height, tf.cast(columns, tf.float32) / width
        return tf.maximum(*ratios) if fit == "pad" else tf.minimum(*ratios)

    image, covered, turn = picture(tf.convert_to_tensor(bytes, tf.string), shrink)
    target = tf.stack(upright_size(height, width, turn))  # of the pixels as they lie: few are then left to be turned
    scale, shift = place(covered, tf.cast(target, tf.float32))

    def filtered():
        return tf.raw_ops.ScaleAndTranslate(images=image[None], size=target, scale=scale, translation=shift,
                                            kernel_type="triangle", antialias=True)

    def enlarged():  # where nothing is to be filtered: the same numbers in a fifth of the time
        return tf.raw_ops.ResizeBilinear(images=image[None], size=target, half_pixel_centers=True)

    resized = tf.cond(tf.reduce_all(scale >= 1), enlarged, filtered) if fit == "stretch" else filtered()
    return tf.ensure_shape(upright(resized[0], turn), (height, width, 3))


def height_and_width(size):
    """Returns `size`, an int or (height, width) in pixels, as a pair, or refuses it."""
    pair = (size, size) if isinstance(size, numbers.Integral) else size
    if not (isinstance(pair, (tuple, list)) and len(pair) == 2
            and all(isinstance(n, numbers.Integral) and not isinstance(n, bool) and n > 0 for n in pair)):
        raise ValueError("`size` must be a number of pixels, or (height, width), whole and above 0. "
                         f"Received: {size!r}")
    return int(pair[0]), int(pair[1])


# each returns the scale, output pixels a photo's pixel, and the place of the photo's corner in the output, both (2,)

def _stretch(covered, target):
    return target / covered, tf.zeros(2)


def _crop(covered, target):
    scale = tf.reduce_max(target / covered)
    return tf.stack([scale, scale]), (target - covered * scale) / 2


def _pad(covered, target):
    kept = tf.clip_by_value(tf.round(covered * tf.reduce_min(target / covered)), 1.0, target)
    return kept / covered, (target - kept) // 2


FITS = {"stretch": _stretch, "crop": _crop, "pad": _pad}
