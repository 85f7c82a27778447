import json
import os

import keras
import pytest

import keras_transfer as kt
from keras_transfer import running


@pytest.fixture
def parts(small_backbone):
    history = keras.callbacks.History()
    history.epoch, history.history = [0, 1], {"loss": [0.5, 0.25], "phase": ["head", "tune"]}
    model = kt.attach(small_backbone(), kt.heads.Classifier(3))
    return {
        "model": model,
        "labels": ["Ä", "b"],
        "history": history,
        "config": {**dict.fromkeys(running.NEEDED), "seed": 3},
    }


def test_written_and_read_again(parts, tmp_path):
    running.write_run(tmp_path / "deep" / "run", parts.pop("model"), **parts)
    config, labels = running.read_run(tmp_path / "deep" / "run")
    assert labels == ["Ä", "b"] and config["seed"] == 3 and config["versions"]["keras"] == keras.__version__
    assert (tmp_path / "deep" / "run" / "history.csv").read_text() == "epoch,loss,phase\n1,0.5,head\n2,0.25,tune\n"
    assert kt.load(tmp_path / "deep" / "run").count_params() > 0
    assert oct((tmp_path / "deep" / "run").stat().st_mode & 0o777) == "0o755"


def test_nothing_is_overwritten(parts, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(FileExistsError, match="exists already, and nothing is overwritten. Give another folder"):
        running.write_run(tmp_path / "run", parts.pop("model"), **parts)


def test_a_failure_leaves_nothing(parts, tmp_path):
    parts["config"] = {"bad": object()}
    with pytest.raises(TypeError):
        running.write_run(tmp_path / "run", parts.pop("model"), **parts)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(FileNotFoundError, match="is no run folder: it has no labels.json"):
        running.read_run(tmp_path)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "is damaged .Expecting value"),
        ("{}", "it doesn't say image_size, fit"),
        ("[1]", "it doesn't say image_size"),
    ],
)
def test_a_damaged_config(parts, tmp_path, text, said):
    running.write_run(tmp_path / "run", parts.pop("model"), **parts)
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(ValueError, match=f"config.json' is damaged.*|{said}"):
        running.read_run(tmp_path / "run")
