"""What a dataset knows about itself, and when two are the same."""

import dataclasses
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.data import Info, balance, info, photos
from keras_transfer.data.describing import fingerprint, stamps

EMPTY = Info("", False, None, None, {}, [], (1, 1), "crop")


def test_info_of_photos(pets):
    train, valid, labels = photos(pets, size=(6, 8), fit="crop", validation=0.2)
    known, held = info(train), info(valid)
    assert (known.size, known.fit, known.random, known.skipped) == ((6, 8), "crop", False, [])
    assert known.labels == labels == ["cat", "dog"] and held.epoch is None and known.epoch.dtype == tf.int64
    assert len(known.files) == 24 and len(held.files) == 6 and not set(known.files) & set(held.files)
    np.testing.assert_array_equal(known.targets[None], [os.path.dirname(file).endswith("dog") for file in known.files])
    assert known.files == sorted(known.files, key=lambda file: file.replace(os.sep, "/"))


def test_files_and_targets_are_in_the_order_of_an_unshuffled_set(pets):
    _, valid, _ = photos(pets, size=4, validation=0.3, batch_size=4)
    pixels = np.concatenate([x[:, 0, 0, 0] for x, _ in valid])
    expected = [tf.io.decode_png(tf.io.read_file(file))[0, 0, 0] for file in info(valid).files]
    np.testing.assert_allclose(pixels, np.array(expected, float), atol=1e-3)
    np.testing.assert_array_equal(np.concatenate([y for _, y in valid]), info(valid).targets[None])


def test_foreign_and_derived_datasets_have_none(pets):
    train, _, _ = photos(pets, size=4)
    assert info(train.take(1)) is None and info(tf.data.Dataset.range(3)) is None and info("text") is None


@pytest.fixture
def files(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
        os.utime(tmp_path / name, ns=(1, 1))
    return [tmp_path / "a.png", tmp_path / "b.png"]


def test_fingerprint_covers_paths_sizes_times_labels_and_options(files):
    names, labels = ["a.png", "b.png"], {None: np.array([0, 1], "int32")}
    first = fingerprint(names, stamps(files), labels, [(4, 4), "crop"])
    assert len(first) == 64 and int(first, 16) and first == fingerprint(names, stamps(files), labels, [(4, 4), "crop"])
    others = [
        fingerprint(["a.png", "c.png"], stamps(files), labels, [(4, 4), "crop"]),
        fingerprint(names[::-1], stamps(files[::-1]), labels, [(4, 4), "crop"]),
        fingerprint(names, stamps(files), {None: np.array([1, 0], "int32")}, [(4, 4), "crop"]),
        fingerprint(names, stamps(files), {"kind": labels[None]}, [(4, 4), "crop"]),
        fingerprint(names, stamps(files), labels, [(4, 4), "pad"]),
    ]
    os.utime(files[0], ns=(1, 2))
    others.append(fingerprint(names, stamps(files), labels, [(4, 4), "crop"]))
    files[0].write_bytes(b"longer")
    os.utime(files[0], ns=(1, 1))
    others.append(fingerprint(names, stamps(files), labels, [(4, 4), "crop"]))
    assert len({first, *others}) == 8


def test_a_moved_folder_keeps_its_fingerprint(pets, tmp_path):
    before = info(photos(pets, size=4)[0]).fingerprint
    shutil.copytree(pets, tmp_path / "elsewhere")
    assert info(photos(tmp_path / "elsewhere", size=4)[0]).fingerprint == before
    assert info(photos(pets, size=5)[0]).fingerprint != before
    assert info(photos(pets, size=4, batch_size=3)[0]).fingerprint == before


def test_the_reader_gives_any_rows_in_any_order_with_their_weights(pets):
    train, valid, _ = photos(pets, size=4, batch_size=8)
    by_number = [np.concatenate([np.asarray(b[k]) for b in info(train).reader(np.arange(24), 8)]) for k in (0, 1)]
    assert len(by_number[0]) == 24 and np.array_equal(by_number[1], info(train).targets[None])
    rows = np.array([5, 2, 23, 2])
    weighted = balance(train, {0: 3.0, 1: 7.0})
    ((x, y, weight),) = info(weighted).reader(rows, 4)
    assert np.array_equal(x, by_number[0][rows]) and np.array_equal(y, by_number[1][rows])
    assert np.array_equal(weight, np.where(by_number[1][rows] == 0, 3.0, 7.0)) and len(set(weight.numpy())) == 2
    assert info(photos(pets, size=4, augment=keras.layers.RandomFlip())[0]).reader is None
    inverted, _, _ = photos(pets, size=4, augment=keras.layers.Rescaling(-1, 255))
    ((x, _),) = info(inverted).reader(rows, 4)
    np.testing.assert_allclose(x, 255 - by_number[0][rows], atol=1e-4)
    assert info(balance(photos(pets, size=4, augment=keras.layers.RandomFlip())[0])).reader is None


def test_changed_and_removed_files_are_told(files):
    known = dataclasses.replace(EMPTY, files=files, stamps=stamps(files))
    assert known.changed() == []
    os.utime(files[1], ns=(1, 2))
    assert known.changed() == [files[1]]
    files[0].unlink()
    assert known.changed() == files
