"""`kt.backbone("hub:...")`: handles, shapes, ranges, and refusals that help."""

import keras
import numpy as np
import pytest
import saved_models
import tensorflow as tf

import keras_transfer as kt
from support import spoken_digits


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return saved_models.plain(tmp_path_factory.mktemp("hub") / "model")


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Photos of any size to maps with 5 channels, pixels 0-1 expected."""

    class Maps(tf.Module):
        def __init__(self):
            self.kernel = tf.Variable(np.random.default_rng(0).normal(size=(3, 3, 3, 5)).astype("float32"))

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="images")])
        def __call__(self, images):
            return tf.nn.conv2d(images, self.kernel, 2, "SAME")

    path = tmp_path_factory.mktemp("hub") / "maps"
    tf.saved_model.save(Maps(), str(path))
    return path


def test_it_is_a_backbone_like_any_other(plain):
    backbone = kt.backbone(f"hub:{plain}")
    assert backbone.name == "backbone" and backbone.output_shape == (None, 3) and backbone.input_shape == (None, 6)
    assert backbone.trainable_variables == []
    assert len(kt.backbone(f"hub:{plain}", trainable=True).trainable_variables) == 2


def test_maps_are_pooled_and_pixels_scaled(maps):
    photos = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3)).astype("float32")
    bare = kt.backbone(kt.backbones.Hub(maps, scale=1 / 255), input_shape=(8, 8, 3), pooling=None)
    pooled = kt.backbone(kt.backbones.Hub(maps, scale=1 / 255), input_shape=(8, 8, 3))
    expected = tf.saved_model.load(str(maps))(photos / 255)
    np.testing.assert_allclose(bare.predict(photos, verbose=0), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pooled.predict(photos, verbose=0), np.mean(expected, (1, 2)), rtol=1e-4, atol=1e-5)
    unscaled = kt.backbone(f"hub:{maps}", input_shape=(8, 8, 3))
    assert not np.allclose(unscaled.predict(photos, verbose=0), np.mean(expected, (1, 2)), atol=1e-2)


def test_it_learns(maps, photo_folder):
    train, valid, labels = kt.data.photos(photo_folder, size=16, batch_size=8, validation=0.3, seed=0)
    model = kt.attach(
        kt.backbone(kt.backbones.Hub(maps, scale=1 / 255), input_shape=(16, 16, 3)), kt.heads.Classifier(labels)
    )
    model.compile(optimizer=keras.optimizers.Adam(0.05), **kt.objectives(model))
    before = model.evaluate(valid, verbose=0)[0]
    history = kt.fine_tune(model, train, valid, head_epochs=6, epochs=2, verbose=0)
    assert history.history["phase"] == ["head"] * 6 + ["tune"] * 2
    assert model.evaluate(valid, verbose=0)[0] < 0.7 * before


def test_the_shape_must_fit(plain):
    with pytest.raises(ValueError, match=r"takes an input of shape \(6,\). Received: input_shape=\(7,\)"):
        kt.backbone(f"hub:{plain}", input_shape=(7,))


@pytest.mark.parametrize(
    "options, said",
    [
        ({"weights": None}, 'comes with its weights: `weights` must be "pretrained"'),
        ({"at": "conv"}, "the layers inside a SavedModel can't be reached"),
    ],
)
def test_what_a_saved_model_does_not_offer(plain, options, said):
    with pytest.raises(ValueError, match=said):
        kt.backbone(f"hub:{plain}", **options)


def test_unknown_signature_and_output(plain, tmp_path):
    with pytest.raises(ValueError, match="Unknown signature of .*'serving'.* There is|Did you mean 'serving_default'"):
        kt.backbone(kt.backbones.Hub(plain, signature="serving"))
    with pytest.raises(ValueError, match="`output_key` 'x'.*returns one tensor without a name. Leave it out"):
        kt.backbone(kt.backbones.Hub(plain, output_key="x"))
    with pytest.raises(ValueError, match="Unknown output of .*'sums'. Did you mean 'sum'"):
        kt.backbone(kt.backbones.Hub(saved_models.dicts(tmp_path / "dicts"), output_key="sums"))


def test_nothing_to_train(tmp_path):
    class Fixed(tf.Module):
        @tf.function(input_signature=[saved_models.FEATURES])
        def __call__(self, x):
            return 2 * x

    tf.saved_model.save(Fixed(), str(tmp_path / "model"))
    with pytest.raises(
        ValueError,
        match="Nothing in .* can be trained. It can be called as itself, 'serving_default' and has 0 variables",
    ):
        kt.backbone(f"hub:{tmp_path / 'model'}", trainable=True)
    backbone = kt.backbone(f"hub:{tmp_path / 'model'}")
    assert backbone.weights == []
    with pytest.raises(ValueError, match="Nothing in .* can be trained"):
        kt.unfreeze(kt.attach(backbone, kt.heads.Classifier(2)))


def test_what_people_used_before_is_refused(plain):
    hub = pytest.importorskip("tensorflow_hub")
    old = hub.KerasLayer(str(plain))
    for build in (kt.backbone, lambda layer: kt.attach(layer, kt.heads.Classifier(2))):
        with pytest.raises(TypeError, match=f'Write kt.backbone."hub:{plain}". instead'):
            build(old)
        with pytest.raises(TypeError, match='A Lambda hides the weights .* write kt.backbone."hub:HANDLE". instead'):
            build(keras.layers.Lambda(lambda x: x))


@pytest.mark.parametrize(
    "arguments, error, said",
    [
        ((3,), TypeError, "`handle` must be the text of a folder"),
        (("x", None, None, ["training"]), TypeError, "`arguments` must be a dict"),
        (("x", None, None, None, "yes"), TypeError, "`allow_unsafe` must be True or False"),
    ],
)
def test_arguments_are_checked(arguments, error, said):
    with pytest.raises(error, match=said):
        kt.backbones.Hub(*arguments)


def test_arguments_reach_the_function(tmp_path):
    class Times(tf.Module):
        @tf.function
        def __call__(self, x, factor=1.0):
            return x * factor

    module = Times()
    for factor in (1.0, 3.0):
        module.__call__.get_concrete_function(saved_models.FEATURES, factor=factor)
    tf.saved_model.save(module, str(tmp_path / "model"))
    backbone = kt.backbone(kt.backbones.Hub(tmp_path / "model", arguments={"factor": 3.0}))
    np.testing.assert_array_equal(backbone.predict(np.ones((2, 6)), verbose=0), np.full((2, 6), 3.0))


def test_spotting_keywords_is_fine_tuned_to_digits(real_data):
    """A foreign speech model learns the ten digits of six speakers from 48 clips each, far above chance."""
    x, y = spoken_digits(real_data)
    held = np.arange(len(x)) % 3 == 0
    source = real_data / "models/kws_ds_cnn_savedmodel"
    backbone = kt.backbone(f"hub:{source}")
    model = kt.attach(backbone, kt.heads.Classifier([str(d) for d in range(10)]))
    model.compile(optimizer=keras.optimizers.Adam(3e-2), **kt.objectives(model))
    accuracy = []
    for epochs in ({"head_epochs": 10, "epochs": 0}, {"head_epochs": 0, "epochs": 20}):
        # without validation: at this rate its loss may rise for five epochs, which would end the phase
        kt.fine_tune(model, (x[~held], y[~held]), **epochs, seed=0, verbose=0)
        accuracy.append(model.evaluate(x[held], y[held], verbose=0, return_dict=True)["accuracy"])
    print("frozen, tuned", accuracy)
    assert accuracy[1] > accuracy[0] + 0.1 and accuracy[1] > 0.6
