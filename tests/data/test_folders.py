"""A folder a class: what is read, and what each wrong layout is told."""

import os

import numpy as np
import pytest

from keras_transfer.data import info, photos


def test_classes_are_folders_in_code_point_order(tmp_path, write_photos):
    write_photos(tmp_path, {"zebra": 3, "Ärger": 3, "cat": 3, "10": 3, "9": 3, "big dog": 3})
    train, valid, labels = photos(tmp_path, size=(6, 8), batch_size=4)
    assert labels == ["10", "9", "big dog", "cat", "zebra", "Ärger"]
    assert train.cardinality() == 3 and valid.cardinality() == 2
    x, y = next(iter(train))
    assert x.shape == (4, 6, 8, 3) and x.dtype == "float32" and y.dtype == "int32" and 1 < np.max(x) <= 255
    assert np.bincount(info(train).targets[None]).tolist() == [2] * 6
    assert all(labels[k] in file for k, file in zip(info(train).targets[None], info(train).files))


def test_nested_folders_belong_to_their_class_and_hidden_things_to_none(pets, encoded, smooth):
    (pets / "cat" / "big" / "old").mkdir(parents=True)
    (pets / "cat" / "big" / "old" / "ünder wäter.JPG").write_bytes(encoded(smooth(9, 9), "JPEG"))
    (pets / "cat" / ".ipynb_checkpoints").mkdir()
    for name in ("cat/.DS_Store", "cat/._0.png", "dog/Thumbs.db", "cat/.ipynb_checkpoints/0.png", "dog/notes.txt"):
        (pets / name).write_bytes(b"no photo")
    for name in ("__MACOSX", ".git"):
        (pets / name).mkdir()
    train, _, labels = photos(str(pets), size=4, validation=0)
    assert labels == ["cat", "dog"] and len(info(train).files) == 31
    assert any(file.endswith(os.path.join("big", "old", "ünder wäter.JPG")) for file in info(train).files)
    assert sum(1 for _ in train.unbatch()) == 31


def test_formats_are_told_by_content(pets, encoded, smooth):
    (pets / "dog" / "really a png.jpg").write_bytes(encoded(smooth(9, 9), "PNG"))
    assert len(info(photos(pets, size=4, validation=0)[0]).files) == 31


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda root: root / "pest", FileNotFoundError, r"There is no folder '.*pest'. Did you mean 'pets'\?"),
        (
            lambda root: root / "pets/cat/0.png",
            NotADirectoryError,
            "is a file; `photos` reads a folder that holds a folder",
        ),
        (
            lambda root: (root / "empty").mkdir() or root / "empty",
            ValueError,
            "empty' holds no folders; make one folder a",
        ),
        (lambda root: root / "pets/cat", ValueError, "cat' holds photos, but no folders; make one folder a class"),
    ],
)
def test_what_isnt_a_folder_of_classes(pets, make, error, words):
    with pytest.raises(error, match=words):
        photos(make(pets.parent))


def test_one_class(tmp_path, write_photos):
    with pytest.raises(ValueError, match="has one class, 'cat'; a classifier needs at least two, each a folder"):
        photos(write_photos(tmp_path, {"cat": 4}))


def test_a_class_of_one_photo(tmp_path, write_photos):
    write_photos(tmp_path, {"cat": 4, "dog": 1})
    with pytest.raises(
        ValueError, match="Class 'dog' has 1 photo and needs at least 2, one to train on and one to hold"
    ):
        photos(tmp_path, size=4)
    train, valid, _ = photos(tmp_path, size=4, validation=0)
    assert valid is None and len(info(train).files) == 5


@pytest.mark.parametrize(
    "names, words",
    [
        ((), r"The folder of class 'bird' in '.*' holds no files; supported are \.jpg, .*\.webp\.$"),
        (("a.heic", "b.HEIC", "c.txt"), r"holds only 2 \.heic, 1 \.txt; supported are .* Convert to JPEG: 2 \.heic\.$"),
        (("a.tif",), r"holds only 1 \.tif; .* Convert to JPEG: 1 \.tif\."),
        (("README",), "holds only 1 no extension; supported are"),
    ],
)
def test_a_class_without_supported_photos(pets, names, words):
    (pets / "bird").mkdir()
    for name in names:
        (pets / "bird" / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=words):
        photos(pets, size=4)


def test_photos_to_convert_among_others_are_warned_of(pets):
    (pets / "cat" / "phone.heic").write_bytes(b"x")
    with pytest.warns(UserWarning, match="Photos of class 'cat' are left out. Convert to JPEG: 1 .heic."):
        train, _, _ = photos(pets, size=4, validation=0)
    assert len(info(train).files) == 30


def test_folders_of_parts_get_a_hint(tmp_path, write_photos):
    for part in ("train", "test"):
        write_photos(tmp_path / "outer" / part, {"cat": 2, "dog": 2})
    with pytest.raises(
        ValueError, match="are test, train, which look like parts and not like classes; read one of them"
    ):
        photos(tmp_path / "outer")
    for name in ("cat", "dog"):
        write_photos(tmp_path / "inner" / name, {"train": 2, "test": 2})
    with pytest.raises(
        ValueError, match="cat' holds test, train, which would be mixed; make the outer folders the parts"
    ):
        photos(tmp_path / "inner")


def test_bad_photos_are_all_listed_or_skipped(pets):
    (pets / "cat" / "0.png").write_bytes((pets / "cat" / "0.png").read_bytes()[:40])
    (pets / "dog" / "text.jpg").write_text("file,label")
    (pets / "dog" / "empty.jpg").write_bytes(b"")
    with pytest.raises(
        ValueError,
        match="3 of 32 photos can't be read.*\n  cat/0.png: corrupt or truncated, 40 bytes "
        ".*\n  dog/empty.jpg: an empty file .*\n  dog/text.jpg: not a photo",
    ):
        photos(pets, size=4)
    with pytest.warns(UserWarning, match="3 of 32 photos can't be read and are left out"):
        train, valid, _ = photos(pets, size=4, on_error="skip")
    assert [name for name, _ in info(train).skipped] == ["cat/0.png", "dog/empty.jpg", "dog/text.jpg"]
    assert len(info(train).files) + len(info(valid).files) == 29 and info(valid).skipped == info(train).skipped


def test_a_class_all_of_whose_photos_are_bad_isnt_dropped(pets):
    (pets / "bird").mkdir()
    (pets / "bird" / "0.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 31"), pytest.raises(ValueError, match="No photo of class 'bird' can be"):
        photos(pets, size=4, on_error="skip")


def test_a_folder_that_cant_be_listed_is_an_error(pets, monkeypatch):
    real = os.scandir

    def refusing(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionError, match="dog"):
        photos(pets, size=4)
