"""All bad photos in one error, with reasons."""

import os

import pytest

from keras_transfer.data import scanning
from keras_transfer.data.scanning import fault, readable


@pytest.fixture
def mixed(tmp_path, smooth, encoded):
    """One good photo and one of each sort of bad ones."""
    good = encoded(smooth(40, 50), "JPEG")
    bomb = bytearray(encoded(smooth(4, 4), "PNG"))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    content = {
        "good.jpg": good,
        "cut.jpg": good[: len(good) // 2],
        "empty.jpg": b"",
        "text.jpg": b"file,label\n",
        "cut.png": encoded(smooth(9, 9), "PNG")[:-30],
        "bomb.png": bytes(bomb),
    }
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    return [tmp_path / name for name in content], list(content)


def test_all_bad_ones_are_listed_with_their_reasons(mixed):
    with pytest.raises(ValueError) as refusal:
        readable(*mixed, "raise")
    lines = str(refusal.value).split("\n")
    assert lines[0] == ('5 of 6 photos can\'t be read. Repair or remove them, or leave them out with on_error="skip":')
    assert lines[1].startswith("  cut.jpg: corrupt or truncated, ") and "node" not in lines[1]
    assert lines[2] == "  empty.jpg: an empty file (0 bytes)"
    assert lines[3] == "  text.jpg: not a photo: the content is none of JPEG, PNG, GIF, BMP, WebP"
    assert lines[4].startswith("  cut.png: corrupt or truncated, ")
    assert lines[5] == "  bomb.png: a PNG whose header claims no pixels or more than 200,000,000"
    assert len(lines) == 6


def test_skip_keeps_the_good_ones_and_warns_once(mixed):
    with pytest.warns(UserWarning, match="5 of 6 photos can't be read and are left out:\n  cut.jpg: ") as said:
        good, bad = readable(*mixed, "skip")
    assert good == [True] + [False] * 5 and len(said) == 1
    assert [name for name, _ in bad] == mixed[1][1:] and bad[1][1] == "an empty file (0 bytes)"


def test_skipping_all_is_refused(mixed):
    with pytest.raises(ValueError, match='2 of 2 photos can\'t be read, so on_error="skip" would leave none'):
        readable(mixed[0][1:3], mixed[1][1:3], "skip")


def test_long_lists_are_cut(tmp_path):
    files = [tmp_path / f"{k}.jpg" for k in range(23)]
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(ValueError) as refusal:
        readable(files, [file.name for file in files], "raise")
    assert len(str(refusal.value).split("\n")) == 22 and str(refusal.value).endswith("\n  ... and 3 more")


def test_unreadable_files_are_listed_like_bad_ones(mixed, tmp_path):
    file = tmp_path / "later.jpg"
    file.mkdir()
    with pytest.raises(ValueError, match="\n  later.jpg: IsADirectoryError: Is a directory\n  empty.jpg: an empty"):
        readable([file, mixed[0][2]], ["later.jpg", "empty.jpg"], "raise")
    file.rmdir()
    with pytest.raises(ValueError, match="\n  later.jpg: FileNotFoundError: No such file"):
        readable([file], ["later.jpg"], "raise")
    file.write_bytes(mixed[0][0].read_bytes())
    assert readable([file], ["later.jpg"], "raise") == ([True], []), "a refusal isn't remembered"


def test_a_file_is_decoded_again_only_if_it_changed(mixed, monkeypatch, smooth, encoded):
    scanned, asked, scan = [], [], scanning._scan
    monkeypatch.setattr(scanning, "_scan", lambda files, look: (scanned.append(list(files.values())), scan(files, look)))
    monkeypatch.setattr(scanning, "fault", lambda data: asked.append(len(data)) or "bad")
    for _ in range(2):
        assert readable(mixed[0][:2], mixed[1][:2], "skip")[0] == [True, False]
    assert scanned == [mixed[0][:2], mixed[0][1:2], [], []] and asked == [os.path.getsize(mixed[0][1])]
    mixed[0][0].write_bytes(encoded(smooth(8, 8), "JPEG"))
    assert readable(mixed[0][:2], mixed[1][:2], "skip")[0] == [True, False]
    assert scanned[4:] == [mixed[0][:1], []] and len(asked) == 1


def test_fault_of_every_size_of_photo(smooth, encoded):
    for side in (1, 7, 8, 9, 300):
        assert fault(encoded(smooth(side, side), "JPEG")) is None
    assert fault(encoded(smooth(300, 300), "JPEG")[:-40]).startswith("corrupt or truncated, ")
