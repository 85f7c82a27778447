import os

import pytest

from keras_transfer._files import atomic


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
