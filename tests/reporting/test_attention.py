"""Grad-CAM against cases that can be worked out by hand."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.reporting.attention import grad_cam


def maps_and_model(classes=3, nested=False):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="conv")(
        keras.layers.Rescaling(1 / 255)(inputs)
    )
    maps = keras.Model(inputs, x, name="maps")
    if nested:
        outer = keras.Input((8, 8, 3))
        maps = keras.Model(outer, keras.models.clone_model(maps)(keras.layers.Identity()(outer)))
    model = kt.attach(maps, kt.heads.Classifier(classes))
    random = np.random.default_rng(1)
    for layer in (model.get_layer("classifier"), *(w for w in maps._flatten_layers() if w.name == "conv")):
        layer.set_weights([random.normal(size=w.shape) for w in layer.get_weights()])
    return maps, model


def class_activation_map(maps, model, photos, unit):
    """relu(sum_k w_k A_k), scaled to a largest value of 1."""
    kernel = model.get_layer("classifier").weights[0].numpy()
    found = np.maximum(maps(photos).numpy() @ kernel[:, unit], 0)
    largest = found.max((1, 2), keepdims=True)
    return np.divide(found, largest, out=np.zeros_like(found), where=largest > 0)


def photos(count=4):
    return np.random.default_rng(3).uniform(0, 255, (count, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize("nested", [False, True])
def test_above_an_average_and_a_linear_layer_it_is_the_class_activation_map(nested):
    maps, model = maps_and_model(nested=nested)
    for unit in range(3):
        heat = grad_cam(model, photos(), lambda outputs, rows: outputs[:, unit])
        expected = class_activation_map(maps, model, photos(), unit)
        assert heat.shape == (4, 4, 4) and heat == pytest.approx(expected, abs=1e-5)
    assert heat.max() == 1 and not np.allclose(
        heat, class_activation_map(maps, model, photos(), 0)
    )  # another class, another place


def test_more_photos_than_one_batch_and_scores_of_their_own_rows(monkeypatch):
    from keras_transfer.reporting import attention

    maps, model = maps_and_model()
    units = np.array([0, 1, 2, 2, 1])
    monkeypatch.setattr(attention, "_BATCH", 2)
    heat = grad_cam(
        model, photos(5), lambda outputs, rows: keras.ops.take_along_axis(outputs, units[rows][:, None], 1)[:, 0]
    )
    for k, unit in enumerate(units):
        assert heat[k] == pytest.approx(class_activation_map(maps, model, photos(5), unit)[k], abs=1e-5)


def test_a_network_made_by_hand_looks_at_the_bright_corner():
    inputs = keras.Input((4, 4, 1))
    conv = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones", name="same")
    model = kt.attach(keras.Model(inputs, conv(inputs)), kt.heads.Classifier(2))
    model.get_layer("classifier").set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    photo = np.zeros((1, 4, 4, 1), "float32")
    photo[0, 3, 0] = 2.0
    photo[0, 0, 3] = 1.0
    heat = grad_cam(model, photo, lambda outputs, rows: outputs[:, 0])
    assert heat[0, 3, 0] == 1.0 and heat[0, 0, 3] == 0.5 and heat.sum() == 1.5
    assert grad_cam(model, photo, lambda outputs, rows: outputs[:, 1]).sum() == 0  # all of it speaks against


def test_squeezed_maps_and_pixels_are_no_place_to_look():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(6, 3, name="conv")(inputs)
    gate = keras.layers.Conv2D(6, 1, activation="sigmoid")(keras.layers.GlobalAveragePooling2D(keepdims=True)(x))
    model = kt.attach(keras.Model(inputs, keras.layers.Multiply()([x, gate])), kt.heads.Classifier(2))
    assert grad_cam(model, photos(), lambda outputs, rows: outputs[:, 0]).shape == (4, 6, 6)
    flat = kt.attach(
        keras.Sequential(
            [keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(5)]
        ),
        kt.heads.Classifier(2),
    )
    assert grad_cam(flat, photos(), lambda outputs, rows: outputs[:, 0]) is None


def test_dropout_and_norms_are_at_rest(small_backbone):
    model = kt.attach(small_backbone(), kt.heads.Classifier(3, dropout=0.5))
    kt.unfreeze(model, norms=True)
    before = [w.numpy() for w in model.weights]
    x = np.random.default_rng(0).uniform(0, 255, (3, 16, 16, 3)).astype("float32")
    first, second = (grad_cam(model, x, lambda outputs, rows: outputs[:, 1]) for _ in range(2))
    assert np.array_equal(first, second) and first.shape == (3, 2, 2)
    assert all(np.array_equal(w.numpy(), b) for w, b in zip(model.weights, before))
