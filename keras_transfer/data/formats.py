"""Encoded photos to pixels in TensorFlow operations: one reader a format, each checking the header before it decodes."""
import functools

import tensorflow as tf

from .animation import first_frame
from .headers import begins, content, number
from .orientation import UP, orientation, upright_size

MOST_PIXELS = 200_000_000  # a few bytes can claim 60,000 x 60,000 pixels, which would be 10 GB once decoded
MAGIC = {"JPEG": (0, b"\xff\xd8\xff"), "PNG": (0, b"\x89PNG\r\n\x1a\n"), "GIF": (0, b"GIF8"), "BMP": (0, b"BM"),
         "WebP": (8, b"WEBP")}
RATIOS = (1, 2, 4, 8)
SMALL = 2 ** 16  # bytes of a JPEG that takes less time to be decoded than its blocks take to be walked through
# How most JPEGs without EXIF begin: a JFIF block of 16 bytes, and then no other block of application data (None: any byte).
PLAIN_JPEG = (*b"\xff\xd8\xff\xe0\0\x10JFIF\0", *[None] * 9, *b"\xff\xdb")

# What may be known of a photo before it's decoded. TensorFlow takes half a second to prepare the graph for any photo,
# whenever a pass over a data set begins, most of it for what hardly a photo needs.
UPRIGHT_JPEG, JPEG, ANY = range(3)


def picture(bytes, shrink, known=ANY):
    """Decodes one photo of any known format.

    Args:
        bytes: scalar string tensor, the content of a file.
        shrink: function of the upright (height, width), int64 scalars in pixels. Returns how many times smaller the
            photo may be decoded, a float scalar. Only the JPEG decoder makes use of it.
        known: `ANY` for any photo; `JPEG`, or `UPRIGHT_JPEG` for one without an orientation, makes a smaller graph.

    Returns:
        The pixels as they lie, uint8 `(rows, columns, 3)`, 0-255; how many of their rows and columns the photo covers,
        float32 `(2,)`, not always whole since the decoder pads what it scales down; the orientation, int64 scalar 1-8, or
        `UP` where it's known.

    Raises:
        tf.errors.InvalidArgumentError: when run, for bytes that aren't one whole photo of a known format.
    """
    if known != ANY:
        bytes = _require(is_jpeg(bytes), "no JPEG any more: read the data again with kt.data", bytes)
        return _jpeg(bytes, shrink, UP if known == UPRIGHT_JPEG else _turn(bytes))
    return tf.cond(is_jpeg(bytes), lambda: _jpeg(bytes, shrink, _turn(bytes)), _one_node(lambda: _no_jpeg(bytes)))


def _one_node(function):
    """A function that stays one: TensorFlow's executor walks through every node of a branch, even if it isn't taken."""
    if tf.executing_eagerly():  # there is no graph, and making one for a call takes longer than the call
        return function
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def is_jpeg(bytes):
    """Whether the content of a file, a scalar string, begins as JPEGs do."""
    return _matches(bytes, MAGIC["JPEG"][1])


def _matches(bytes, pattern):
    """Whether a scalar string begins with a pattern, bytes or None for any: without a copy of the whole file."""
    found = tf.io.decode_raw(bytes, tf.uint8, fixed_length=len(pattern))
    return tf.reduce_all((found == [byte or 0 for byte in pattern]) | [byte is None for byte in pattern])


def _no_jpeg(bytes):
    data = content(bytes)
    readers = {"PNG": _png, "GIF": _gif, "BMP": _bmp, "WebP": _webp}
    matches = tf.stack([begins(data, *MAGIC[kind]) for kind in readers] + [True])
    branches = [functools.partial(read, bytes, data) for read in readers.values()] + [lambda: _unknown(bytes)]
    return tf.switch_case(tf.argmax(tf.cast(matches, tf.int32), output_type=tf.int32), branches)


def _as_it_is(image):
    return image, tf.cast(tf.shape(image)[:2], tf.float32), tf.constant(UP, tf.int64)


def _require(condition, message, value):
    """Returns `value`, which nothing can compute with unless `condition` holds."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(value)


def _limited(bytes, height, width, kind):
    """Returns `bytes` if their header claims a number of pixels that is fit to be decoded."""
    pixels = tf.cast(height, tf.float64) * tf.cast(width, tf.float64)
    return _require((pixels > 0) & (pixels <= MOST_PIXELS),
                    f"a {kind} whose header claims no pixels or more than {MOST_PIXELS:,}", bytes)


def _unknown(bytes):
    bytes = _require(tf.strings.length(bytes) > 0, "an empty file (0 bytes)", bytes)
    bytes = _require(False, f"not a photo: the content is none of {', '.join(MAGIC)}", bytes)
    return _as_it_is(tf.zeros((tf.strings.length(bytes), 1, 3), tf.uint8))


def without_exif(bytes):
    """Whether it's sure, at a glance, that a JPEG has no EXIF block; all of a small one is looked through."""
    def looked_through():
        start = tf.strings.substr(bytes, 0, SMALL)
        return (tf.strings.length(bytes) <= SMALL) & ~tf.strings.regex_full_match(start, r"(?s)\C*Exif\x00\x00\C*")

    return tf.cond(_matches(bytes, PLAIN_JPEG), lambda: tf.constant(True), looked_through)


def _turn(bytes):
    return tf.cond(without_exif(bytes), lambda: tf.constant(UP, tf.int64), _one_node(lambda: orientation(content(bytes))))


def _jpeg(bytes, shrink, turn):
    """Grey, RGB or CMYK; scaled down by the decoder itself."""
    size = tf.cast(tf.io.extract_jpeg_shape(bytes)[:2], tf.int64)
    bytes = _limited(bytes, size[0], size[1], "JPEG")
    factor = tf.cast(shrink(*upright_size(size[0], size[1], turn)), tf.float32)
    choice = tf.reduce_sum(tf.cast(factor >= tf.constant(RATIOS[1:], tf.float32), tf.int32))

    def at(ratio):  # the accurate transform costs next to nothing and agrees with other decoders to a level or two
        return lambda: tf.io.decode_jpeg(bytes, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    image = tf.switch_case(choice, [at(ratio) for ratio in RATIOS])
    return image, tf.cast(size, tf.float32) / tf.cast(2 ** choice, tf.float32), turn


def _png(bytes, data):
    """Palette looked up, alpha dropped, the high byte of 16-bit samples."""
    bytes = _limited(bytes, number(data, 20, 4), number(data, 16, 4), "PNG")
    return _as_it_is(tf.io.decode_png(bytes, channels=3))


def _gif(bytes, data):
    """The first frame of what may be an animation; the decoder would decode all the others as well."""
    bytes = _limited(bytes, number(data, 8, 2, little=True), number(data, 6, 2, little=True), "GIF")
    start, end = first_frame(data)
    bytes = _limited(bytes, number(data, start + 7, 2, little=True), number(data, start + 5, 2, little=True), "GIF")
    bytes = _require(end <= tf.cast(tf.strings.length(bytes), tf.int64), "a truncated GIF", bytes)
    bytes = tf.strings.join([tf.strings.substr(bytes, tf.zeros_like(end), end), ";"])
    image = tf.io.decode_image(bytes, channels=3, expand_animations=False)
    return _as_it_is(tf.ensure_shape(image, (None, None, 3)))


def _webp(bytes, data):
    """The header comes in three forms: VP8X (extended), VP8L (lossless) and VP8 (lossy, never with alpha)."""
    extended, lossless = begins(data, 12, b"VP8X"), begins(data, 12, b"VP8L")
    bits, flags = number(data, 21, 4, little=True), number(data, 20, 1)
    sizes = zip([number(data, at, 3, little=True) + 1 for at in (27, 24)],
                [(bits // 2 ** 14) % 2 ** 14 + 1, bits % 2 ** 14 + 1],
                [number(data, at, 2, little=True) % 2 ** 14 for at in (28, 26)])
    height, width = (tf.where(extended, x, tf.where(lossless, n, y)) for x, n, y in sizes)
    bytes = _limited(bytes, height, width, "WebP")
    bytes = _require(~extended | (flags // 2 % 2 == 0), "an animated WebP: save one frame as PNG or JPEG", bytes)
    alpha = extended & (flags // 16 % 2 == 1) | lossless & (bits // 2 ** 28 % 2 == 1)

    def decoded(channels):  # the decoder accepts the photo's own number only; asked for any number, it aborts the process
        image = tf.io.decode_image(bytes, channels=channels, expand_animations=False)
        return tf.ensure_shape(image, (None, None, channels))[:, :, :3]

    return _as_it_is(tf.cond(alpha, lambda: decoded(4), lambda: decoded(3)))


def _bmp(bytes, data):
    """24 or 32 bits a pixel, or 8 bits with a palette, which TensorFlow's decoder doesn't look up."""
    def field(at, size):
        return number(data, at, size, little=True)

    bits, header, used = field(28, 2), field(14, 4), field(46, 4)
    # 32-bit pixels are also stored as "bit fields" (compression 3); their usual masks mean the same as none
    usual = (field(30, 4) == 3) & (bits == 32) & (field(54, 4) == 0xFF0000) & (field(58, 4) == 0xFF00)
    known = (header >= 40) & tf.reduce_any(bits == [8, 24, 32]) & ((field(30, 4) == 0) | usual)
    bytes = _require(known, "a BMP other than plain 8, 24 or 32 bits a pixel: save it as PNG", bytes)
    height = tf.abs(tf.bitcast(tf.cast(field(22, 4), tf.uint32), tf.int32))  # negative means top row first
    image = tf.io.decode_bmp(_limited(bytes, height, field(18, 4), "BMP"))

    def looked_up():
        start, count = 14 + header, tf.where(used == 0, tf.constant(256, tf.int64), used)
        palette = tf.reshape(data[start:start + 4 * tf.minimum(count, 256)], (-1, 4))[:, 2::-1]  # blue, green, red, 0
        return tf.gather(palette, tf.cast(image[:, :, 0], tf.int32))

    return _as_it_is(tf.cond(bits == 8, looked_up, lambda: image[:, :, :3]))
