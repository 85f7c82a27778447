"""Whether LogisticRegression is as accurate on `kt.features`, of photos that `kt.data.decode` reads, as on those of photos
that are decoded and resized by hand, as in `peers/by_hand.py`.

python benchmarks/same_accuracy.py PHOTOS [--halves 10] [--size 160]

The photos in `test/` are copies of few pets, so that one accuracy says little: a head is trained on each of several random
halves of `train/`, the same for both, and the difference is also told by pet.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CI", "true")

import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

import keras_transfer as kt


def by_hand(bytes, size):
    return tf.image.resize(tf.io.decode_jpeg(bytes, channels=3), (size, size))


def features(network, files, decode, size):
    """The features `(photos, units)` of `files`, decoded by a function of (bytes, size)."""
    photos = tf.data.Dataset.from_tensor_slices(files).map(lambda file: decode(tf.io.read_file(file), size), 2)
    return kt.features(network, photos.batch(32))


def listed(folder):
    """The files of a folder, the numbers of their breeds, and the pets that they show."""
    files = sorted(pathlib.Path(folder).glob("*/*.jpg"))
    _, breeds = np.unique([file.parent.name for file in files], return_inverse=True)
    return [str(file) for file in files], breeds, np.array([file.stem.rpartition("_")[0] for file in files])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("photos")
    parser.add_argument("--halves", type=int, default=10)
    parser.add_argument("--size", type=int, default=160)
    given = parser.parse_args()
    network = kt.backbone("EfficientNetLite0", input_shape=(given.size, given.size, 3))
    (files, breeds, _), (held, wanted, pets) = (listed(pathlib.Path(given.photos, part)) for part in ("train", "test"))
    found = {name: [features(network, part, decode, given.size) for part in (files, held)]
             for name, decode in (("ours", kt.data.decode), ("by hand", by_hand))}

    def right(name, rows):
        train, test = found[name]
        return LogisticRegression(max_iter=1000).fit(train[rows], breeds[rows]).predict(test) == wanted

    all_of_them = {name: right(name, slice(None)) for name in found}
    more = all_of_them["ours"].astype(float) - all_of_them["by hand"]
    by_pet = np.array([more[pets == pet].mean() for pet in np.unique(pets)])
    print(f"all photos: ours {all_of_them['ours'].mean():.3f}, by hand {all_of_them['by hand'].mean():.3f}; difference "
          f"{by_pet.mean():+.3f} +- {by_pet.std(ddof=1) / np.sqrt(len(by_pet)):.3f} (standard error over {len(by_pet)} pets)")
    halves = [np.random.default_rng(seed).permutation(len(files))[::2] for seed in range(given.halves)]
    shares = {name: [right(name, half).mean() for half in halves] for name in found}
    print("; ".join(f"{name}, {given.halves} halves: median {np.median(of):.3f} ({min(of):.3f} to {max(of):.3f})"
                    for name, of in shares.items()))


if __name__ == "__main__":
    main()
