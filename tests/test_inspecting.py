"""`kt.inspect` tells what is in a SavedModel and runs nothing."""

import pathlib
import tarfile

import pytest
import saved_models

import keras_transfer as kt
from keras_transfer import cli


def test_an_ordinary_model(tmp_path):
    path = saved_models.plain(tmp_path / "model")
    found = kt.inspect(path)
    assert found.safe and found.hazards == [] and found.tags == [["serve"]]
    assert list(found.signatures) == ["serving_default"] and len(found.variables) == 2
    assert found.bytes == sum(p.stat().st_size for p in pathlib.Path(path).rglob("*") if p.is_file())
    text = str(found)
    assert "signature 'serving_default'" in text and "in  x: float32 (?, 6)" in text
    assert "2 arrays with 21 numbers" in text and "nothing in it reaches files" in text


def test_a_writer(tmp_path):
    target = tmp_path / "written.txt"
    path = saved_models.writer(tmp_path / "model", target, "nested")
    target.unlink(missing_ok=True)
    found = kt.inspect(f"hub:{path}")
    assert not found.safe and not target.exists()
    assert {hazard.operation for hazard in found.hazards} == {"WriteFile"}
    assert any("innermost" in hazard.function for hazard in found.hazards)
    assert f"UNSAFE, {len(found.hazards)} operations reach outside:" in str(
        found
    ) and "WriteFile (writes files)" in str(found)


def test_an_archive_is_not_left_behind(tmp_path):
    path = saved_models.plain(tmp_path / "model")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as opened:
        opened.add(path, ".")
    assert kt.inspect(tmp_path / "model.tar.gz").signatures == kt.inspect(path).signatures


def test_the_command(tmp_path, capsys):
    path = saved_models.dicts(tmp_path / "model")
    assert cli.main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "inputs" in said or "a: float32 (?, 2)" in said
    assert cli.main(["inspect", str(saved_models.writer(tmp_path / "writer", tmp_path / "x"))]) == 1
    assert "UNSAFE" in capsys.readouterr().out
    assert cli.main(["inspect", str(tmp_path / "absent")]) == 1
    assert "no folder or archive" in capsys.readouterr().err


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="`source` must be a folder, an archive, a URL or a Kaggle handle"):
        kt.inspect(3)
