"""An exported model, a photo, and a server in a process of its own."""

import re
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import colour_task

import keras_transfer as kt


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A small model that tells red, green and blue, exported as `colours/1`."""
    inputs = keras.Input((16, 16, 3), name="pixels")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(inputs)))
    model = kt.attach(keras.Model(inputs, x), kt.heads.Classifier(["red", "green", "<b>blue"], name="colour"))
    model.compile(optimizer=keras.optimizers.Adam(0.05), **kt.objectives(model))
    model.fit(*colour_task(96), epochs=10, verbose=0)
    path = tmp_path_factory.mktemp("served") / "colours"
    kt.export(model, path / "1")
    return path


@pytest.fixture(scope="session")
def photo():
    return tf.io.encode_jpeg(np.broadcast_to(np.array([220, 20, 20], "uint8"), (40, 60, 3))).numpy()


@pytest.fixture(scope="session")
def url(exported):
    """The address of a server in a process of its own, stopped by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_transfer.cli", "serve", str(exported), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = process.stdout.readline()
    found = re.match(r"(http://localhost:\d+) shows a page", said)
    assert found, said + process.stderr.read()
    yield found[1]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
