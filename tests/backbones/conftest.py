"""Photos to run backbones on, made up or real, and the real weights."""

import csv
import json

import numpy as np
import pytest
from PIL import Image


def made_up_photos(count, side, seed=0, channels=3):
    """Smooth colours with edges and a little noise: (count, side, side, channels), uint8."""
    rng = np.random.default_rng(seed)
    photos = []
    for _ in range(count):
        planes = [
            Image.fromarray(rng.integers(0, 256, (5, 5), dtype="uint8")).resize((side, side), Image.BICUBIC)
            for _ in range(channels)
        ]
        photo = np.stack([np.asarray(plane, "float32") for plane in planes], -1)
        photo[: side // 2] *= rng.uniform(0.5, 1)
        photos.append(np.clip(photo + rng.normal(0, 8, photo.shape), 0, 255))
    return np.round(photos).astype("uint8")


@pytest.fixture(scope="session")
def photos():
    """`photos(side, count=6, channels=3)` makes up photos, the same ones for the same numbers."""
    return lambda side, count=6, channels=3: made_up_photos(count, side, channels=channels)


# Breeds whose ImageNet name is another one; the others are found by their first words.
_ALIASES = {
    "english_cocker_spaniel": "cocker_spaniel",
    "egyptian_mau": "egyptian_cat",
    "scottish_terrier": "scotch_terrier",
    "japanese_chin": "japanese_spaniel",
    "basset_hound": "basset",
    "german_shorthaired": "german_short_haired_pointer",
    "leonberger": "leonberg",
    "persian": "persian_cat",
    "siamese": "siamese_cat",
    "staffordshire_bull_terrier": "staffordshire_bullterrier",
    "wheaten_terrier": "soft_coated_wheaten_terrier",
}


def _cropped(image, resampling):
    """The evaluation crop: the shorter side to 256 pixels, the middle 224 x 224."""
    ratio = 256 / min(image.size)
    image = image.convert("RGB").resize([round(side * ratio) for side in image.size], resampling)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


@pytest.fixture(scope="session")
def pets(real_data):
    """`pets(resampling)`: (photos, ImageNet classes) of the 144 shared pets whose breed is an ImageNet class."""
    index = json.loads((real_data / "models/mobilenet_v1_025_224/imagenet_class_index.json").read_text())
    classes = {name.lower().replace("-", "_").replace(" ", "_"): int(k) for k, (_, name) in index.items()}
    with open(real_data / "datasets/pets/labels.csv") as file:
        rows = [(row["file"], classes.get(_ALIASES.get(row["breed"], row["breed"]))) for row in csv.DictReader(file)]
    rows = [row for row in rows if row[1] is not None]
    folder = real_data / "datasets/pets/images"
    return lambda resampling: (
        np.stack([_cropped(Image.open(folder / name), resampling) for name, _ in rows]),
        np.array([label for _, label in rows]),
    )


@pytest.fixture(scope="session")
def accuracy():
    """`accuracy(logits, classes)`: the shares of photos whose class is first, and among the first five."""

    def shares(logits, classes):
        best = np.argsort(-logits, axis=1)[:, :5] == classes[:, None]
        return best[:, 0].mean(), best.any(1).mean()

    return shares
