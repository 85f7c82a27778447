"""What a scan has found out stays known, until the file changes."""

import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer.data import photos, seen
from keras_transfer.data.formats import ANY, JPEG, UPRIGHT_JPEG
from keras_transfer.data.scanning import readable


def test_what_a_photo_is_known_to_be(tmp_path, smooth, encoded):
    turned = Image.Exif()
    turned[0x0112] = 6
    content = {"plain.jpg": encoded(smooth(9, 8), "JPEG"), "comment.jpg": encoded(smooth(9, 8), "JPEG", comment=b"of a cat"),
               "turned.jpg": encoded(smooth(9, 8), "JPEG", exif=turned), "other.png": encoded(smooth(9, 8), "PNG")}
    files = {name: tmp_path / name for name in content}
    for name, bytes in content.items():
        files[name].write_bytes(bytes)
    assert seen.least(files.values()) == ANY, "nothing is known before the scan"
    assert all(readable(list(files.values()), list(files), "raise")[0])
    kinds = {name: seen.least([file]) for name, file in files.items()}
    assert kinds == {"plain.jpg": UPRIGHT_JPEG, "comment.jpg": UPRIGHT_JPEG, "turned.jpg": JPEG, "other.png": ANY}
    assert seen.least([files["plain.jpg"], files["turned.jpg"]]) == JPEG and seen.least(files.values()) == ANY
    files["plain.jpg"].write_bytes(content["other.png"])
    assert seen.least([files["plain.jpg"]]) == ANY, "it isn't what it was"


def test_a_bad_photo_and_none_at_all_leave_everything_open(tmp_path, smooth, encoded):
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    good.write_bytes(encoded(smooth(9, 8), "JPEG"))
    bad.write_bytes(b"no photo")
    assert seen.key(tmp_path / "none.jpg") is None and seen.least([tmp_path / "none.jpg"]) == ANY == seen.least([])
    readable([good, bad], ["good.jpg", "bad.jpg"], "skip")
    assert "not a photo" in seen.found[seen.key(bad)] and seen.least([good, bad]) == ANY
    assert seen.least([good]) == UPRIGHT_JPEG


def test_a_photo_that_is_of_another_kind_all_at_once_is_told(tmp_path, smooth, encoded):
    for name in "cat", "dog":
        (tmp_path / name).mkdir()
        for k in range(2):
            (tmp_path / name / f"{k}.jpg").write_bytes(encoded(smooth(9, 8), "JPEG"))
    train, _, _ = photos(tmp_path, size=8, validation=0)
    assert next(iter(train))[0].shape == (4, 8, 8, 3)
    (tmp_path / "dog" / "1.jpg").write_bytes(encoded(smooth(9, 8), "PNG"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="no JPEG any more: read the data again with kt.data"):
        next(iter(train))
    assert next(iter(photos(tmp_path, size=8, validation=0)[0]))[0].shape == (4, 8, 8, 3)
