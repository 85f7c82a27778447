"""EXIF orientation, against Pillow's `exif_transpose` and against bytes written by hand."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_transfer.data.formats import without_exif
from keras_transfer.data.headers import content
from keras_transfer.data.orientation import orientation, upright, upright_size


def jpeg_start(tiff, before=b""):
    block = b"Exif\0\0" + tiff
    return b"\xff\xd8" + before + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + b"\xff\xdb\0\x04\0\0"


def tiff(value, order=">", kind=3, tag=0x0112, count=2):
    mark = b"MM" if order == ">" else b"II"
    entries = struct.pack(order + "HHII", 0x010F, 2, 1, 0)
    entries += struct.pack(order + "HHI", tag, kind, 1)
    entries += struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
    return mark + struct.pack(order + "HIH", 42, 8, count) + entries


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("value", range(1, 9))
def test_reads_both_byte_orders_and_both_widths(value, order, kind):
    assert orientation(content(jpeg_start(tiff(value, order, kind)))) == value


@pytest.mark.parametrize(
    "before", [b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0", b"\xff\xfe\0\x05abc", b"\xff\xe1\0\x07http:"]
)
def test_finds_exif_behind_other_application_data(before):
    assert orientation(content(jpeg_start(tiff(6), before))) == 6


@pytest.mark.parametrize("before", [
    b"", b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0", b"\xff\xfe\0\x07\xc3\xff\n\0\x80",
    b"\xff\xe2\xff\xff" + (bytes(range(255)) * 257)[:65533], b"\xff\xe2\xff\xff" + bytes(65533) + b"\xff\xed\0\3\n"],
    ids=range(5))
def test_the_glance_never_misses_exif(before):
    data = jpeg_start(tiff(6), before)
    assert orientation(content(data)) == 6 and not without_exif(tf.constant(data))
    assert not without_exif(tf.constant(data + bytes(2**17)))
    small = len(before) < 100
    absent = data.replace(b"Exif", b"exif")
    assert orientation(content(absent)) == 1 and without_exif(tf.constant(absent)) == small
    plain = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xdb"
    assert without_exif(tf.constant(plain + bytes(2**17))), "how most large ones begin, too"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe1",
        b"\xff\xd8\xff\xe1\xff\xffExif\0\0",
        jpeg_start(b""),
        jpeg_start(b"MM"),
        jpeg_start(tiff(0)),
        jpeg_start(tiff(9)),
        jpeg_start(tiff(6, kind=2)),
        jpeg_start(tiff(6, tag=0x0111)),
        jpeg_start(tiff(6).replace(b"MM", b"XX")),
        jpeg_start(tiff(6).replace(b"MM\0*", b"MM\0+")),
        jpeg_start(tiff(6, count=0)),
        jpeg_start(tiff(6)[:4] + b"\xff\xff\xff\xf0"),
        jpeg_start(tiff(6)[:20]),
        b"\xff\xd8\xff\xe0\0\0" * 3,
    ],
    ids=range(16),
)
def test_garbled_or_absent_means_upright(data):
    assert orientation(content(data)) == 1


def test_a_wrong_count_of_entries_doesnt_hide_the_tag():
    assert orientation(content(jpeg_start(tiff(8, count=65535)))) == 8


@pytest.mark.parametrize("value", range(1, 9))
def test_upright_is_pillows(value):
    pixels = np.arange(2 * 3 * 3, dtype="uint8").reshape(2, 3, 3)
    exif = Image.Exif()
    exif[0x0112] = value
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    turned = tf.function(upright)(tf.constant(pixels), tf.constant(value, tf.int64))
    np.testing.assert_array_equal(turned, expected)
    assert [int(n) for n in upright_size(2, 3, tf.constant(value))] == list(expected.shape[:2])


def test_six_turns_clockwise():
    # a phone held upright: the sensor's left column is the photo's top row
    np.testing.assert_array_equal(
        upright(tf.constant([[[1], [2]], [[3], [4]]]), tf.constant(6, tf.int64))[:, :, 0], [[3, 1], [4, 2]]
    )
