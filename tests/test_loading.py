import pathlib

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.loading import read_outputs
from support import pixels


@pytest.fixture
def model(small_backbone):
    return kt.attach(
        small_backbone(), {"colour": kt.heads.Classifier(["blue", "green", "red"]), "light": kt.heads.Regressor()}
    )


def test_load_a_file(model, tmp_path):
    model.save(tmp_path / "m.keras")
    x = pixels(3)
    assert np.array_equal(
        kt.load(tmp_path / "m.keras").predict(x, verbose=0)["colour"], model.predict(x, verbose=0)["colour"]
    )


def test_load_refuses_what_is_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no model at .* Give a .keras file or a run folder"):
        kt.load(tmp_path / "none.keras")
    with pytest.raises(FileNotFoundError, match="is no run folder: it has no config.json"):
        kt.load(tmp_path)
    (tmp_path / "torn.keras").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ValueError, match="is no .keras file, or a damaged one"):
        kt.load(tmp_path / "torn.keras")


def test_load_keeps_safe_mode(tmp_path):
    inputs = keras.Input((2,))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs)).save(tmp_path / "code.keras")
    with pytest.raises(Exception, match="[Ll]ambda|unsafe"):
        kt.load(tmp_path / "code.keras")


def test_predict_says_for_each_photo_what_the_model_gives(model, photo_folder):
    files = sorted(str(p) for p in (photo_folder / "red").iterdir())[:3]
    table = kt.predict(model, files)
    photos = np.stack([np.asarray(kt.data.decode(pathlib.Path(f).read_bytes(), 16)) for f in files])
    outputs = model.predict(photos, verbose=0)
    assert [row["file"] for row in table] == files
    assert [row["colour"] for row in table] == [["blue", "green", "red"][i] for i in outputs["colour"].argmax(-1)]
    softmax = np.exp(outputs["colour"]) / np.exp(outputs["colour"]).sum(-1, keepdims=True)
    assert np.allclose([row["colour_probability"] for row in table], softmax.max(-1), atol=1e-5)
    assert np.allclose([row["light"] for row in table], outputs["light"][:, 0], rtol=1e-4)


def test_predict_takes_a_photo_a_folder_or_both(model, photo_folder):
    one = photo_folder / "red" / "00.png"
    assert len(kt.predict(model, one)) == 1 and len(kt.predict(model, photo_folder)) == 42
    assert len(kt.predict(model, [one, photo_folder / "blue"], batch_size=4)) == 15


def test_outputs_for_people():
    classifier, several, value = kt.heads.Classifier(["a", "b"]), kt.heads.MultiLabel(["x", "y"]), kt.heads.Regressor(2)
    assert read_outputs(classifier, np.array([[0.0, np.log(3)]])) == [
        {"label": "b", "probability": pytest.approx(0.75)}
    ]
    assert read_outputs(several, np.array([[9.0, 8.0], [-9.0, -9.0]]), "tags")[0]["tags"] == "x|y"
    assert read_outputs(several, np.array([[0.0, -9.0]]), "tags")[0] == {
        "tags": "",
        "tags_x": 0.5,
        "tags_y": pytest.approx(0, abs=1e-3),
    }
    assert read_outputs(value, np.array([[1.0, 2.0]])) == [{"value_0": 1.0, "value_1": 2.0}]
    assert read_outputs(kt.heads.Ordinal(["low", "high"]), np.array([[3.0]]))[0]["label"] == "high"


def test_predict_refuses_early(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no photo or folder"):
        kt.predict(model, tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="There are no photos in .*; looked for .jpg"):
        kt.predict(model, tmp_path)
    inputs = keras.Input((None, None, 3))
    free = kt.attach(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)), kt.heads.Classifier(2))
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="takes photos of any size, so it must be said"):
        kt.predict(free, tmp_path)
