"""The digits of scikit-learn as files."""

import os

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from keras_transfer.data import digits


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return digits(tmp_path_factory.mktemp("scans") / "new" / "digits")


def test_every_scan_is_there_with_its_label_and_grey_values(written):
    scans = load_digits()
    files = sorted(written.glob("*/*.png"), key=lambda file: file.stem)
    assert len(files) == 1797 and sorted(os.listdir(written)) == list("0123456789")
    assert [int(file.parent.name) for file in files] == scans.target.tolist()
    for k in (0, 5, 1796):
        image = Image.open(files[k])
        assert image.mode == "L" and files[k].stem == f"{k:04}"
        np.testing.assert_array_equal(image, np.round(scans.images[k] * 255 / 16))
    assert np.max(Image.open(files[5])) == 255


def test_nothing_else_is_left_beside_it(written):
    assert os.listdir(written.parent) == ["digits"]


def test_a_complete_folder_is_left_as_it_is(written):
    before = (written / "0" / "0000.png").stat().st_mtime_ns
    assert digits(str(written)) == written and (written / "0" / "0000.png").stat().st_mtime_ns == before


def test_anything_else_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists and isn't the 1,797 digits; name a new folder or remove it"):
        digits(tmp_path)
    with pytest.raises(FileExistsError, match="exists and isn't the 1,797 digits"):
        digits(tmp_path / "mine.txt")
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        digits(tmp_path / "digits")
    assert os.listdir(tmp_path) == []


def test_an_empty_folder_is_filled(tmp_path, written):
    (tmp_path / "digits").mkdir()
    assert len(list(digits(tmp_path / "digits").glob("*/*.png"))) == 1797


def test_without_scikit_learn_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "keras-transfer\[quickstart\]"'):
        digits(tmp_path / "digits")
