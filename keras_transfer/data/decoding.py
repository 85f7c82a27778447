"""The one function from the bytes of a photo to pixels, for training, prediction and serving alike."""
import numbers

import tensorflow as tf

from .. import _check
from .formats import ANY, picture
from .orientation import upright, upright_size

FILTER = {"kernel_type": "triangle", "antialias": True}
LARGE = 3 * 2 ** 20  # values of a photo: 4 MB in uint8, 13 MB in float32


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
    return decode_known(tf.convert_to_tensor(bytes, tf.string), size, fit, ANY)


def decode_known(bytes, size, fit, known):
    """`decode` for a scalar string tensor of which that much is `known`, see `formats.picture`."""
    height, width = height_and_width(size)
    place = FITS[_check.one_of(fit, tuple(FITS), "fit")]

    def shrink(rows, columns):
        ratios = tf.cast(rows, tf.float32) / height, tf.cast(columns, tf.float32) / width
        return tf.maximum(*ratios) if fit == "pad" else tf.minimum(*ratios)

    image, covered, turn = picture(bytes, shrink, known)
    target = tf.stack(upright_size(height, width, turn))  # of the pixels as they lie: few are then left to be turned
    scale, shift = place(covered, tf.cast(target, tf.float32))

    def enlarged():  # where nothing is to be filtered: the same numbers in less time
        return tf.raw_ops.ResizeBilinear(images=image[None], size=target, half_pixel_centers=True)[0]

    def filtered():
        return _filtered(image, target, scale, shift)

    def filtered_large():  # what `_filtered` would hold as float32 on its way can be a few GB
        return tf.raw_ops.ScaleAndTranslate(images=image[None], size=target, scale=scale, translation=shift, **FILTER)[0]

    kind = tf.where(tf.size(image) > LARGE, 2, tf.where((fit == "stretch") & tf.reduce_all(scale >= 1), 0, 1))
    resized = tf.switch_case(kind, [enlarged, filtered, filtered_large])
    return tf.ensure_shape(upright(resized, turn), (height, width, 3))


def height_and_width(size):
    """Returns `size`, an int or (height, width) in pixels, as a pair, or refuses it."""
    pair = (size, size) if isinstance(size, numbers.Integral) else size
    if not (isinstance(pair, (tuple, list)) and len(pair) == 2
            and all(isinstance(n, numbers.Integral) and not isinstance(n, bool) and n > 0 for n in pair)):
        raise ValueError("`size` must be a number of pixels, or (height, width), whole and above 0. "
                         f"Received: {size!r}")
    return int(pair[0]), int(pair[1])


def _filtered(image, size, scale, shift):
    """The numbers of `ScaleAndTranslate`, to the bit, in a third of its time.

    That op is fast along columns where a photo is one row of many channels: it's one task for its threads then instead of
    one for each few rows, and its inner loop runs over many channels instead of three. So columns are made of the rows,
    and then, transposed, of the columns.
    """
    rows, columns = tf.unstack(tf.shape(image)[:2])

    def along(matrix, count, width, axis):  # (count, width) -> (size[axis], width)
        return tf.raw_ops.ScaleAndTranslate(
            images=tf.reshape(matrix, (1, 1, count, width)), size=tf.stack([1, size[axis]]),
            scale=tf.stack([1.0, scale[axis]]), translation=tf.stack([0.0, shift[axis]]), **FILTER)

    high = tf.reshape(along(image, rows, 3 * columns, 0), (size[0], 3 * columns))
    wide = tf.reshape(along(tf.transpose(high), columns, 3 * size[0], 1), (3 * size[1], size[0]))
    return tf.reshape(tf.transpose(wide), (size[0], size[1], 3))


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
