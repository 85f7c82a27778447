"""Random layers as a function of a seed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.data.augmenting import Augmentation, generators


@keras.saving.register_keras_serializable("tests")
class Doubling(keras.layers.Layer):
    def call(self, x, training=False):
        return x * 2 if training else x


def photos():
    return tf.random.stateless_uniform((4, 12, 10, 3), (1, 2), 0, 255)


def seed(*numbers):
    return tf.constant(numbers, tf.int64)


LAYERS = {
    "flip": lambda: keras.layers.RandomFlip("horizontal"),
    "rotate": lambda: keras.layers.RandomRotation(0.1),
    "zoom": lambda: keras.layers.RandomZoom(0.3),
    "shift": lambda: keras.layers.RandomTranslation(0.2, 0.2),
    "contrast": lambda: keras.layers.RandomContrast(0.5),
    "brightness": lambda: keras.layers.RandomBrightness(0.5),
    "color": lambda: keras.layers.RandomColorJitter(contrast_factor=0.5, hue_factor=0.3),
    "erase": lambda: keras.layers.RandomErasing(),
    "noise": lambda: keras.layers.GaussianNoise(0.9),
    "randaugment": lambda: keras.layers.RandAugment(),
    "nested": lambda: keras.Sequential([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.2)]),
    "pipeline": lambda: keras.layers.Pipeline([keras.layers.RandomFlip(), keras.layers.RandomContrast(0.4)]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_equal_seeds_give_equal_pixels_and_others_dont(name):
    augmentation = Augmentation(LAYERS[name](), (12, 10))
    assert augmentation.random
    first = augmentation(photos(), seed(0, 1))
    assert first.dtype == tf.float32 and first.shape == (4, 12, 10, 3)
    assert not np.allclose(first, photos(), atol=0.01) or name in ("flip", "randaugment", "erase")
    for _ in range(2):
        np.testing.assert_array_equal(augmentation(photos(), seed(0, 1)), first)
    fresh = Augmentation(LAYERS[name](), (12, 10))
    np.testing.assert_array_equal(fresh(photos(), seed(0, 1)), first)
    assert any(not np.array_equal(augmentation(photos(), seed(0, k)), first) for k in range(2, 6))


def test_a_graph_gives_what_eager_code_gives():
    augmentation = Augmentation([LAYERS["flip"](), LAYERS["rotate"]()], (12, 10))
    graph = tf.function(augmentation)
    for k in range(3):
        np.testing.assert_allclose(graph(photos(), seed(5, k)), augmentation(photos(), seed(5, k)), atol=1e-3)


def test_two_layers_of_a_kind_draw_different_numbers():
    # two flips by the same draw would cancel for every photo and every seed
    augmentation = Augmentation([LAYERS["flip"](), LAYERS["flip"]()], (12, 10))
    assert any(not np.array_equal(augmentation(photos(), seed(0, k)), photos()) for k in range(5))


def test_the_layers_own_generators_are_left_as_they_were():
    layer = keras.layers.RandomFlip(seed=3)
    augmentation = Augmentation(layer, (12, 10))
    before = [np.array(generator.state) for generator in augmentation.generators]
    augmentation(photos(), seed(0, 1))
    for generator, state in zip(augmentation.generators, before):
        np.testing.assert_array_equal(generator.state, state)
        assert "next" not in vars(generator)
    layer(photos(), training=True)
    assert any((np.array(g.state) != s).any() for g, s in zip(augmentation.generators, before))


def test_generators_are_found_once_each_and_in_order():
    one, two = keras.layers.RandomFlip(), keras.layers.RandomZoom(0.1)
    found = generators([one, keras.Sequential([two, one])])
    assert found == [one.generator, two.generator]


def test_layers_without_randomness_are_applied_in_training_mode():
    augmentation = Augmentation([Doubling()], (12, 10))
    assert not augmentation.random
    np.testing.assert_array_equal(augmentation(photos(), seed(0, 0)), 2 * photos())


def test_mixed_precision_still_gives_float32():
    augmentation = Augmentation(keras.layers.GaussianNoise(1.0, dtype="mixed_float16"), (12, 10))
    assert augmentation(photos(), seed(0, 0)).dtype == tf.float32


def test_config_tells_layers_apart_but_not_their_seeds():
    def config(layer):
        return Augmentation(layer, (12, 10)).config()

    assert config(keras.layers.RandomFlip("horizontal", seed=1)) == config(keras.layers.RandomFlip("horizontal"))
    assert config(keras.layers.RandomFlip("horizontal")) != config(keras.layers.RandomFlip("vertical"))
    assert config(LAYERS["nested"]()) == config(LAYERS["nested"]()) != config(LAYERS["pipeline"]())


def test_a_change_of_shape_is_refused():
    with pytest.raises(
        ValueError,
        match=r"must keep the shape of the photos: given \(batch, 12, 10, 3\) it returned "
        r"\('batch', 6, 5, 3\)",
    ):
        Augmentation(keras.layers.RandomCrop(6, 5), (12, 10))


class Forgetful(keras.layers.Layer):
    def call(self, x, training=False):
        return x + tf.random.normal(tf.shape(x))


class Global(keras.layers.Layer):
    def call(self, x, training=False):
        return x + keras.random.normal(tf.shape(x))


@pytest.mark.parametrize("layer", [Forgetful, Global])
def test_randomness_from_elsewhere_is_refused(layer):
    with pytest.raises(
        ValueError, match="`augment` can't be repeated: noisy must draw all random numbers with keras.ran"
    ):
        Augmentation(layer(name="noisy"), (12, 10))


@pytest.mark.parametrize("wrong", ["light", lambda x: x, [keras.layers.RandomFlip(), "flip"]])
def test_only_layers_are_accepted(wrong):
    with pytest.raises(ValueError, match="`augment` must be a Keras layer or a list of Keras layers"):
        Augmentation(wrong, (12, 10))
