"""What several test modules use: photos with an answer, copies of weights, fresh processes."""

import subprocess
import sys

import numpy as np


def pixels(count, seed=0, size=16):
    """Random photos (count, size, size, 3), 0-255, each with a colour of its own."""
    random = np.random.default_rng(seed)
    colour = random.uniform(40, 215, (count, 1, 1, 3))
    return np.clip(colour + random.normal(0, 30, (count, size, size, 3)), 0, 255).astype("float32")


def colour_task(count, seed=0, size=16):
    """Photos and labels 0, 1, 2: which of red, green and blue is the strongest."""
    x = pixels(count, seed, size)
    return x, x.mean((1, 2)).argmax(-1).astype("int32")


def values(model):
    """Copies of all weights, in order."""
    return [w.numpy() for w in model.weights]


def run_python(code, *arguments, check=True, **options):
    """Runs `code` in a fresh Python process and returns the completed process, its output as text."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, **options)
    if check and done.returncode:
        raise AssertionError(done.stderr[-3000:])
    return done
