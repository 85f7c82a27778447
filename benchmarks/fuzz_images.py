"""Mutated photos through the bytes signature of an exported model: does one ever harm the other rows, or crash?

python benchmarks/fuzz_images.py [COUNT, by default 1000] [SEED]

Each case is a batch of a mutated photo between two good ones, answered in a child process of its own. The good rows
must be what they are without it, and the mutated row must be empty or hold finite numbers.
"""

import collections
import os
import pathlib
import random
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

from fuzz_saved_models import in_child, told

LIMITS = {0: "read", 1: "empty row"}


def exported(folder):
    """Exports a small model and writes one photo of each kind, in a process of its own; see `in_child`."""
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_transfer as kt

    chance = np.random.default_rng(0)
    inputs = keras.Input((16, 16, 3), name="pixels")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(inputs)))
    model = kt.attach(keras.Model(inputs, x), kt.heads.Classifier(["a", "b", "c"], name="letter"))
    kt.export(model, folder / "1")
    pixels = tf.constant(chance.integers(0, 255, (40, 30, 3)).astype("uint8"))
    for name, data in {
        "photo.jpg": tf.io.encode_jpeg(pixels, quality=90),
        "grey.jpg": tf.io.encode_jpeg(pixels[..., :1]),
        "photo.png": tf.io.encode_png(pixels),
        "deep.png": tf.io.encode_png(tf.cast(pixels, tf.uint16) * 256),
    }.items():
        (folder / name).write_bytes(data.numpy())
    try:
        from PIL import Image
    except ImportError:
        return
    picture = Image.fromarray(pixels.numpy())
    for name in ("photo.bmp", "photo.gif", "photo.webp", "progressive.jpg"):
        picture.save(folder / name, **({"progressive": True} if name.startswith("prog") else {}))


def mutated(data, chance):
    """Changes bytes, cuts, repeats or joins."""
    data = bytearray(data)
    kind = chance.choice(["flip", "header", "cut", "repeat", "grow"])
    if kind in ("flip", "header"):
        end = len(data) if kind == "flip" else min(len(data), 64)
        for _ in range(chance.randint(1, 30)):
            data[chance.randrange(end)] = chance.randrange(256)
    elif kind == "cut":
        del data[chance.randrange(len(data)) :]
    elif kind == "repeat":
        at = chance.randrange(len(data))
        data[at:at] = data[at : at + chance.randrange(1, 200)]
    else:
        data += chance.randbytes(chance.randrange(1, 500))
    return kind, bytes(data)


def answered(folder, bad, good):
    """Asks for [good, bad, good], in the child."""
    import numpy as np
    import tensorflow as tf

    serve = tf.saved_model.load(str(folder / "1")).signatures["serving_default"]
    # a batch of the same size: TensorFlow's kernels sum in another order for another one
    alone = serve(image_bytes=tf.constant([good, good, good]))
    said = serve(image_bytes=tf.constant([good, bad, good]))
    for key, value in said.items():
        if not np.array_equal(value.numpy()[[0, 2]], alone[key].numpy()[[0, 2]]):
            return 2
    if not np.isfinite(said["letter/probabilities"].numpy()).all():
        return 3
    return int(said["letter/label"].numpy()[1] == b"")


def main(count=1000, seed=0):
    chance, table, bad = random.Random(seed), collections.Counter(), []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if os.fork() == 0:
            exported(folder)
            os._exit(0)
        os.wait()
        photos = sorted(p for p in folder.iterdir() if p.is_file())
        good = (folder / "photo.jpg").read_bytes()
        control = [in_child(lambda: answered(folder, p.read_bytes(), good), folder / "errors") for p in photos]
        assert control == [0] * len(photos), control  # unchanged photos are read
        os.chdir(empty := tempfile.mkdtemp())
        for number in range(count):
            photo = photos[number % len(photos)]
            kind, data = mutated(photo.read_bytes(), chance)
            code = in_child(lambda: answered(folder, data, good), folder / "errors")
            if code not in LIMITS or os.listdir(empty):
                kept = pathlib.Path(tempfile.gettempdir()) / f"fuzz_{seed}_{number}_{photo.name}"
                kept.write_bytes(data)
                bad.append(f"{kept} ended with {code}: {(folder / 'errors').read_text(errors='replace')[-300:]}")
                print(bad[-1], flush=True)
            table[kind, LIMITS.get(code, "CRASHED, HUNG OR WRONG")] += 1
    return told("photos", count, seed, bad, table)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(bool(main(*map(int, sys.argv[1:]))))
