import keras
import numpy as np
import pytest
from PIL import Image
from support import run_python

import keras_transfer as kt
from keras_transfer.backbones import applications
from keras_transfer.backbones.catalogue import APPLICATIONS, CATALOGUE

TOLERANCE = 1e-5
MODULES = {
    "ConvNeXt": "convnext",
    "DenseNet": "densenet",
    "EfficientNetB": "efficientnet",
    "EfficientNetV2": "efficientnet_v2",
    "InceptionResNetV2": "inception_resnet_v2",
    "InceptionV3": "inception_v3",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3": "mobilenet_v3",
    "NASNet": "nasnet",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "Xception": "xception",
}
FAST = ["DenseNet121", "EfficientNetB0", "MobileNet", "MobileNetV2", "MobileNetV3Small", "VGG16"]
ALL = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in APPLICATIONS]


def module(name):
    """The module of keras.applications that has the family's `preprocess_input`."""
    if name.startswith("ResNet"):
        return keras.applications.resnet_v2 if name.endswith("V2") else keras.applications.resnet
    found = [m for prefix, m in MODULES.items() if name.startswith(prefix)]
    return getattr(keras.applications, found[0] if found else "mobilenet")


def preprocessed(name, photos):
    return module(name).preprocess_input(photos.astype("float32").copy())


def leaves(model):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer


def calibrate(model, inputs):
    """Gives every norm the statistics of `inputs`: untrained networks have features near 1e-11 and would agree with
    any scaling."""
    for layer in leaves(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # one pass in training mode then sets them, bottom to top
        elif type(layer).__name__ == "LayerScale":  # ConvNeXt's branches start at 1e-6
            layer.gamma.assign(np.ones(layer.gamma.shape))
    if not any(isinstance(layer, keras.layers.BatchNormalization) for layer in leaves(model)):
        for layer in leaves(model):
            if isinstance(layer, keras.layers.Conv2D):  # VGG has no norms: Glorot's scale to He's
                layer.kernel.assign(layer.kernel * 2**0.5)
    model(inputs, training=True)
    for layer in leaves(model):
        if isinstance(layer, keras.layers.BatchNormalization):  # channels without variance would blow up rounding
            layer.moving_variance.assign(layer.moving_variance + 0.1 * np.mean(layer.moving_variance.numpy()))


def wrongly_scaled(name, photos):
    """What another family would make of the pixels."""
    kind = "tf" if APPLICATIONS[name].scaling != "tf" else "torch"
    return keras.applications.imagenet_utils.preprocess_input(photos.astype("float32").copy(), mode=kind)


@pytest.mark.parametrize("name", ALL)
def test_features_equal_those_of_keras_on_preprocessed_pixels(name, photos, record_property):
    side = max(64, APPLICATIONS[name].least)
    pixels = photos(side)
    theirs = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(side, side, 3), pooling="avg"
    )
    calibrate(theirs, preprocessed(name, pixels))
    ours = kt.backbone(name, weights=None, input_shape=(side, side, 3))
    ours.set_weights(theirs.get_weights())

    wanted, wrong = np.asarray(theirs(preprocessed(name, pixels))), np.asarray(theirs(wrongly_scaled(name, pixels)))
    features, largest = np.asarray(ours(pixels)), np.abs(wanted).max()
    difference = np.abs(features - wanted).max() / largest
    record_property("difference", float(difference))
    print(f"{name}: largest feature {largest:.3g}, relative difference {difference:.1e}")

    assert features.shape == (len(pixels), APPLICATIONS[name].features)
    assert ours.count_params() == theirs.count_params() == APPLICATIONS[name].parameters
    assert 1e-2 < largest < 1e4 and wanted.std(0).max() > 1e-3 * largest  # features that tell photos apart
    assert difference < TOLERANCE
    assert np.abs(wrong - wanted).max() / largest > 100 * TOLERANCE
    keras.backend.clear_session()


@pytest.mark.slow
def test_every_kind_of_scaling_survives_saving_in_a_fresh_process(photos, tmp_path):
    pixels = photos(64, 3, channels=4)
    for name in ("MobileNet", "EfficientNetLite0", "VGG16", "MobileNetV3Small"):
        model = kt.backbone(name, weights=None, input_shape=(64, 64, 4), trainable=True)
        calibrate(model, pixels)
        model.save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", pixels=pixels, features=model(pixels))
    code = """
import keras, numpy as np, pathlib, keras_transfer
for path in sorted(pathlib.Path().glob("*.keras")):
    model, kept = keras.models.load_model(path, safe_mode=True), np.load(path.with_suffix(".npz"))
    features, largest = np.asarray(model(kept["pixels"])), np.abs(kept["features"]).max()
    same = np.abs(features - kept["features"]).max() < 1e-6 * largest
    print(type(model).__name__, model.name, bool(largest > 0.01), bool(same))
"""
    done = run_python(code, cwd=tmp_path)
    assert done.stdout.splitlines() == ["Network backbone True True"] * 4


@pytest.fixture(scope="module")
def small():
    return kt.backbones.Application("MobileNet", alpha=0.25)


@pytest.fixture(scope="module")
def twin(small, photos):
    """A small backbone with features that matter, at three channels."""
    model = kt.backbone(small, weights=None, input_shape=(64, 64, 3), trainable=True)
    calibrate(model, photos(64))
    return model


def like(twin, source, **options):
    """Another backbone with the weights of `twin`."""
    model = kt.backbone(source, weights=None, **options)
    model.set_weights(twin.get_weights()[: len(model.weights)])
    return model


def test_uint8_and_float_are_the_same(twin, photos):
    pixels = photos(64)
    as_bytes = twin.predict(pixels, verbose=0)
    np.testing.assert_array_equal(as_bytes, twin.predict(pixels.astype("float32"), verbose=0))
    assert as_bytes.std(0).max() > 0.01


def test_grey_is_repeated_and_alpha_is_dropped(small, twin, photos):
    pixels = photos(64, channels=4)
    grey = like(twin, small, input_shape=(64, 64, 1))(pixels[..., :1])
    np.testing.assert_array_equal(grey, twin(np.repeat(pixels[..., :1], 3, -1)))
    rgba = like(twin, small, input_shape=(64, 64, 4))
    np.testing.assert_array_equal(rgba(pixels), twin(pixels[..., :3]))
    assert np.abs(rgba(pixels) - twin(pixels[..., 1:])).max() > 0.01


def test_pooling_by_hand(small, twin, photos):
    pixels = photos(64)
    maps = np.asarray(like(twin, small, input_shape=(64, 64, 3), pooling=None)(pixels))
    assert maps.shape == (6, 2, 2, 256)
    mean, top = maps.mean((1, 2)), maps.max((1, 2))
    np.testing.assert_allclose(twin(pixels), mean, rtol=1e-5, atol=1e-6)
    maximum = like(twin, small, input_shape=(64, 64, 3), pooling="max")(pixels)
    np.testing.assert_allclose(maximum, top, rtol=1e-5, atol=1e-6)
    both = like(twin, small, input_shape=(64, 64, 3), pooling="both")(pixels)
    np.testing.assert_allclose(both, np.concatenate([mean, top], 1), rtol=1e-5, atol=1e-6)


def test_convnext_norms_after_pooling_each_way(photos):
    pixels = photos(32, 3)
    maps = kt.backbone(
        "ConvNeXtTiny", weights=None, input_shape=(32, 32, 3), pooling=None, at="convnext_tiny_stage_3_block_2_identity"
    )
    both = kt.backbone("ConvNeXtTiny", weights=None, input_shape=(32, 32, 3), pooling="both")
    assert both.output_shape == (None, 2 * 768) and maps.output_shape == (None, 1, 1, 768)
    calibrate(both, pixels)
    features = np.asarray(both(pixels)).reshape(3, 2, 768)
    np.testing.assert_allclose(features.mean(-1), 0, atol=1e-5)  # a fresh norm leaves mean 0 and deviation 1
    np.testing.assert_allclose(features.std(-1), 1, atol=1e-3)


@pytest.mark.parametrize("size", [None, 40, (33, 57)])
def test_any_size(small, size, photos):
    sides = size if isinstance(size, tuple) else (size, size)
    model = kt.backbone(small, weights=None, input_shape=(*sides, 3))
    pixels = photos(64)[:, : (sides[0] or 50), : (sides[1] or 61)]
    assert model(pixels).shape == (6, 256)


def test_default_shape_is_the_family_s():
    assert kt.backbone("MobileNetV3Small", weights=None).input_shape == (None, 224, 224, 3)


def test_a_flat_network_in_order_of_depth(small):
    model = kt.backbone(small, weights=None, input_shape=(64, 64, 3))
    names = [layer.name for layer in model.layers]
    assert model.name == "backbone" and not model.trainable and model.trainable_weights == []
    assert names.index("conv1") < names.index("conv_pw_6") < names.index("conv_pw_13")
    assert names[0] == "pixels_0_255" and names[-1] == "avg_pool"
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)


def test_mixed_precision_scales_in_float32(small):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = kt.backbone(small, weights=None, input_shape=(64, 64, 3))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("conv1").input.dtype == "float32"
    assert model.get_layer("conv1").compute_dtype == "bfloat16"


def test_application_builder_arguments(small):
    assert kt.backbone(small, weights=None, input_shape=(32, 32, 3)).count_params() == 218_544
    assert repr(small) == "Application('MobileNet', alpha=0.25)"
    assert small == kt.backbones.Application("MobileNet", alpha=0.25) != kt.backbones.Application("MobileNet")
    assert len({small, kt.backbones.Application("MobileNet", alpha=0.25)}) == 1


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("MobileNetV22",), r"Unknown network of keras.applications 'MobileNetV22'\. Did you mean 'MobileNetV2'"),
        (("EfficientNetLite0",), r'takes no builder arguments: write kt.backbone\("EfficientNetLite0"\)'),
    ],
)
def test_application_names(arguments, said):
    with pytest.raises(ValueError, match=said):
        kt.backbones.Application(*arguments)


@pytest.mark.parametrize(
    "name, builder, said",
    [
        ("MobileNet", {"aplha": 0.5}, r"Unknown argument of MobileNet 'aplha'\. Did you mean 'alpha'"),
        ("MobileNet", {"pooling": "avg"}, "MobileNet: `pooling` is set by `kt.backbone` itself"),
        (
            "MobileNetV3Small",
            {"include_preprocessing": False},
            "`include_preprocessing` is set by `kt.backbone` itself",
        ),
        ("VGG16", {"alpha": 0.5}, "VGG16 takes no builder arguments. Received: 'alpha'"),
    ],
)
def test_application_arguments(name, builder, said):
    with pytest.raises(ValueError, match=said):
        kt.backbones.Application(name, **builder)


@pytest.mark.parametrize(
    "name, shape, said",
    [
        (
            "MobileNet",
            (16, 224, 3),
            r"MobileNet takes photos of at least 32 x 32 pixels\. Received: input_shape=\(16, 224",
        ),
        ("InceptionV3", (74, 80, 3), "at least 75 x 75 pixels"),
        ("Xception", (70, None, 3), "at least 71 x 71 pixels"),
        (
            "MobileNet",
            (224, 224),
            r"must be \(height, width, channels\).*such as \(224, 224, 3\)\. Received: \(224, 224\)",
        ),
        ("MobileNet", (224, 224, 2), "1, 3 or 4 channels"),
        ("MobileNet", (None, 224, 224, 3), "must be .height, width, channels."),
        ("MobileNet", 224, "Received: 224"),
        ("MobileNet", (224.0, 224, 3), "pixels, or None"),
        ("MobileNet", (-1, 224, 3), "pixels, or None"),
        ("NASNetMobile", (None, 224, 3), "NASNetMobile is built for one size of photos.*Its default is .224, 224, 3."),
    ],
)
def test_input_shapes_that_are_refused(name, shape, said):
    with pytest.raises(ValueError, match=said):
        kt.backbone(name, input_shape=shape, weights=None)


def test_channels_first_is_refused():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="Keras is set to channels_first. Call keras.config"):
            kt.backbone("MobileNet", weights=None)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_least_sizes_are_the_builders_own():
    for name in ("MobileNet", "InceptionV3", "Xception", "InceptionResNetV2"):
        least = APPLICATIONS[name].least
        with pytest.raises(ValueError, match=f"at least {least}x{least}"):
            getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(least - 1, least, 3))


def test_published_efficientnet_files_get_their_own_scaling(photos, tmp_path):
    """Keras's builder divides once more by the root of the deviation, but only where it downloads the file itself."""
    deviation = np.float32([0.229, 0.224, 0.225])
    mean = np.float32([0.485, 0.456, 0.406])
    published = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    normalization = next(x for x in published.layers if isinstance(x, keras.layers.Normalization))
    normalization.set_weights([mean, deviation, np.int32(0)])  # what the files hold
    published.save_weights(tmp_path / "b0.weights.h5")
    ours = kt.backbone("EfficientNetB0", weights=tmp_path / "b0.weights.h5", input_shape=(32, 32, 3))
    scaling = keras.Model(ours.input, next(x.output for x in ours.layers if isinstance(x, keras.layers.Normalization)))
    pixels = photos(32, 2)
    np.testing.assert_allclose(scaling(pixels), (pixels / 255 - mean) / deviation, rtol=1e-4, atol=1e-5)
    ours.save_weights(tmp_path / "again.weights.h5")  # what was mended once is right
    again = kt.backbone("EfficientNetB0", weights=tmp_path / "again.weights.h5", input_shape=(32, 32, 3))
    np.testing.assert_array_equal(ours(pixels), again(pixels))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["mobilenet_0.25_224_notop.weights.h5", "mobilenet_0.25_224.weights.h5"])
def test_real_mobilenet_knows_the_pets(file, real_data, small, pets, accuracy):
    folder = real_data / "models/mobilenet_v1_025_224"
    model = kt.backbone(small, weights=folder / file)
    full = keras.applications.MobileNet(alpha=0.25, weights=str(folder / "mobilenet_0.25_224.weights.h5"))
    kernel, bias = full.get_layer("conv_preds").get_weights()
    photos, classes = pets(Image.BILINEAR)
    first, five = accuracy(model.predict(photos, verbose=0) @ kernel[0, 0] + bias, classes)
    assert len(classes) == 144 and (round(first, 2), round(five, 3)) == (0.47, 0.875)


def test_build_is_what_backbone_calls(small):
    assert applications.build(small, weights=None, pooling=None).output_shape == (None, 7, 7, 256)


def test_forty_applications():
    names = {n for n in dir(keras.applications) if n[0].isupper() and callable(getattr(keras.applications, n))}
    assert set(APPLICATIONS) == names and len(names) == 40 and set(CATALOGUE) - names == {"EfficientNetLite0"}
