"""From a handle to a folder on this machine: URLs and Kaggle handles, folders, archives."""

import os
import pathlib
import re
import shutil
import tarfile
import tempfile

from .. import _check

_REMOTE = re.compile(r"https?://|gs://|s3://")
_KAGGLE = re.compile(r"[\w.-]+/[\w.-]+/tensorflow2?/[\w.-]+(/\d+)?", re.IGNORECASE)


def folder(handle):
    """Returns the folder of the SavedModel that `handle` stands for; archives and downloads are unpacked.

    Args:
        handle: a folder, a `.tar.gz` or `.tgz` file, a URL of tfhub.dev or another server, or a Kaggle handle
            (`owner/model/tensorFlow2/variation/1`). The last two are downloaded and cached by tensorflow-hub.

    Returns:
        `(path, keep)`: while `keep`, None or an object, lives, a folder that was made here stays.

    Raises:
        FileNotFoundError: there is nothing of that name.
        ValueError: an archive is damaged or reaches out of its folder.
        ConnectionError: a download failed.
        ImportError: tensorflow-hub is needed and missing.
    """
    text = os.fspath(handle)
    if os.path.isdir(text):
        return pathlib.Path(text), None
    if os.path.isfile(text):
        return _unpacked(pathlib.Path(text))
    if _REMOTE.match(text) or _KAGGLE.fullmatch(text):
        return _downloaded(text), None
    raise FileNotFoundError(
        f"There is no folder or archive {text!r}, and it's neither a URL nor a Kaggle handle "
        "(owner/model/tensorFlow2/variation/1)."
    )


def _downloaded(handle):
    hub = _check.extra("tensorflow_hub", "hub")
    url = handle if _REMOTE.match(handle) else f"https://www.kaggle.com/models/{handle}"
    try:
        return pathlib.Path(hub.resolve(url))
    except Exception as error:  # whatever network, server or archive lead tensorflow-hub to
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ConnectionError(
            f"The model {handle!r} is not in the cache of tensorflow-hub and can't be fetched ({reason}). Download it "
            "elsewhere and give its folder or its .tar.gz, or set TFHUB_CACHE_DIR to a cache that has it."
        ) from error


def _unpacked(archive):
    """Unpacks an archive into a new folder; nothing of it leaves that folder."""
    keep = tempfile.TemporaryDirectory(prefix="keras_transfer_")
    target = pathlib.Path(keep.name)
    try:
        with tarfile.open(archive) as opened:
            _check_room(archive, opened, target)
            opened.extractall(target, filter="data")
    except tarfile.FilterError as error:
        raise ValueError(
            f"The archive {str(archive)!r} is refused, since it reaches out of its folder: {error}."
        ) from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{str(archive)!r} is damaged or no .tar.gz archive of a SavedModel ({error}).") from error
    found = sorted(target.rglob("saved_model.pb"), key=lambda path: (len(path.parts), str(path)))
    return (found[0].parent if found else target), keep


def _check_room(archive, opened, target):
    size = sum(member.size for member in opened)
    free = shutil.disk_usage(target).free
    if size > free:
        raise ValueError(
            f"The archive {str(archive)!r} holds {size:,} bytes and {target} has room for {free:,}. "
            "Unpack it where there is room and give its folder."
        )
