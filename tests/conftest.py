"""Fixtures shared by all tests: a small backbone, a few coloured photos, and where the real data lies."""

import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import pytest
import tensorflow as tf

from support import colour_task, pixels


def pytest_collection_modifyitems(items):
    """Marks the tests that need the folder of real models and data, and those that wait for XLA."""
    for item in items:
        if item.name.endswith(("[jit_compiled]", "[jit_compiles]")):
            item.add_marker("slow")
        if "real_data" in item.fixturenames:
            item.add_marker("real_data")


def pytest_runtest_setup():
    """Skips what would begin after `KERAS_TRANSFER_TEST_UNTIL`, in seconds since 1970: better than no result at all."""
    if time.time() > float(os.environ.get("KERAS_TRANSFER_TEST_UNTIL") or "inf"):
        pytest.skip("no time is left for it on this machine")


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def real_data():
    """The folder of real models and data sets, `KERAS_TRANSFER_TEST_DATA`."""
    folder = os.environ.get("KERAS_TRANSFER_TEST_DATA")
    if not folder:
        pytest.skip("KERAS_TRANSFER_TEST_DATA is not set")
    return pathlib.Path(folder)


@pytest.fixture
def small_backbone():
    """Makes a backbone of three blocks with norms and dropout, 16 px -> 12 features, whose norms fit random pixels."""

    def make(name="small"):
        x = inputs = keras.Input((16, 16, 3), name="pixels")
        x = keras.layers.Rescaling(1 / 127.5, -1, name="rescaling")(x)
        for i, width in enumerate([6, 8, 12], start=1):
            x = keras.layers.Conv2D(width, 3, strides=2, padding="same", name=f"block_{i}_conv")(x)
            x = keras.layers.BatchNormalization(name=f"block_{i}_bn", momentum=0.5)(x)
            x = keras.layers.ReLU(name=f"block_{i}_relu")(x)
            x = keras.layers.Dropout(0.3, name=f"block_{i}_dropout")(x)
        model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="pool")(x), name=name)
        for _ in range(8):  # fit the moving statistics, so that inference gives features of ordinary size
            model(pixels(64, seed=1), training=True)
        return model

    return make


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory):
    """A folder of 3 x 14 small photos: red, green and blue ones, one in each class hard to tell."""
    folder = tmp_path_factory.mktemp("colours")
    photos, classes = colour_task(60, seed=3)
    for number, name in enumerate(["blue", "green", "red"]):
        (folder / name).mkdir()
        for place, photo in enumerate(photos[classes == 2 - number][:14]):
            data = tf.io.encode_png(photo.astype("uint8")).numpy()
            (folder / name / f"{place:02d}.png").write_bytes(data)
    return folder
