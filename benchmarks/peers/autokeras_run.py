"""AutoKeras's ImageClassifier. It has no weights but those that it downloads, so offline it trains from random ones.

python benchmarks/peers/autokeras_run.py TRAIN TEST [--epochs 10] [--trials 1] [--size 160]
(in the environment of AutoKeras)

Its first trial is a small network of its own, the second a ResNet50 from random weights at 224 px, the third asks for
weights that it downloads.
"""

import contextlib
import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import autokeras
import numpy as np
from common import EPOCHS, Clock, arguments, few, listed
from PIL import Image

TRIALS = ("--trials", {"type": int, "default": 1, "help": "networks to try (default: %(default)s)"})


def decoded(files, size):
    """Pixels 0-255 of all files: AutoKeras wants them in memory."""
    pixels = np.empty((len(files), size, size, 3), "float32")
    for row, file in zip(pixels, files, strict=True):
        with Image.open(file) as photo:
            row[:] = photo.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return pixels


def trained(files, labels, size, trials, epochs, seed, folder, clock):
    with clock("decode"):
        pixels = decoded(files, size)
    order = np.random.default_rng(seed).permutation(len(files))  # it holds out the last photos, which are of one class
    with clock("fit"):
        model = autokeras.ImageClassifier(max_trials=trials, directory=folder, overwrite=True, seed=seed)
        model.fit(pixels[order], np.array(labels)[order], epochs=epochs, verbose=0)
    return model


def main():
    given, clock = arguments(__doc__.partition("\n\n")[0], EPOCHS, TRIALS), Clock()
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):  # it prints its search
            trained(*few(*listed(given.train)), given.size, 1, 1, given.seed, folder, Clock())
            with clock("files"):
                files, labels = listed(given.train)
            model = trained(files, labels, given.size, given.trials, given.epochs, given.seed, folder, clock)
            test_files, test_labels = listed(given.test)
            accuracy = model.evaluate(decoded(test_files, given.size), np.array(test_labels), verbose=0)[1]
        clock.tell(accuracy, len(files))


if __name__ == "__main__":
    main()
