"""How the last layer of a head should begin: accuracy on photos of animals that were not trained on, after a few epochs.

python benchmarks/heads.py PHOTOS [--splits 5]

PHOTOS is the folder `train` of what `pets_photos.py` has made. A quarter of the animals is held out, another one for each
split; the features are those of EfficientNetLite0 with its ImageNet weights, the head is trained by Adam at 1e-3.
"""

import argparse
import os
import pathlib
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_transfer as kt
from keras_transfer.heads.head import initial

STARTS = {"Keras's default (Glorot)": keras.initializers.GlorotUniform, "kt.heads": initial, "zeros": keras.initializers.Zeros,
          "PyTorch's default": lambda: keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")}


def accuracy(start, epochs, seed, train, held):
    """The share of right answers on `held` after `epochs` on `train`, both (features, labels)."""
    keras.utils.set_random_seed(seed)
    classes = int(train[1].max()) + 1
    model = keras.Sequential([keras.Input(train[0].shape[1:]), keras.layers.Dense(classes, kernel_initializer=start())])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, steps_per_execution=16)
    model.fit(*train, epochs=epochs, batch_size=32, verbose=0)
    return float((model.predict(held[0], verbose=0).argmax(-1) == held[1]).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--splits", type=int, default=5)
    given = parser.parse_args()
    photos = kt.data.photos(given.photos, size=160, validation=0)[0]
    x, y = kt.features(kt.backbone("EfficientNetLite0", input_shape=(160, 160, 3)), photos)
    animals = np.array([pathlib.Path(file).stem.rpartition("_")[0] for file in kt.data.info(photos).files])
    print("| epochs | last layer begins with | accuracy |\n| --- | --- | --- |")
    for epochs in (3, 10, 30):
        for name, start in STARTS.items():
            found = []
            for seed in range(given.splits):
                names = np.random.default_rng(seed).permutation(sorted(set(animals)))
                held = np.isin(animals, names[:len(names) // 4])
                found.append(accuracy(start, epochs, seed, (x[~held], y[~held]), (x[held], y[held])))
            print(f"| {epochs} | {name} | {statistics.mean(found):.3f} ± {statistics.stdev(found):.3f} |", flush=True)


if __name__ == "__main__":
    main()
