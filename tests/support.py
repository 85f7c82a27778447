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


def bare(function):
    """A layer that applies `function`, and has no `get_config`."""
    import keras

    class Bare(keras.layers.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, x):
            return self.function(x)

    return Bare(function)


def values(model):
    """Copies of all weights, in order."""
    return [w.numpy() for w in model.weights]


def run_python(code, *arguments, check=True, **options):
    """Runs `code` in a fresh Python process and returns the completed process, its output as text."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, **options)
    if check and done.returncode:
        raise AssertionError(done.stderr[-3000:])
    return done


def spoken_digits(root, count=720):
    """Clips of digits from all over the shared set, as spectra for keyword spotters (count, 49, 10, 1), and the digits."""
    import tensorflow as tf

    stored = np.load(root / "datasets/spoken_digits/fsdd_720.npz")
    ends, wave = stored["offsets"], stored["audio"].astype("float32")
    chosen = np.linspace(0, len(ends) - 2, count).round().astype(int)
    scale = tf.signal.linear_to_mel_weight_matrix(40, 257, 16000, 20.0, 4000.0)

    def mfcc(clip):
        clip = tf.constant(np.repeat(clip / max(1.0, np.abs(clip).max()), 2)[:16000])  # 8 to 16 kHz
        clip = tf.pad(clip, [[0, 16000 - len(clip)]])
        spectrum = tf.abs(tf.signal.stft(clip, 480, 320, window_fn=tf.signal.hann_window))
        return tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(spectrum @ scale + 1e-6))[:, :10, None].numpy()

    return np.stack([mfcc(wave[ends[k]:ends[k + 1]]) for k in chosen]), stored["digit"][chosen].astype("int32")
