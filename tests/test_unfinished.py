"""A run in progress: goes on with the same settings only, and leaves nothing where nothing was trained."""

import subprocess
import sys

import pytest

from keras_transfer.checkpointing import FILE
from keras_transfer.unfinished import SETTINGS, unfinished


def test_nothing_is_left_of_a_run_that_trained_nothing(tmp_path):
    with pytest.raises(RuntimeError), unfinished(tmp_path / "run", {"rate": 1.0}) as folder:
        assert folder.is_dir() and folder.parent == tmp_path
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_it_goes_on_with_the_same_settings_only(tmp_path):
    with pytest.raises(KeyboardInterrupt), unfinished(tmp_path / "run", {"rate": 1.0, "sizes": (1, 2)}) as folder:
        (folder / FILE).write_bytes(b"weights")
        raise KeyboardInterrupt
    with unfinished(tmp_path / "run", {"rate": 1.0, "sizes": (1, 2)}) as again:
        assert again == folder and (again / FILE).read_bytes() == b"weights"
    with pytest.raises(ValueError, match="is of another run: rate was 1.0 and is 0.5. Give the same settings"):
        with unfinished(tmp_path / "run", {"rate": 0.5, "sizes": (1, 2)}):
            pass
    assert (folder / FILE).read_bytes() == b"weights" and "1.0" in (folder / SETTINGS).read_text()


def test_other_settings_may_begin_where_nothing_was_trained(tmp_path):
    with unfinished(tmp_path / "run", {"rate": 1.0}):
        pass
    with unfinished(tmp_path / "run", {"rate": 2.0}) as folder:
        assert "2.0" in (folder / SETTINGS).read_text()


def test_while_one_is_trained_another_for_the_same_output_is_refused_and_harms_nothing(tmp_path):
    with unfinished(tmp_path / "run", {"rate": 1.0}) as folder:
        code = f"""
from keras_transfer.unfinished import unfinished
with unfinished({str(tmp_path / "run")!r}, {{"rate": 2.0}}):
    print("trains")
"""
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "run' is being trained by another run just now. Wait for it, or give another output." in other.stderr
        assert not other.stdout
        assert "1.0" in (folder / SETTINGS).read_text()
    assert "trains" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout


def test_what_was_trained_to_compare_with_is_kept_and_of_the_same_settings(tmp_path):
    with pytest.raises(KeyboardInterrupt), unfinished(tmp_path / "run", {"rate": 1.0}) as folder:
        (folder / "alone_colour").mkdir()
        (folder / "alone_colour" / FILE).write_bytes(b"weights")
        raise KeyboardInterrupt
    assert (folder / "alone_colour" / FILE).read_bytes() == b"weights"
    with pytest.raises(ValueError, match="is of another run: rate was 1.0 and is 0.5"):
        with unfinished(tmp_path / "run", {"rate": 0.5}):
            pass
