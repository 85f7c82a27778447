"""The parts of the speed benchmark, each run in a process of its own by `speed.py`: prints one line of JSON.

python benchmarks/speed_parts.py PART '{"argument": value}'
"""

import inspect
import json
import os
import pathlib
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.data import seen
from keras_transfer.store import split
from keras_transfer.store.caching import Store, cache_features
from keras_transfer.store.engines.openvino import OpenVINOEngine
from keras_transfer.store.sources import source_of

SCALING = {"MobileNetV2": lambda x: x / 127.5 - 1.0, "ResNet50": keras.applications.resnet.preprocess_input,
           "EfficientNetB0": lambda x: x}


def plain_photos(folder, size, batch=32):
    """Photos as Keras reads them."""
    return keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=batch, seed=0, verbose=False).prefetch(tf.data.AUTOTUNE)


def plain_model(name, size, classes, last=None):
    """Feature extraction, or tuning from the layer `last` on with frozen norms, as Keras's guide does it."""
    base = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg")
    base.trainable = last is not None
    reached = False
    for layer in base.layers if last is not None else ():
        reached = reached or layer.name.startswith(last)
        layer.trainable = reached and not isinstance(layer, keras.layers.BatchNormalization)
    inputs = keras.Input((size, size, 3))
    outputs = keras.layers.Dense(classes)(base(SCALING[name](inputs), training=False))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer=keras.optimizers.Adam(1e-4), metrics=["accuracy"],
                  loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


class Pace(keras.callbacks.Callback):
    """When each epoch ended."""

    def on_train_begin(self, logs=None):
        self.ends = []

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(time.perf_counter())


def keras_fit(photos, small, name="MobileNetV2", size=160, epochs=10, last=None, timed=None):
    """Plain Keras `fit`, from files to the trained head; after `timed` epochs the rest goes at the pace of the last one."""
    pace, timed = Pace(), timed or epochs
    plain_model(name, size, 37, last).fit(plain_photos(small, size), epochs=1, verbose=0)
    begun = time.perf_counter()
    plain_model(name, size, 37, last).fit(plain_photos(photos, size), epochs=timed, verbose=0, callbacks=[pace])
    seconds = time.perf_counter() - begun
    each = pace.ends[-1] - pace.ends[-2] if timed > 1 else seconds
    return {"seconds": seconds + (epochs - timed) * each, "timed_epochs": timed, "epoch": each}


def ours(photos, name, size, epochs, last, dtype, weights=None):
    seen.found.clear()  # a warm process knows which photos are good; here they are looked at again
    train, _, labels = kt.data.photos(photos, size=size, validation=0)
    model = kt.attach(kt.backbone(name, input_shape=(size, size, 3), weights=weights), kt.heads.Classifier(labels))
    heads, tuned = (epochs, 0) if last is None else (0, epochs)
    kt.fine_tune(model, train, head_epochs=heads, epochs=tuned, last=last, cache=Store(dtype=dtype), verbose=0)


def fine_tune(photos, small, name="MobileNetV2", size=160, epochs=10, last=None, dtype="float32"):
    """`kt.fine_tune` on features, the making of the cache included."""
    ours(small, name, size, 1, last, dtype)
    begun = time.perf_counter()
    ours(photos, name, size, epochs, last, dtype)
    return {"seconds": time.perf_counter() - begun}


def limit(photos, small, name="MobileNetV2", size=160, epochs=10, dtype="float32"):
    """What the work takes at least: decoding, OpenVINO and the head, each alone; and photos/s to stored features."""
    train, _, labels = kt.data.photos(photos, size=size, validation=0)
    model = kt.attach(kt.backbone(name, input_shape=(size, size, 3), weights=None), kt.heads.Classifier(labels))
    kt.freeze(model)
    known, (prefix, _) = kt.data.info(train), split(model)
    rows = np.arange(len(known.files))
    held = list(known.reader(rows[:512], 32).as_numpy_iterator())  # decoded beforehand
    engine = OpenVINOEngine(prefix, dtype)
    engine.run((((0,), x) for x, _ in held[:2]), lambda *_: None)
    parts, batches = {}, -(-len(rows) // 32)

    def clock(part, work):
        begun = time.perf_counter()
        work()
        parts[part] = time.perf_counter() - begun

    clock("decode", lambda: [None for _ in source_of(train).batches(0, [0], len(rows))])
    clock("openvino", lambda: engine.run((((k,), held[k % 16][0]) for k in range(batches)), lambda *_: None))
    features, tail = cache_features(model, kt.data.photos(small, size=size, validation=0)[0], verbose=0)  # warm
    begun = time.perf_counter()
    features, tail = cache_features(model, train, store=Store(dtype=dtype, engine="openvino"), verbose=0)
    parts["extraction"] = time.perf_counter() - begun
    tail.compile(optimizer="adam", steps_per_execution=32, **kt.objectives(tail))
    clock("head", lambda: tail.fit(features, epochs=epochs, verbose=0))
    work = parts["decode"] + parts["openvino"]
    return {"seconds": work + parts["head"], **parts, "photos": len(rows), "rate": len(rows) / parts["extraction"],
            "rate_of_work": len(rows) / work, "share": work / parts["extraction"]}


def pairs(photos, name="MobileNetV2", size=96, count=9):
    """One epoch with everything trainable: plain Keras `fit` and `fine_tune`, in turns, in one process."""
    found = {"keras": [], "fine_tune": []}

    def by_keras():
        model = plain_model(name, size, 37)
        for layer in model.layers:
            layer.trainable = True
        model.compile(optimizer="adam", metrics=["accuracy"], loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(plain_photos(photos, size), epochs=1, verbose=0)

    def by_ours():
        train, _, labels = kt.data.photos(photos, size=size, validation=0)
        model = kt.attach(kt.backbone(name, input_shape=(size, size, 3), weights=None), kt.heads.Classifier(labels))
        kt.fine_tune(model, train, head_epochs=0, epochs=1, last=lambda m: kt.unfreeze(m, norms=True), verbose=0)

    for number in range(count + 1):
        for what, work in (("keras", by_keras), ("fine_tune", by_ours))[::1 if number % 2 else -1]:
            begun = time.perf_counter()
            work()
            if number:  # the first pair warms up
                found[what].append(time.perf_counter() - begun)
    ratios = [b / a for a, b in zip(found["keras"], found["fine_tune"])]
    return {"seconds": statistics.median(found["fine_tune"]), "ratios": ratios, **{k: v for k, v in found.items()}}


def growth(photos, small, name="MobileNetV2", size=160):
    """Seconds and the highest resident memory of making the features of all photos."""
    model = kt.attach(kt.backbone(name, input_shape=(size, size, 3), weights=None), kt.heads.Classifier(37))
    kt.freeze(model)
    warm = kt.data.photos(small, size=size, validation=0)[0]
    for x, *_ in cache_features(model, warm, verbose=0)[0]:
        pass
    begun = time.perf_counter()
    train, _, _ = kt.data.photos(photos, size=size, validation=0)
    features, tail = cache_features(model, train, verbose=0)
    for x, *_ in features:
        pass
    seconds = time.perf_counter() - begun
    status = pathlib.Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    return {"seconds": seconds, "photos": len(kt.data.info(train).files), "peak_mb": peak}


def lite0(train, test, small, head_epochs=10, epochs=0, size=160, seed=0, dtype=None):
    """`kt.fine_tune` of EfficientNetLite0 with its ImageNet weights, and the accuracy on the test photos."""
    cache = "auto" if dtype is None else Store(dtype=dtype)

    def run(photos):
        seen.found.clear()
        data, _, labels = kt.data.photos(photos, size=size, validation=0)
        model = kt.attach(kt.backbone("EfficientNetLite0", input_shape=(size, size, 3)), kt.heads.Classifier(labels))
        kt.fine_tune(model, data, head_epochs=head_epochs, epochs=epochs, seed=seed, cache=cache, verbose=0)
        return model

    run(small)
    begun = time.perf_counter()
    model = run(train)
    seconds = time.perf_counter() - begun
    held, _, labels = kt.data.photos(test, size=size, validation=0)
    return {"seconds": seconds, "accuracy": _accuracy(model, held)}


def _accuracy(model, dataset):
    known = kt.data.info(dataset)
    logits = np.concatenate([model(x, training=False) for x, _ in known.reader(np.arange(len(known.files)), 32)])
    return float((logits.argmax(-1) == next(iter(known.targets.values()))).mean())


def lite0_features(train, test, small, size=160, dtype="float32"):
    """`kt.features` and scikit-learn's LogisticRegression. The network is made before the clock starts, as the peers do."""
    from sklearn.linear_model import LogisticRegression

    backbone, store = kt.backbone("EfficientNetLite0", input_shape=(size, size, 3)), Store(dtype=dtype)

    def run(photos):
        seen.found.clear()
        x, y = kt.features(backbone, kt.data.photos(photos, size=size, validation=0)[0], store=store)
        return LogisticRegression(max_iter=1000).fit(x, y)

    run(small)
    begun = time.perf_counter()
    head = run(train)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "accuracy": float(head.score(*kt.features(backbone, kt.data.photos(
        test, size=size, validation=0)[0], store=store)))}


if __name__ == "__main__":
    part = globals()[sys.argv[1]]
    given = json.loads(sys.argv[2])
    print(json.dumps(part(**{k: v for k, v in given.items() if k in inspect.signature(part).parameters})), flush=True)
