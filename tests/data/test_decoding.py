"""From bytes to a size: geometry worked out by hand, pixels against Pillow, and every place where it must run."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_transfer.data import decode, decoding
from keras_transfer.data.decoding import decode_known, height_and_width
from keras_transfer.data.formats import ANY, JPEG, UPRIGHT_JPEG
from keras_transfer.data.streaming import decoder


def by_pillow(bytes, size):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(bytes))).convert("RGB")
    return np.asarray(image.resize(size[::-1], Image.BILINEAR)).astype(float)


def png(pixels):
    return tf.io.encode_png(np.asarray(pixels, "uint8")).numpy()


@pytest.mark.parametrize("size", [(37, 53), (16, 24), (90, 101), (7, 50)])
def test_stretch_is_pillows_bilinear(smooth, encoded, size):
    bytes = encoded(smooth(37, 53), "PNG")
    photo = decode(bytes, size)
    assert photo.dtype == tf.float32 and photo.shape == (*size, 3)
    np.testing.assert_allclose(photo, by_pillow(bytes, size), atol=1.01)


@pytest.mark.parametrize("size", [(37, 53), (38, 53), (37, 120), (90, 101)])
def test_enlarging_gives_what_the_filter_would_give(smooth, encoded, size):
    photo = smooth(37, 53)
    scale = np.array(size, "float32") / [37, 53]
    wanted = tf.raw_ops.ScaleAndTranslate(images=np.asarray(photo)[None], size=size, scale=tf.constant(scale, tf.float32),
                                          translation=tf.zeros(2), kernel_type="triangle", antialias=True)[0]
    np.testing.assert_allclose(decode(encoded(photo, "PNG"), size), wanted, atol=1e-3)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(16, 24), (30, 90), (60, 20), (36, 53), (37, 53), (80, 81)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_filter_gives_the_bits_of_the_op(smooth, fit, size, dtype):
    photo = np.asarray(smooth(37, 53), dtype)
    scale, shift = decoding.FITS[fit](tf.constant([37.0, 52.5]), tf.cast(size, tf.float32))
    wanted = tf.raw_ops.ScaleAndTranslate(images=photo[None], size=size, scale=scale, translation=shift,
                                          kernel_type="triangle", antialias=True)[0]
    np.testing.assert_array_equal(decoding._filtered(tf.constant(photo), tf.constant(size), scale, shift), wanted)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_large_photos_are_resized_alike(monkeypatch, smooth, encoded, fit):
    bytes = encoded(smooth(37, 53), "JPEG")
    found = decode_known(tf.constant(bytes), (16, 24), fit, UPRIGHT_JPEG)
    monkeypatch.setattr(decoding, "LARGE", 100)
    monkeypatch.setattr(decoding, "_filtered", None)  # isn't called then
    monkeypatch.setattr(tf, "switch_case", lambda kind, branches: branches[int(kind)]())
    np.testing.assert_array_equal(found, decode_known(tf.constant(bytes), (16, 24), fit, UPRIGHT_JPEG))


def test_what_is_known_of_a_photo_changes_nothing_but_the_graph(smooth, encoded):
    turned = Image.Exif()
    turned[0x0112] = 6
    for bytes, levels in (encoded(smooth(60, 47), "JPEG"), (UPRIGHT_JPEG, JPEG)), (
            encoded(smooth(60, 47), "JPEG", exif=turned), (JPEG,)):
        for fit in "stretch", "crop", "pad":
            for known in levels:
                found = decode_known(tf.constant(bytes), (40, 50), fit, known)
                np.testing.assert_array_equal(found, decode(bytes, (40, 50), fit))
    nodes = [len(decoder((40, 50), "stretch", known).get_concrete_function().graph.as_graph_def().SerializeToString())
             for known in (UPRIGHT_JPEG, JPEG, ANY)]
    assert nodes[0] < nodes[1] / 2 < nodes[2] / 4


def test_downscaling_is_antialiased():
    stripes = np.tile(np.array([0, 255], "uint8")[None, :, None], (32, 32, 3))
    np.testing.assert_allclose(decode(png(stripes), 8)[2:-2, 2:-2], 127.5, atol=1)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("endian", "<>")
def test_phone_photos_are_turned_upright(smooth, encoded, value, endian):
    exif = Image.Exif()
    exif.endian, exif[0x0112] = endian, value
    bytes = encoded(smooth(40, 60), "JPEG", quality=95, exif=exif)
    np.testing.assert_allclose(decode(bytes, (36, 32)), by_pillow(bytes, (36, 32)), atol=2)
    as_it_lies = by_pillow(encoded(smooth(40, 60), "JPEG", quality=95), (36, 32))
    assert (np.abs(decode(bytes, (36, 32)) - as_it_lies).mean() > 10) == (value > 1)


def test_crop_keeps_the_central_part_of_the_right_proportions():
    # 4 x 10 to a square: columns 3 to 6 are kept, as they are
    pixels = np.broadcast_to(np.arange(10)[None, :, None] * 20, (4, 10, 3))
    np.testing.assert_array_equal(decode(png(pixels), 4, "crop")[0, :, 0], [60, 80, 100, 120])
    # 10 x 4 to (2, 4): 2 rows of 10, rows 4 and 5
    tall = np.swapaxes(pixels, 0, 1)
    np.testing.assert_array_equal(decode(png(tall), (2, 4), "crop")[:, 0, 0], [80, 100])


def test_pad_keeps_the_whole_photo_between_black_borders():
    # 4 x 8 to a square of 8: two black rows above and two below
    photo = decode(png(np.full((4, 8, 3), 90)), 8, "pad").numpy()
    np.testing.assert_allclose(photo[:, 0, 0], [0, 0, 90, 90, 90, 90, 0, 0])
    # 30 x 10 to (6, 9): 6 x 2 pixels, 3 black columns left and 4 right
    np.testing.assert_allclose(
        decode(png(np.full((30, 10, 3), 90)), (6, 9), "pad")[0, :, 0], [0, 0, 0, 90, 90, 0, 0, 0, 0], rtol=1e-6
    )


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (8, 8)])
def test_extreme_proportions_still_have_the_size(fit, shape):
    photo = decode(png(np.full((*shape, 3), 80)), (8, 6), fit).numpy()
    assert photo.shape == (8, 6, 3) and photo.max() == pytest.approx(80)
    assert photo.min() == (0 if fit == "pad" else pytest.approx(80))


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_large_jpegs_scaled_by_the_decoder_look_the_same(smooth, encoded, fit):
    # the second derivation decodes at full size: the same pixels as a PNG can't be scaled by the decoder
    bytes = encoded(smooth(300, 500), "JPEG", quality=95)
    whole = encoded(Image.open(io.BytesIO(bytes)), "PNG")
    for size in (300, 500), (100, 100), (37, 62), (20, 80):
        assert np.abs(decode(bytes, size, fit) - decode(whole, size, fit)).mean() < 1.5


@pytest.mark.parametrize(
    "fit, size, least",
    [
        ("stretch", (50, 50), (50, 75)),
        ("crop", (50, 50), (50, 75)),
        ("pad", (50, 50), (34, 50)),
        ("stretch", (20, 100), (100, 150)),
    ],
)
def test_the_scaled_jpeg_is_never_smaller_than_needed(monkeypatch, smooth, encoded, fit, size, least):
    real, seen = tf.io.decode_jpeg, []
    monkeypatch.setattr(tf.io, "decode_jpeg", lambda *a, **k: seen.append(real(*a, **k)) or seen[-1])
    decode(encoded(smooth(200, 300), "JPEG"), size, fit)
    assert len(seen) == 1 and tuple(seen[0].shape[:2]) >= least
    assert seen[0].shape[0] < 2 * least[0], "a smaller one would do"


def test_runs_in_map_fn_datasets_and_saved_models_alike(tmp_path, smooth, encoded):
    photos = [encoded(smooth(20, 30), "PNG"), encoded(smooth(64, 30, 1), "JPEG"), encoded(smooth(20, 21, 2), "GIF")]
    expected = np.stack([decode(photo, (8, 10), "crop") for photo in photos])

    class Server(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
        def serve(self, photos):
            return tf.map_fn(
                lambda photo: decode(photo, (8, 10), "crop"),
                photos,
                fn_output_signature=tf.TensorSpec((8, 10, 3), tf.float32),
            )

    tf.saved_model.save(Server(), tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served").serve
    np.testing.assert_array_equal(served(tf.constant(photos)), expected)
    dataset = tf.data.Dataset.from_tensor_slices(photos).map(lambda photo: decode(photo, (8, 10), "crop"))
    assert dataset.element_spec.shape == (8, 10, 3)
    np.testing.assert_array_equal(np.stack(list(dataset)), expected)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a photo"):
        served(tf.constant([photos[0], b"text"]))


@pytest.mark.parametrize("size", [0, -1, 2.5, "224", (10,), (10, 0), (1, 2, 3), None, (True, 5)])
def test_bad_sizes_are_refused_early(size):
    with pytest.raises(ValueError, match="`size` must be a number of pixels, or .height, width., whole and above 0"):
        decode(b"", size)


def test_sizes_are_height_and_width():
    assert height_and_width(5) == (5, 5) and height_and_width([np.int64(3), 4]) == (3, 4)


def test_an_unknown_fit_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="Unknown fit 'croped'. Did you mean 'crop'?"):
        decode(b"", 8, "croped")
