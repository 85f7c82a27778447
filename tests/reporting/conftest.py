"""A small model with four kinds of heads, and data with missing labels for it."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from support import colour_task

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="package")
def several():
    """A model with four heads, one class of which is named like code, and 40 photos with labels, some missing."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="conv")(keras.layers.Rescaling(1 / 255)(inputs))
    model = kt.attach(
        kt.backbone(keras.Model(inputs, x)),
        {
            "colour": kt.heads.Classifier(["red", EVIL, "blue & co"]),
            "light": kt.heads.Regressor({"mean": 128.0, "std": 20.0}),
            "tags": kt.heads.MultiLabel(["warm", "dark"]),
            "level": kt.heads.Ordinal(["low", "mid", "high"]),
        },
    )
    x, colour = colour_task(40, seed=8)
    light = x.mean((1, 2, 3))
    tags = np.stack([colour == 0, light < 120], 1).astype("float32")
    tags[:5, 0] = np.nan
    level = np.digitize(light, [110, 140]).astype("int32")
    level[3] = -1
    return model, (
        x,
        {"colour": colour, "light": np.where(np.arange(40) == 7, np.nan, light), "tags": tags, "level": level},
    )
