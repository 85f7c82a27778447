"""Speed and size of an exported network in each format, on the same photos, the rounds taken in turns.

python benchmarks/export.py labels.csv images/ [ROUNDS, by default 40]
"""

import pathlib
import statistics
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.exporting.formats import onnx, openvino, tflite

labels, images, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 40
keras.utils.set_random_seed(0)
train, valid, names = kt.data.table(labels, folder=images, targets={"species": "class"}, split="split", size=224)
model = kt.attach(kt.backbone("EfficientNetLite0"), kt.heads.Classifier(names))
kt.fine_tune(model, train, valid, head_epochs=3, epochs=0, verbose=0)
files = kt.data.info(valid if valid is not None else train).files[:32]
photos = [pathlib.Path(file).read_bytes() for file in files]
pixels = np.stack([kt.data.decode(photo, 224).numpy() for photo in photos])


def size(folder, *names):
    found = [p for name in names for p in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))]
    return sum(path.stat().st_size for path in found if path.is_file()) / 1e6


with tempfile.TemporaryDirectory() as folder:
    formats = ["saved_model", "tflite", "tflite_int8", "onnx", "openvino"]
    started = time.monotonic()
    report = kt.export(model, f"{folder}/1", formats=formats, calibration=kt.data.info(train).files)
    seconds = time.monotonic() - started
    kt.export(model, f"{folder}/2", on_error="request")
    one, two = pathlib.Path(folder, "1"), pathlib.Path(folder, "2")
    loaded, strict = (tf.saved_model.load(str(path)).signatures for path in (one, two))
    keras_run = tf.function(lambda x: model(x, training=False))
    graph = ("saved_model.pb", "variables")
    runs = [
        ("keras, in memory", "", lambda k: keras_run(tf.constant(pixels[k : k + 1]))),
        ("saved_model pixels", graph, lambda k: loaded["pixels"](pixels=tf.constant(pixels[k : k + 1]))),
        ("saved_model bytes, row", graph, lambda k: loaded["serving_default"](image_bytes=tf.constant([photos[k]]))),
        ("saved_model bytes, request", graph, lambda k: strict["serving_default"](image_bytes=tf.constant([photos[k]]))),
    ]
    for name, module, file, further in [
        ("tflite", tflite, "model.tflite", ()),
        ("tflite_int8", tflite, "model_int8.tflite", ()),
        ("onnx", onnx, "model.onnx", ()),
        ("openvino", openvino, "model.xml", ("model.bin",)),
    ]:
        run = module.runner(one / file)
        runs.append((name, (file, *further), lambda k, run=run: run({"pixels": pixels[k : k + 1]})))
    times = {name: [] for name, _, _ in runs}
    for count in range(rounds + 2):  # the first two are for warming up
        for name, _, run in runs:
            begun = time.perf_counter()
            run(count % len(photos))
            if count > 1:
                times[name].append(1000 * (time.perf_counter() - begun))
    print(f"one export in all formats: {seconds:.0f} s; differences: {report}\n")
    print("format                      median ms   5 % - 95 %      MB")
    for name, files, _ in runs:
        low, high = np.percentile(times[name], [5, 95])
        disk = f"{size(one, *files):7.1f}" if files else ""
        print(f"{name:27} {statistics.median(times[name]):9.1f}   {low:5.1f} - {high:5.1f} {disk}")
