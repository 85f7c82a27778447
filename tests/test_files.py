import errno
import os

import pytest

from keras_transfer._files import atomic, folder


def test_the_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with atomic(path) as file:
        file.write(b"first")
        assert not path.exists()
    with atomic(path) as file:
        file.write(b"second")
        assert path.read_bytes() == b"first"
    assert path.read_bytes() == b"second" and os.listdir(path.parent) == ["file.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic(path) as file:
        file.write(b"new")
        1 / 0
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file.txt"]


def test_an_error_names_the_file_and_not_the_one_beside_it(tmp_path, monkeypatch):
    def refused(**given):
        raise PermissionError(errno.EACCES, "Permission denied", ".file.txt.8dkbl")

    monkeypatch.setattr("tempfile.mkstemp", refused)
    with pytest.raises(PermissionError) as error, atomic(tmp_path / "file.txt"):
        pass
    assert error.value.filename == str(tmp_path / "file.txt") and error.value.errno == errno.EACCES


def test_a_folder_takes_its_place_when_it_is_whole(tmp_path):
    with folder(tmp_path / "deep" / "er" / "1") as beside:
        (beside / "part").mkdir()
        (beside / "part" / "file").write_text("x")
        assert beside.parent == tmp_path / "deep" / "er" and not (tmp_path / "deep" / "er" / "1").exists()
    assert (
        os.listdir(tmp_path / "deep" / "er") == ["1"]
        and (tmp_path / "deep" / "er" / "1" / "part" / "file").read_text() == "x"
    )
    assert oct((tmp_path / "deep" / "er" / "1").stat().st_mode & 0o777) == "0o755"


def test_an_error_leaves_no_folder_that_was_not_there(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(ZeroDivisionError), folder(tmp_path / "old" / "deep" / "1") as beside:
        (beside / "file").write_text("x")
        1 / 0
    assert os.listdir(tmp_path) == ["old"] and os.listdir(tmp_path / "old") == []


def test_another_that_came_first_is_kept(tmp_path):
    with pytest.raises(OSError), folder(tmp_path / "1") as beside:
        (beside / "mine").write_text("x")
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "theirs").write_text("y")
    assert os.listdir(tmp_path) == ["1"] and os.listdir(tmp_path / "1") == ["theirs"]


def test_where_no_folder_can_be_made_nothing_is_left(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError), folder(tmp_path / "file" / "deep" / "1"):
        pass
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_is_not_kept_leaves_nothing(tmp_path):
    with folder(tmp_path / "deep" / "run", keep=False) as beside:
        (beside / "file").write_text("content")
    assert not list(tmp_path.iterdir())
