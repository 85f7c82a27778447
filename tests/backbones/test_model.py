import keras
import numpy as np
import pytest

import keras_transfer as kt


def functional():
    x = inputs = keras.Input((16, 16, 3), name="photo")
    x = keras.layers.Rescaling(1 / 255, name="scale")(x)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    return keras.Model(inputs, keras.layers.Conv2D(6, 3, name="maps")(x), name="mine")


def sequential():
    return keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3, name="conv"), keras.layers.Conv2D(6, 3, name="maps")]
    )


@pytest.mark.parametrize("make", [functional, sequential])
def test_shares_its_layers_and_pools_its_maps(make, photos):
    model, pixels = make(), photos(16)
    backbone = kt.backbone(model)
    np.testing.assert_allclose(backbone(pixels), np.asarray(model(pixels)).mean((1, 2)), rtol=1e-4, atol=1e-4)
    assert type(backbone).__name__ == "Network" and backbone.name == "backbone"
    assert backbone.get_layer("conv") is model.get_layer("conv") and not model.get_layer("conv").trainable
    assert kt.backbone(model, pooling=None, trainable=True).output_shape == (None, 12, 12, 6)
    assert model.get_layer("conv").trainable


def test_an_inner_layer_of_it(photos):
    model, pixels = functional(), photos(16)
    inner = kt.backbone(model, at="conv", pooling="max")
    wanted = np.asarray(keras.Model(model.input, model.get_layer("conv").output)(pixels)).max((1, 2))
    np.testing.assert_array_equal(inner(pixels), wanted)
    with pytest.raises(ValueError, match=r"Unknown layer 'convs'\. Did you mean 'conv'"):
        kt.backbone(model, at="convs")


def test_vectors_are_left_alone_and_inputs_may_be_several():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    model = keras.Model({"a": a, "b": b}, keras.layers.Dense(5)(keras.layers.Concatenate()([a, b])))
    backbone = kt.backbone(model)
    x = {"a": np.ones((2, 3), "float32"), "b": np.ones((2, 2), "float32")}
    np.testing.assert_array_equal(backbone(x), model(x))


def test_a_file(tmp_path, photos):
    model, pixels = functional(), photos(16)
    model.save(tmp_path / "mine.keras")
    for path in (tmp_path / "mine.keras", str(tmp_path / "mine.keras")):
        np.testing.assert_array_equal(kt.backbone(path)(pixels), kt.backbone(model)(pixels))
    with pytest.raises(FileNotFoundError, match="There is no file 'none.keras', given as a backbone"):
        kt.backbone("none.keras")
    (tmp_path / "bad.keras").write_bytes(b"bad")
    with pytest.raises(ValueError, match="bad.keras is damaged or no .keras file"):
        kt.backbone(tmp_path / "bad.keras")


def test_weights_for_it(tmp_path):
    source, model = functional(), functional()
    source.save_weights(tmp_path / "w.weights.h5")
    kt.backbone(model, weights=tmp_path / "w.weights.h5")
    for a, b in zip(source.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="weights=None would throw away the weights of the given model"):
        kt.backbone(model, weights=None)


def test_input_shape_is_its_own():
    model = functional()
    assert kt.backbone(model, input_shape=(16, 16, 3)).input_shape == (None, 16, 16, 3)
    with pytest.raises(ValueError, match=r"takes an input of shape \(16, 16, 3\) and keeps it.*Leave it out"):
        kt.backbone(model, input_shape=(32, 32, 3))


class Subclassed(keras.Model):
    def call(self, x):
        return x


class Overridden(keras.Model):
    """Has a graph, but computes something else."""

    def call(self, x, training=None, mask=None):
        return x


def test_models_without_a_graph():
    inputs = keras.Input((4,))
    for model in (Subclassed(), Overridden(inputs, keras.layers.Dense(2)(inputs))):
        with pytest.raises(ValueError, match=f"is a subclassed model .{type(model).__name__}.: its graph of layers"):
            kt.backbone(model)
    with pytest.raises(ValueError, match="doesn't know its input yet"):
        kt.backbone(keras.Sequential([keras.layers.Dense(3)]))


def test_several_outputs_need_a_layer():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3, name="x")(inputs)
    model = keras.Model(inputs, {"one": x, "two": keras.layers.Dense(1)(x)})
    with pytest.raises(ValueError, match="has 2 outputs. Name the layer that gives the features in `at`"):
        kt.backbone(model)
    assert kt.backbone(model, at="x").output_shape == (None, 3)


def test_a_backbone_of_a_backbone(photos):
    maps = kt.backbone(functional(), pooling=None)
    again, pixels = kt.backbone(maps), photos(16)
    np.testing.assert_allclose(again(pixels), np.asarray(maps(pixels)).mean((1, 2)), rtol=1e-4, atol=1e-5)
    assert [layer.name for layer in again.layers] == ["photo", "scale", "conv", "maps", "avg_pool"]
