import h5py
import keras
import numpy as np
import pytest
from support import run_python

import keras_transfer as kt
from keras_transfer.backbones import weights

SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def small():
    return kt.backbones.Application("MobileNet", alpha=0.25)


@pytest.fixture(scope="module")
def source(small):
    """A network whose every weight is a random number, so that none is loaded by luck."""
    model = kt.backbone(small, weights=None, input_shape=SHAPE)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype("float32") for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def files(source, tmp_path_factory):
    """The same weights in every format, with and without a classifier."""
    folder = tmp_path_factory.mktemp("weights")
    bare = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=SHAPE)
    full = keras.applications.MobileNet(alpha=0.25, weights=None)
    bare.set_weights(source.get_weights())
    full.set_weights(source.get_weights() + full.get_weights()[len(source.weights) :])
    head = keras.Model(source.input, keras.layers.Dense(3, name="head")(source(source.input)))  # nested
    source.save_weights(folder / "ours.weights.h5")
    source.save(folder / "ours.keras")
    head.save(folder / "nested.keras")
    for name, model in (("bare", bare), ("full", full)):
        model.save_weights(folder / f"{name}.weights.h5")
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
    return folder


@pytest.mark.parametrize(
    "file",
    [
        "ours.weights.h5",
        "ours.keras",
        "nested.keras",
        "bare.weights.h5",
        "bare.keras",
        "bare.h5",
        "full.weights.h5",
        "full.keras",
        "full.h5",
    ],
)
def test_every_weight_arrives_from_every_format(file, files, small, source):
    loaded = kt.backbone(small, weights=files / file, input_shape=(64, 40, 3))
    assert len(loaded.weights) == 135
    for a, b in zip(loaded.get_weights(), source.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_a_path_may_be_text(files, small, source):
    loaded = kt.backbone(small, weights=str(files / "bare.h5"), input_shape=SHAPE, at="conv_pw_3_relu")
    kernel, wanted = (model.get_layer("conv_pw_3").get_weights()[0] for model in (loaded, source))
    np.testing.assert_array_equal(kernel, wanted)


def test_a_truncated_backbone_loads_its_own_file(files, small, source, tmp_path):
    inner = kt.backbone(small, weights=files / "ours.keras", input_shape=SHAPE, at="conv_pw_3")
    inner.save_weights(tmp_path / "inner.weights.h5")
    again = kt.backbone(small, weights=tmp_path / "inner.weights.h5", input_shape=SHAPE, at="conv_pw_3")
    for a, b in zip(again.get_weights(), source.get_weights()):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="of MobileNet: it holds 31 arrays, the network 135"):
        kt.backbone(small, weights=tmp_path / "inner.weights.h5", input_shape=SHAPE)


@pytest.mark.parametrize("file", ["bare.weights.h5", "full.weights.h5", "bare.h5", "bare.keras"])
def test_another_architecture_is_refused(file, files):
    with pytest.raises(ValueError, match=f"{file} doesn't hold the weights of MobileNetV3Small"):
        kt.backbone("MobileNetV3Small", weights=files / file, input_shape=SHAPE)


@pytest.mark.parametrize("file", ["bare.weights.h5", "bare.h5", "bare.keras"])
def test_another_width_is_refused(file, files):
    wide = kt.backbones.Application("MobileNet", alpha=0.5)
    with pytest.raises(ValueError, match="doesn't hold the weights of MobileNet: .*shape.{10,400}$"):
        kt.backbone(wide, weights=files / file, input_shape=SHAPE)


def test_missing_layers_are_listed(small, files):
    with pytest.raises(ValueError, match="it lacks 104 layers: Conv1, .* and more"):
        kt.backbone("MobileNetV2", weights=files / "bare.keras", input_shape=SHAPE)
    with pytest.raises(ValueError, match="it has other shapes in [0-9]+ layers: conv1, conv1_bn, "):
        kt.backbone(kt.backbones.Application("MobileNet", alpha=0.5), weights=files / "bare.keras", input_shape=SHAPE)


def test_damaged_files(small, files, tmp_path):
    for name, data in (
        ("a.weights.h5", b""),
        ("b.h5", b"no"),
        ("c.keras", b"no"),
        ("d.weights.h5", (files / "bare.weights.h5").read_bytes()[:9000]),
        ("e.keras", (files / "bare.keras").read_bytes()[:9000]),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name} doesn't hold the weights of MobileNet"):
            kt.backbone(small, weights=tmp_path / name, input_shape=SHAPE)


def test_a_file_with_a_hole_is_refused_and_nothing_is_touched(files, source, tmp_path):
    """A weight that Keras leaves alone, whatever the reason, is found out and the old weights come back."""
    model = keras.models.clone_model(source)
    before = model.get_weights()
    model.save_weights(tmp_path / "hole.weights.h5")
    with h5py.File(tmp_path / "hole.weights.h5", "r+") as file:
        file["layers/batch_normalization_3/vars/0"][:] = np.nan
    with pytest.raises(ValueError, match="leaves 1 weights unset, such as .*gamma"):
        weights.load(tmp_path / "hole.weights.h5", [model], "the model")
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_file_with_heads_in_a_fresh_process(small, tmp_path):
    model = kt.attach(kt.backbone(small, weights=None, input_shape=SHAPE), kt.heads.Classifier(["a", "b"]))
    model.save(tmp_path / "m.keras")
    code = (
        "import keras_transfer as kt; print(kt.backbone('m.keras', at='features').output_shape); "
        "b = kt.backbones.Application('MobileNet', alpha=0.25); "
        "print(kt.backbone(b, weights='m.keras', input_shape=(32, 32, 3)).get_weights()[0].sum())"
    )
    shape, total = run_python(code, cwd=tmp_path).stdout.splitlines()
    assert shape == "(None, 256)" and float(total) == pytest.approx(model.get_weights()[0].sum(), rel=1e-5)


def test_names_that_keras_makes_up_count_on():
    def stack():
        inputs = keras.Input((4,))
        x = keras.layers.BatchNormalization()(keras.layers.Dense(4)(inputs))
        return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(3, name="mine")(x)))

    first, second = stack(), stack()
    assert first.layers[1].name != second.layers[1].name
    assert (
        list(weights._named(first))
        == list(weights._named(second))
        == ["mine", "dense", "dense_1", "batch_normalization"]
    )


def test_made_up_names_in_a_keras_file(tmp_path):
    first = kt.backbone("Xception", weights=None, input_shape=(71, 71, 3))
    first.save(tmp_path / "x.keras")
    second = kt.backbone("Xception", weights=tmp_path / "x.keras", input_shape=(71, 71, 3))
    for a, b in zip(first.get_weights(), second.get_weights()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "value, error, said",
    [
        (
            "imagenet",
            ValueError,
            'must be "pretrained", None or the path of a .weights.h5, .keras or .h5 file.*imagenet',
        ),
        ("none.weights.h5", FileNotFoundError, "`weights`: there is no file 'none.weights.h5'"),
        (True, TypeError, "`weights` must be .*Received: True"),
        ("x.pth", ValueError, "Received: 'x.pth'"),
    ],
)
def test_values_that_are_refused(value, error, said):
    with pytest.raises(error, match=said):
        weights.check(value)
    assert weights.check(None) is weights.check("pretrained") is None
