"""The first frame of GIFs, against what Pillow wrote."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer.data.animation import first_frame
from keras_transfer.data.formats import picture
from keras_transfer.data.headers import content


def gif(smooth, encoded, frames=3, side=40, **options):
    images = [smooth(side, side + 9, seed).quantize(64) for seed in range(frames)]
    more = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    return encoded(images[0], "GIF", **more, **options)


@pytest.mark.parametrize("options", [{}, {"comment": b"x" * 700}, {"loop": 0, "duration": 50}, {"interlace": 0}])
def test_a_single_frame_ends_before_the_end_mark(smooth, encoded, options):
    data = gif(smooth, encoded, frames=1, **options)
    start, end = first_frame(content(data))
    assert data[start] == 0x2C and end == len(data) - 1 and data[-1:] == b";"


def test_later_frames_are_cut_off(smooth, encoded):
    alone, moving = gif(smooth, encoded, frames=1), gif(smooth, encoded, loop=0)
    (_, whole), (start, end) = first_frame(content(alone)), first_frame(content(moving))
    assert moving[start] == 0x2C and moving[end] == 0x21, "the next frame's control block"
    assert abs(int(end) - int(whole)) < 100 and end < len(moving) // 2


def test_the_end_of_a_truncated_frame_is_past_the_end(smooth, encoded):
    data = gif(smooth, encoded, frames=1)
    for length in (14, 100, len(data) // 2, len(data) - 2):
        assert first_frame(content(data[:length]))[1] > length
        with pytest.raises(tf.errors.InvalidArgumentError):
            picture(data[:length], lambda height, width: 1.0)


def test_a_broken_later_frame_doesnt_matter(smooth, encoded):
    moving = gif(smooth, encoded)
    end = int(first_frame(content(moving))[1])
    image = picture(moving[: end + 40] + b"garbage", lambda height, width: 1.0)[0]
    np.testing.assert_array_equal(image, smooth(40, 49, 0).quantize(64).convert("RGB"))


def test_a_frame_larger_than_its_screen_is_refused_by_its_descriptor(smooth, encoded):
    data = bytearray(gif(smooth, encoded, frames=1))
    start = int(first_frame(content(bytes(data)))[0])
    data[start + 5 : start + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(tf.errors.InvalidArgumentError, match="a GIF whose header claims no pixels or more than 200"):
        picture(bytes(data), lambda height, width: 1.0)


def test_local_palettes_are_skipped(encoded):
    # Pillow gives a later frame of other colours its own palette; as a file of its own it has the palette up front
    red, blue = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    data = encoded(red, "GIF", save_all=True, append_images=[blue])
    start, end = (int(n) for n in first_frame(content(data)))
    rest = data[: 13 + 3 * 2 ** (data[10] % 8 + 1)] + data[end:]  # without the first frame the second becomes the first
    start, end = (int(n) for n in first_frame(content(rest)))
    assert rest[start] == 0x2C and rest[start + 9] >= 128 and end == len(rest) - 1
