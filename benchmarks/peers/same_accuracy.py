"""Whether LogisticRegression is as accurate on features of photos that `kt.data.decode` reads as on those of `by_hand.py`.

python benchmarks/peers/same_accuracy.py TRAIN TEST [--halves 10] [--size 160]     (in the environment of keras_transfer)

The photos in TEST are copies of few pets, so that one accuracy says little: a head is trained on each of several random
halves of TRAIN, the same for both, and the difference is also told by pet.
"""

import pathlib

import numpy as np
import tensorflow as tf
from by_hand import BATCH, decoded
from common import arguments, listed
from sklearn.linear_model import LogisticRegression

import keras_transfer as kt

HALVES = ("--halves", {"type": int, "default": 10, "help": "random halves to train on (default: %(default)s)"})


def ours(files, size):
    """Batches of pixels 0-255 of `files`, as `kt.data` decodes them."""
    photos = tf.data.Dataset.from_tensor_slices(files)
    return photos.map(lambda file: kt.data.decode(tf.io.read_file(file), size), tf.data.AUTOTUNE).batch(BATCH)


def main():
    given = arguments(__doc__.partition("\n\n")[0], HALVES)
    network = kt.backbone("EfficientNetLite0", input_shape=(given.size, given.size, 3))
    (files, breeds), (held, wanted) = ((part, np.array(numbers)) for part, numbers in map(listed, (given.train, given.test)))
    pets = np.array([pathlib.Path(file).stem.rpartition("_")[0] for file in held])
    found = {name: [kt.features(network, decode(part, given.size)) for part in (files, held)]
             for name, decode in (("ours", ours), ("by hand", decoded))}

    def right(name, rows):
        train, test = found[name]
        return LogisticRegression(max_iter=1000).fit(train[rows], breeds[rows]).predict(test) == wanted

    everything = {name: right(name, slice(None)).astype(float) for name in found}
    more = everything["ours"] - everything["by hand"]
    by_pet = np.array([more[pets == pet].mean() for pet in np.unique(pets)])
    print(f"all photos: ours {everything['ours'].mean():.3f}, by hand {everything['by hand'].mean():.3f}; difference "
          f"{by_pet.mean():+.3f} +- {by_pet.std(ddof=1) / np.sqrt(len(by_pet)):.3f} (standard error over {len(by_pet)} pets)")
    halves = [np.random.default_rng(seed).permutation(len(files))[::2] for seed in range(given.halves)]
    shares = {name: [right(name, half).mean() for half in halves] for name in found}
    print("; ".join(f"{name}, {given.halves} halves: median {np.median(of):.3f} ({min(of):.3f} to {max(of):.3f})"
                    for name, of in shares.items()))


if __name__ == "__main__":
    main()
