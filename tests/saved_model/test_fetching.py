"""Handles to folders: archives stay in theirs, downloads come from the cache or fail with a way out."""

import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
import saved_models

import keras_transfer as kt
from keras_transfer.saved_model import fetching


@pytest.fixture
def model(tmp_path):
    return saved_models.plain(tmp_path / "model")


def archive(path, members):
    """Writes a .tar.gz with `{name: bytes}` or `{name: TarInfo}`."""
    with tarfile.open(path, "w:gz") as opened:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content) if isinstance(content, bytes) else 0
            opened.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


@pytest.mark.parametrize("inside", [".", "deep/in/it"])
def test_an_archive(model, tmp_path, inside):
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as opened:
        opened.add(model, inside)
    x = np.ones((2, 6), "float32")
    expected = kt.backbone(f"hub:{model}").predict(x, verbose=0)
    shutil.rmtree(model)
    backbone = kt.backbone(f"hub:{tmp_path / 'model.tar.gz'}")
    np.testing.assert_array_equal(backbone.predict(x, verbose=0), expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.tar.gz"]


def test_nothing_leaves_the_folder(tmp_path):
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    for members in (
        {"../outside.txt": b"x"},
        {"/tmp/keras_transfer_outside.txt": b"x"},
        {"link": link},
        {"a/../../outside.txt": b"x"},
    ):
        path = archive(
            tmp_path / "inside" / "bad.tar.gz" if (tmp_path / "inside").mkdir(exist_ok=True) is None else "", members
        )
        try:
            fetching.folder(path)
        except ValueError as error:
            assert "refused, since it reaches out of its folder" in str(error)
        else:  # an absolute name is made a name inside of the folder
            assert list(members) == ["/tmp/keras_transfer_outside.txt"]
        assert [p.name for p in tmp_path.iterdir()] == ["inside"]
    assert not fetching.pathlib.Path("/tmp/keras_transfer_outside.txt").exists()


@pytest.mark.parametrize("content", [b"", b"no archive at all", None])
def test_damaged_archives(model, tmp_path, content):
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as opened:
        opened.add(model, ".")
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    with pytest.raises(ValueError, match="is damaged or no .tar.gz archive"):
        kt.backbone(f"hub:{path}")


def test_an_archive_of_something_else(tmp_path):
    path = archive(tmp_path / "other.tgz", {"readme.txt": b"hello"})
    with pytest.raises(ValueError, match="it has no file saved_model.pb, but readme.txt"):
        kt.backbone(f"hub:{path}")


def test_an_archive_larger_than_the_disk(tmp_path, monkeypatch):
    path = archive(tmp_path / "large.tar.gz", {"a": b"x" * 1000})
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: fetching.shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(ValueError, match="holds 1,000 bytes and .* has room for 5"):
        fetching.folder(path)


@pytest.mark.parametrize(
    "handle, url",
    [
        ("https://tfhub.dev/google/something/1", "https://tfhub.dev/google/something/1"),
        ("google/something/tensorFlow2/small/1", "https://www.kaggle.com/models/google/something/tensorFlow2/small/1"),
    ],
)
def test_remote_handles_come_from_the_cache(model, tmp_path, monkeypatch, handle, url):
    pytest.importorskip("tensorflow_hub")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    place = tmp_path / "cache" / hashlib.sha1(url.encode()).hexdigest()
    shutil.copytree(model, place)
    assert kt.backbone(f"hub:{handle}").output_shape == (None, 3)


def test_no_network(tmp_path, monkeypatch):
    hub = pytest.importorskip("tensorflow_hub")

    def fail(handle):
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "resolve", fail)
    with pytest.raises(
        ConnectionError, match="can't be fetched .no route to host.. Download it elsewhere and give its"
    ):
        kt.backbone("hub:https://tfhub.dev/google/something/1")


def test_tensorflow_hub_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_hub", None)
    with pytest.raises(ImportError, match=r'pip install "keras-transfer\[hub\]"'):
        kt.backbone("hub:https://tfhub.dev/google/something/1")
