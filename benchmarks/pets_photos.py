"""Makes the photos of the benchmarks: each pet several times, each time with a crop of its own.

python benchmarks/pets_photos.py PETS TARGET [--copies 16]

PETS has a table labels.csv (file, breed, species, split) and the photos in images/. TARGET, a new folder, becomes
train/BREED/*.jpg and test/BREED/*.jpg, by the split of the photo that a copy was made of, so no photo is on both sides.
The first copy is the whole photo, each other one a crop of 75 to 95 % of each side; all are encoded anew, no two are
equal, and the same command makes the same files again: with more copies, the first ones stay the same. 16 copies of 222
photos are 3,552 files, and so are 24 copies of the 148 in train/.
"""

import argparse
import collections
import concurrent.futures
import csv
import hashlib
import pathlib
import random
import sys
import tempfile

from PIL import Image, ImageOps

SEED, QUALITY, LEAST, MOST = 0, 90, 0.75, 0.95


def crop(photo, chance):
    """Cuts a random part out of `photo`."""
    width, height = (round(side * chance.uniform(LEAST, MOST)) for side in photo.size)
    left, top = chance.randint(0, photo.width - width), chance.randint(0, photo.height - height)
    return photo.crop((left, top, left + width, top + height))


def write(source, folder, copies):
    """Writes the copies of one photo into `folder`. Returns {file: hash of its bytes}."""
    with Image.open(source) as opened:
        photo = ImageOps.exif_transpose(opened).convert("RGB")
    hashes = {}
    for number in range(copies):
        path = folder / f"{source.stem}_{number:03}.jpg"
        copy = crop(photo, random.Random(f"{SEED} {source.name} {number}")) if number else photo
        copy.save(path, quality=QUALITY)
        hashes[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


def make(pets, target, copies=16):
    """Makes the whole folder `target`, or nothing. Returns {split: number of files}.

    Raises:
        FileExistsError: if `target` is there already.
        ValueError: for fewer copies than one, an unknown split or two equal files.
    """
    pets, target = pathlib.Path(pets), pathlib.Path(target)
    if target.exists():
        raise FileExistsError(f"{target} is there already: delete it or name another folder")
    if copies < 1:
        raise ValueError(f"copies is {copies}; make 1 or more")
    with open(pets / "labels.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    if unknown := {row["split"] for row in rows} - {"train", "test"}:
        raise ValueError(f"labels.csv has the splits {sorted(unknown)}; only train and test are known")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as beside:
        whole = pathlib.Path(beside, "photos")
        folders = [whole / row["split"] / row["breed"] for row in rows]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        sources = [pets / "images" / row["file"] for row in rows]
        with concurrent.futures.ProcessPoolExecutor() as pool:
            written = list(pool.map(write, sources, folders, [copies] * len(rows), chunksize=8))
        seen = {}
        for path, digest in (pair for hashes in written for pair in hashes.items()):
            if digest in seen:
                raise ValueError(f"{path.name} and {seen[digest].name} are equal; every file must be another")
            seen[digest] = path
        if len(seen) != copies * len(rows):
            raise ValueError("two rows of labels.csv name the same file")
        counts = collections.Counter(path.relative_to(whole).parts[0] for path in seen.values())
        whole.rename(target)
    return dict(counts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pets", help="folder with labels.csv and images/")
    parser.add_argument("target", help="folder to make")
    parser.add_argument("--copies", type=int, default=16, help="files made of each photo (default: %(default)s)")
    given = parser.parse_args()
    try:
        print(make(given.pets, given.target, given.copies))
    except (OSError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
