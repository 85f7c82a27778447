import base64

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.reporting import pictures


def pixels_of(uri, kind):
    head, data = uri.split(",")
    assert head == f"data:image/{kind};base64"
    return tf.io.decode_image(base64.b64decode(data)).numpy()


@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30, 1), (20, 30, 4)])
def test_a_photo_keeps_its_colour_and_size(shape):
    photo = np.full(shape, 200, "float32")
    shown = pixels_of(pictures.photo(photo), "jpeg")
    assert shown.shape == (20, 30, 3) and np.abs(shown.astype(int) - 200).max() <= 3


def test_large_photos_shrink_and_other_ranges_are_spread():
    assert pixels_of(pictures.photo(np.zeros((512, 300, 3))), "jpeg").shape == (256, 150, 3)
    half = np.concatenate([np.zeros((8, 8, 3)), np.ones((8, 8, 3))])
    for photo in (half, half * 2 - 1, half * 255):
        shown = pixels_of(pictures.photo(photo), "jpeg")
        assert shown[:4].max() < 20 and shown[-4:].min() > 235


def test_attention_is_brightest_where_the_heat_is():
    heat = np.zeros((4, 4), "float32")
    heat[0, 3] = 1
    shown = pixels_of(pictures.looked_at(np.full((64, 64, 3), 128.0), heat), "jpeg").mean(-1)
    assert shown[4:12, 52:60].mean() > 150 > 90 > shown[40:, :24].mean()


def test_the_colours_of_heat_are_told_apart_in_grey():
    lightness = pictures._HEAT @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 40).all()


def test_a_matrix_has_a_pixel_a_cell_and_shows_the_smallest_mistake():
    shares = np.zeros((5, 5))
    shares[0, 0], shares[1, 4] = 1.0, 0.001
    shown = pixels_of(pictures.matrix(shares), "png")
    assert shown.shape == (5, 5, 4) and shown[0, 0, 3] == 255 and shown[1, 4, 3] >= 70
    assert (shown[..., 3] > 0).sum() == 2
