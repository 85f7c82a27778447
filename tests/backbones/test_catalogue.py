import keras
import pytest

import keras_transfer as kt
from keras_transfer.backbones import catalogue
from keras_transfer.backbones.catalogue import APPLICATIONS, CATALOGUE, LITE


def test_table_lists_by_pattern():
    rows = kt.backbones.table("MOBILE*")
    assert [row["name"] for row in rows] == ["MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"]
    assert rows[1] == {
        "name": "MobileNetV2",
        "parameters": 2_257_984,
        "features": 1280,
        "size": 224,
        "pretrained": rows[1]["pretrained"],
    }
    assert len(kt.backbones.table()) == 41 and "2,257,984" in str(rows)


def test_a_pattern_that_fits_nothing():
    with pytest.raises(ValueError, match=r"No backbone fits the pattern 'mobilnetv2'\. Did you mean 'MobileNetV2'"):
        kt.backbones.table("mobilnetv2")


def test_weights_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert {row["pretrained"] for row in kt.backbones.table("*Net*") if row["name"] != LITE} == {"no"}
    (tmp_path / "models").mkdir()
    for name in (
        "mobilenet_1_0_160_tf_no_top.h5",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5",
        "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "efficientnetv2-b0_notop.h5",
    ):
        (tmp_path / "models" / name).touch()
    here = {row["name"] for row in kt.backbones.table() if row["pretrained"] == "yes"}
    assert here - {LITE} == {"MobileNet", "MobileNetV2", "ResNet50V2", "EfficientNetV2B0"}


def test_lite_is_here_when_its_package_is(monkeypatch):
    monkeypatch.setattr(catalogue, "LITE_PACKAGE", "no_such_package")
    assert kt.backbones.table(LITE)[0]["pretrained"] == "no"
    monkeypatch.setattr(catalogue, "LITE_PACKAGE", "numpy")
    assert kt.backbones.table(LITE)[0]["pretrained"] == "yes"


def test_cache_folder_is_keras_s(monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    assert str(catalogue.cache_folder()).endswith("/.keras/models")


def test_cache_files_are_those_keras_asks_for(monkeypatch, tmp_path):
    """Each builder asks for a file without its top; its name is the one looked for here."""
    asked = []

    def get_file(fname, *arguments, **options):
        asked.append(fname)
        raise InterruptedError("asked")

    for name in ("VGG16", "MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0"):
        builder = getattr(keras.applications, name)
        monkeypatch.setattr(builder.__globals__["file_utils"], "get_file", get_file)
        with pytest.raises(InterruptedError):
            builder(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
        assert catalogue.fnmatch.fnmatch(asked[-1], CATALOGUE[name].cached), name


@pytest.mark.slow
def test_cache_files_of_all_forty(monkeypatch):
    asked = []
    for name in APPLICATIONS:
        builder = getattr(keras.applications, name)
        utils = builder.__globals__.get("file_utils") or keras.applications.ResNet50.__globals__["file_utils"]
        monkeypatch.setattr(utils, "get_file", lambda fname, *a, **k: asked.append(fname) or 1 / 0)
        with pytest.raises(ZeroDivisionError), keras.StatelessScope():  # in which no weights are drawn
            builder(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
        assert catalogue.fnmatch.fnmatch(asked[-1], CATALOGUE[name].cached), (name, asked[-1])
        keras.backend.clear_session()
