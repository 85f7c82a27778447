"""A small trained network on photos, and one export of it, for all tests of this folder."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.exporting.subject import subject
from support import colour_task

CLASSES = ["red", "grün", "blue"]


@pytest.fixture(scope="session")
def network():
    """16 px photos to four kinds of heads, trained for a few seconds so that its answers differ from photo to photo."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    for width in (6, 12):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.5)(x))
    model = kt.attach(
        keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)),
        {
            "colour": kt.heads.Classifier(CLASSES),
            "light": kt.heads.Regressor({"mean": 120.0, "std": 20.0}),
            "rank": kt.heads.Ordinal(4),
            "tags": kt.heads.MultiLabel(["warm", "cold"]),
        },
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-2), **{**kt.objectives(model), "metrics": None}, jit_compile=False)
    photos, colours = colour_task(96)
    model.fit(
        photos,
        {
            "colour": colours,
            "light": photos.mean((1, 2, 3)),
            "rank": colours,
            "tags": np.stack([colours == 0, colours == 2], 1).astype("float32"),
        },
        epochs=5,
        verbose=0,
    )
    return model


@pytest.fixture(scope="session")
def photos():
    """Encoded photos of several kinds and sizes, and in the third place none."""
    arrays, _ = colour_task(3, seed=9, size=40)
    first, second, third = arrays.astype("uint8")
    return [
        tf.io.encode_jpeg(first).numpy(),
        tf.io.encode_png(second[:30]).numpy(),
        b"not a photo",
        tf.io.encode_jpeg(third[:, :20], quality=80).numpy(),
    ]


@pytest.fixture(scope="session")
def exported(network, tmp_path_factory):
    """What `kt.export` returned for the network, with `.path`."""
    return kt.export(
        network, tmp_path_factory.mktemp("served") / "colours" / "1", top_k=2, config={"fit": "crop", "seed": 5}
    )


@pytest.fixture(scope="session")
def served(exported):
    """The signatures of the export."""
    loaded = tf.saved_model.load(str(exported.path))
    return {**loaded.signatures, "kept alive": loaded}


@pytest.fixture
def numbers():
    """A model of two named inputs, plain numbers, that takes no time."""
    a, b = keras.Input((3,), name="a"), keras.Input((2,), dtype="int32", name="b")
    joined = keras.layers.Concatenate()([a, keras.layers.CategoryEncoding(4, output_mode="multi_hot")(b)])
    return keras.Model({"a": a, "b": b}, {"sum": keras.layers.Dense(2, name="sum")(joined)})


@pytest.fixture
def dense():
    """A classifier of four numbers, made by `attach`, as a `Subject`."""
    inputs = keras.Input((4,), name="values")
    backbone = keras.Model(inputs, keras.layers.Dense(5, activation="tanh")(inputs))
    return subject(kt.attach(backbone, {"kind": kt.heads.Classifier(["a", "b", "c"]), "rank": kt.heads.Ordinal(3)}))
