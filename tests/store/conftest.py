"""Networks with features of ordinary size, and data sets for them."""

import keras
import pytest

import keras_transfer as kt
from support import pixels


@pytest.fixture
def sets(photo_folder):
    """Makes (train, validation) of small photos, in batches of 8, with a last one that isn't full."""

    def make(size=16, **options):
        return kt.data.photos(photo_folder, **{"size": size, "batch_size": 8, "validation": 0.25} | options)[:2]

    return make


@pytest.fixture
def calibrated():
    """Makes a network of keras.applications with random weights, 32 px, whose norms fit random pixels.

    Their shift of 1 keeps most units of a rectifier on: a random network that switches half of them off multiplies
    rounding errors from layer to layer, whichever way it's computed, and the comparison would be one of noise.
    """

    def make(name, classes=3):
        keras.utils.set_random_seed(0)
        model = kt.attach(kt.backbone(name, input_shape=(32, 32, 3), weights=None), kt.heads.Classifier(classes))
        for layer in model.get_layer("backbone").layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
                layer.beta.assign(layer.beta * 0 + 1)
        kt.unfreeze(model, norms=True)
        model(pixels(42, seed=2, size=32), training=True)
        return model

    return make
