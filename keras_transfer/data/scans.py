"""Real images that come with a package, to try things on without a download."""
import os
import pathlib
import shutil
import tempfile

import tensorflow as tf

from .. import _check

COUNT = 1797


def digits(folder):
    """Writes the scanned digits of scikit-learn as a folder of PNG files, a folder a digit.

    Use it for a first try of `photos`: 1,797 grey scans of 8 x 8 pixels (Alpaydin and Kaynak, 1998), whose values 0-16
    become 0-255. It is all written or nothing: a folder that is complete already is left as it is.

    Args:
        folder: path of the folder to make.

    Returns:
        The path, `pathlib.Path`, with files such as `0/0000.png`.

    Raises:
        ImportError: if scikit-learn isn't installed.
        FileExistsError: if there is a file, or a folder that holds something else.

    Example:
        >>> train, valid, labels = photos(digits("digits"), size=96)
        >>> labels[:3]
        ['0', '1', '2']
    """
    folder = pathlib.Path(folder)
    if folder.is_dir() and len(list(folder.glob("[0-9]/*.png"))) == COUNT:
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{str(folder)!r} exists and isn't the {COUNT:,} digits; name a new folder or remove it.")
    scans = _check.extra("sklearn.datasets", "quickstart").load_digits()
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(scans, beside)
        beside.chmod(0o755)  # temporary folders are made for their owner only
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _write(scans, folder):
    for digit in set(scans.target):
        (folder / str(digit)).mkdir()
    for k, (image, digit) in enumerate(zip(scans.images, scans.target)):
        grey = tf.cast(tf.round(image * (255 / 16)), tf.uint8)[:, :, None]
        (folder / str(digit) / f"{k:04}.png").write_bytes(tf.io.encode_png(grey).numpy())
