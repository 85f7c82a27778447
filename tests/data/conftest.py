"""Small pictures made on the spot."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image


def smooth(height, width, seed=0):
    """A colourful picture without hard edges, which JPEG keeps well."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype("uint8")
    return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def write_photos(folder, counts, size=(12, 10)):
    """Writes `counts[name]` grey PNGs into folder/name; no two photos of a folder are alike."""
    level = 0
    for name, count in counts.items():
        pathlib.Path(folder, name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            level += 1
            Image.new("RGB", size, (level, 255 - level, 100)).save(pathlib.Path(folder, name, f"{k}.png"))
    return pathlib.Path(folder)


@pytest.fixture(name="smooth")
def _smooth():
    return smooth


@pytest.fixture(name="encoded")
def _encoded():
    return encoded


@pytest.fixture(name="write_photos")
def _write_photos():
    return write_photos


@pytest.fixture
def pets(tmp_path):
    """20 cats and 10 dogs."""
    return write_photos(tmp_path / "pets", {"cat": 20, "dog": 10})


@pytest.fixture
def rows(pets):
    """The same photos as rows of a table, with gaps in every target."""
    files = [f"{name}/{k}.png" for name, count in (("cat", 20), ("dog", 10)) for k in range(count)]
    return [
        {
            "file": file,
            "kind": None if k % 7 == 0 else file[:3],
            "age": None if k % 5 == 0 else k / 2,
            "tags": None if k % 6 == 0 else "old|big" if k % 2 else "[]",
        }
        for k, file in enumerate(files)
    ]
