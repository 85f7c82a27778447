"""Every format against Pillow, and everything that isn't a whole photo refused."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer.data.formats import MAGIC, picture
from support import run_python


@pytest.fixture(scope="module")
def pixels():
    """One traced graph for all tests, which is also how a pipeline runs it."""
    graph = tf.function(
        lambda data, factor: picture(data, lambda height, width: factor)[0],
        input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.float32)],
    )
    return lambda data, factor=1.0: graph(data, factor).numpy().astype(int)


def by_pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    "format, mode, tolerance",
    [
        ("JPEG", "RGB", 1),
        ("JPEG", "L", 1),
        ("JPEG", "CMYK", 2),
        ("PNG", "RGB", 0),
        ("PNG", "RGBA", 0),
        ("PNG", "L", 0),
        ("PNG", "LA", 0),
        ("PNG", "P", 0),
        ("PNG", "1", 0),
        ("BMP", "RGB", 0),
        ("BMP", "RGBA", 0),
        ("BMP", "L", 0),
        ("BMP", "P", 0),
        ("GIF", "RGB", 0),
        ("GIF", "L", 0),
        ("WEBP", "RGB", 1),
        ("WEBP", "RGBA", 1),
    ],
)
def test_format_and_mode_agree_with_pillow(pixels, smooth, encoded, format, mode, tolerance):
    data = encoded(smooth(37, 53).convert(mode), format)
    expected = by_pillow(data)
    assert expected.shape == (37, 53, 3) and expected.std() > 20
    assert np.abs(pixels(data) - expected).max() <= tolerance


def test_cmyk_isnt_read_inverted(pixels, encoded):
    # the control for the tolerance above: the two ways to store CMYK differ by a negative
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    assert np.abs(pixels(data)[8, 8] - [255, 0, 0]).max() <= 3


def test_ycck_is_read_as_pillow_does(pixels, smooth, encoded):
    data = bytearray(encoded(smooth(24, 32).convert("CMYK"), "JPEG"))
    mark = data.index(b"Adobe")
    data[mark + 11] = 2  # the transform flag: the same samples, now meant as YCCK
    assert np.abs(pixels(bytes(data)) - by_pillow(bytes(data))).max() <= 3


def test_palettes_shorter_than_256_and_transparent_ones(pixels, smooth, encoded):
    few = smooth(20, 30).quantize(7)
    for data in encoded(few, "BMP"), encoded(few, "PNG"), encoded(few, "PNG", transparency=3):
        np.testing.assert_array_equal(pixels(data), by_pillow(data))


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_keep_their_high_byte(pixels, channels):
    # Pillow clips 16-bit grey at 255, so NumPy is the reference
    deep = np.random.default_rng(0).integers(0, 65536, (9, 11, channels)).astype("uint16")
    data = tf.io.encode_png(deep).numpy()
    np.testing.assert_array_equal(pixels(data), np.broadcast_to(deep >> 8, (9, 11, 3)))


def test_progressive(pixels, smooth, encoded):
    data = encoded(smooth(40, 50), "JPEG", progressive=True)
    assert np.abs(pixels(data) - by_pillow(data)).max() <= 1


@pytest.mark.parametrize("format", ["GIF", "PNG"])
def test_first_frame_of_animations(pixels, smooth, encoded, format):
    frames = [smooth(20, 30, seed) for seed in (1, 2)]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(pixels(data), by_pillow(data), atol=1)
    assert np.abs(pixels(data) - np.asarray(frames[1]).astype(int)).mean() > 20


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 90}, {"lossless": True, "exif": b"Exif\0\0"}])
def test_transparent_webps_lose_their_alpha(pixels, smooth, encoded, options):
    image = smooth(20, 30).convert("RGBA")
    image.putalpha(128)
    data = encoded(image, "WEBP", exact=True, **options)
    np.testing.assert_allclose(pixels(data), by_pillow(data), atol=1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_animated_webps_are_refused(pixels, smooth, encoded, mode):
    frames = [smooth(20, 30, seed).convert(mode) for seed in (1, 2)]
    with pytest.raises(tf.errors.InvalidArgumentError, match="an animated WebP: save one frame as PNG or JPEG"):
        pixels(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))


def test_bmp_with_rows_from_the_top(pixels, smooth, encoded):
    image = smooth(6, 8)
    data = bytearray(encoded(image, "BMP"))
    data[22:26] = struct.pack("<i", -6)
    np.testing.assert_array_equal(pixels(bytes(data)), np.asarray(image)[::-1])


def test_bmp_of_bit_fields_with_the_usual_masks_only(pixels, smooth, encoded):
    image = smooth(6, 8)
    data = bytearray(encoded(image.convert("RGBA"), "BMP"))
    masked = data[:54] + struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + data[54:]
    masked[10:14], masked[14:18], masked[30:34] = (struct.pack("<I", n) for n in (70, 56, 3))
    np.testing.assert_array_equal(pixels(bytes(masked)), np.asarray(image))
    masked[54:58] = struct.pack("<I", 0xFF)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a BMP other than plain 8, 24 or 32 bits"):
        pixels(bytes(masked))


def test_bmp_of_one_bit_is_refused(pixels, smooth, encoded):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="a BMP other than plain 8, 24 or 32 bits a pixel: save it"
    ):
        pixels(encoded(smooth(9, 9).convert("1"), "BMP"))


@pytest.mark.parametrize("factor, ratio", [(0.5, 1), (1.99, 1), (2, 2), (3.9, 2), (4, 4), (7.9, 4), (8, 8), (99, 8)])
def test_jpegs_are_scaled_down_but_not_below_what_is_needed(pixels, smooth, encoded, factor, ratio):
    data = encoded(smooth(65, 97), "JPEG", quality=95)
    small = pixels(data, factor)
    assert small.shape == (-(-65 // ratio), -(-97 // ratio), 3)
    # each pixel is the mean of ratio x ratio ones, as far as these exist
    whole = pixels(data)[: 65 // ratio * ratio, : 97 // ratio * ratio]
    means = whole.reshape(65 // ratio, ratio, 97 // ratio, ratio, 3).mean((1, 3))
    assert np.abs(small[: 65 // ratio, : 97 // ratio] - means).mean() < 3


def test_shrink_is_asked_with_the_upright_size(smooth, encoded):
    exif, asked = Image.Exif(), []
    exif[0x0112] = 6
    image, covered, turn = picture(encoded(smooth(20, 30), "JPEG", exif=exif), lambda *size: asked.append(size) or 4.0)
    assert [int(n) for n in asked[0]] == [30, 20]
    assert image.shape == (5, 8, 3) and turn == 6
    np.testing.assert_array_equal(covered, [5, 7.5])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
def test_every_truncation_is_refused(pixels, smooth, encoded, format):
    data = encoded(smooth(24, 32), format)
    assert pixels(data).shape == (24, 32, 3)
    kept = len(data) - 1 - (format == "GIF")  # without its last byte, a mere end mark, a GIF is still whole
    for length in sorted({*range(0, 60, 3), *range(60, kept, max(1, kept // 60)), kept}):
        with pytest.raises(tf.errors.InvalidArgumentError):
            pixels(data[:length])


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "an empty file"),
        (b"label,file\n", "not a photo"),
        (b"<html>", "none of JPEG, PNG, GIF, BMP, WebP"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not a photo"),
        (b"%PDF-1.4", "not a photo"),
        (b"II*\0\x08", "not a photo"),
    ],
)
def test_other_content_is_refused_in_words(pixels, data, words):
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        pixels(data)


def bomb_png(height, width):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def jpeg_claiming(data, height, width):
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


@pytest.mark.parametrize("kind", MAGIC)
def test_bombs_are_refused_by_their_header(pixels, smooth, encoded, kind):
    small = smooth(10, 10)
    extended = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (59_999).to_bytes(3, "little") * 2
    gif, bmp = bytearray(encoded(small, "GIF")), bytearray(encoded(small, "BMP"))
    gif[6:10], bmp[18:26] = struct.pack("<HH", 60_000, 60_000), struct.pack("<ii", 60_000, -60_000)
    bomb = {
        "JPEG": jpeg_claiming(encoded(small, "JPEG"), 60_000, 60_000),
        "PNG": bomb_png(60_000, 60_000),
        "GIF": bytes(gif),
        "BMP": bytes(bmp),
        "WebP": extended,
    }[kind]
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=f"a {kind} whose header claims no pixels or more than 200"
    ):
        pixels(bomb)


@pytest.mark.parametrize("lossless, at, bits", [(True, 21, 16383 + (16383 << 14)), (False, 26, 16383 + (16383 << 16))])
def test_the_simple_webp_headers_are_understood(pixels, smooth, encoded, lossless, at, bits):
    # the largest such a WebP can claim is 268 million pixels, over the limit; half of it is under and fails later
    data = bytearray(encoded(smooth(10, 10), "WEBP", lossless=lossless))
    data[at : at + 4] = struct.pack("<I", bits)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a WebP whose header claims"):
        pixels(bytes(data))
    data[at : at + 4] = struct.pack("<I", bits & (0xFFFF0FFF if lossless else 0xFFFF0FFF))
    with pytest.raises(tf.errors.InvalidArgumentError) as refusal:
        pixels(bytes(data))
    assert "claims" not in str(refusal.value)


def test_the_limit_lies_at_200_million_pixels(pixels):
    with pytest.raises(tf.errors.InvalidArgumentError, match="claims no pixels or more"):
        pixels(bomb_png(200_000_001, 1))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid PNG"):
        pixels(bomb_png(2_000, 2_000))
    with pytest.raises(tf.errors.InvalidArgumentError, match="claims no pixels"):
        pixels(bomb_png(0, 5))


QUIET = """if 1:
    import sys, keras_transfer as kt
    train, _, _ = kt.data.photos(sys.argv[1], size=16, validation=0)
    print(sum(len(x) for x, _ in train))
"""


def test_photos_that_are_no_jpegs_are_read_without_a_warning(tmp_path):
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for number in range(2):
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 20, 3), "uint8")).save(tmp_path / kind / f"{number}.png")
    done = run_python(QUIET, tmp_path)
    assert done.stdout.split()[-1] == "4"
    assert not [line for line in done.stderr.splitlines() if "AutoGraph" in line or "layout failed" in line]
