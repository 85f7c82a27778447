import pytest

from keras_transfer.exporting.versions import target


def test_a_numbered_folder_is_written_as_it_is(tmp_path):
    assert target(tmp_path / "pets" / "1") == tmp_path / "pets" / "1"
    assert target(tmp_path / "pets" / "20261122") == tmp_path / "pets" / "20261122"


def test_another_folder_gets_the_next_free_number(tmp_path):
    assert target(tmp_path / "pets") == tmp_path / "pets" / "1"
    for name in ("1", "9", "10", "notes", ".11.unfinished"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    assert target(str(tmp_path / "pets")) == tmp_path / "pets" / "11"  # numbers, not texts: 10 comes after 9


def test_a_folder_that_holds_versions_is_no_version_though_it_is_a_number(tmp_path):
    (tmp_path / "2024" / "3").mkdir(parents=True)
    assert target(tmp_path / "2024") == tmp_path / "2024" / "4"


def test_what_exists_is_refused(tmp_path):
    (tmp_path / "pets" / "1").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        FileExistsError,
        match="exists already, and a version that may be in service isn't overwritten. Give .*pets' for",
    ):
        target(tmp_path / "pets" / "1")
    with pytest.raises(NotADirectoryError, match="file' is a file; an export is a folder such as served/pets/1"):
        target(tmp_path / "file")
