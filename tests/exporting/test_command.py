"""`keras-transfer export`; test_writing has what the files hold."""

import json
import os

import keras
import pytest

from keras_transfer import cli, running
from keras_transfer.exporting import command, converting


@pytest.fixture
def run(network, tmp_path):
    history = keras.callbacks.History()
    history.epoch, history.history = [0], {"loss": [1.0]}
    labels = {"colour": ["red", "grün", "blue"], "light": {"mean": 120.0, "std": 20.0}}
    running.write_run(
        tmp_path / "run",
        network,
        labels=labels,
        history=history,
        config={"image_size": [16, 16], "fit": "pad", "targets": {}, "images": "file", "split": None},
    )
    return tmp_path / "run"


@pytest.mark.slow
def test_it_says_what_was_written_and_how_to_serve_it(run, tmp_path, capsys):
    assert cli.main(["export", str(run), "--to", str(tmp_path / "served"), "--top-k", "2"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Written: {tmp_path / 'served' / '1'}\n") and "serving_default" in said
    assert "docker run" in said and "MODEL_NAME=served" in said and '{"image_bytes": {"b64": "%s"}}' in said
    assets = tmp_path / "served" / "1" / "assets"
    assert json.loads((assets / "config.json").read_text())["fit"] == "pad"
    assert json.loads((assets / "labels.json").read_text())["light"] == {"mean": 120.0, "std": 20.0}


def test_every_option_reaches_export(monkeypatch, tmp_path, capsys):
    given = {}

    def export(run, to, **options):
        given.update(options, run=run, to=to)
        found = command.export.Exported({"tflite_int8": 0.02, "tflite_int8/colour": 0.975})
        found.path = tmp_path / "s" / "4"
        return found

    export.Exported = type("Exported", (dict,), {})
    monkeypatch.setattr(command, "export", export)
    assert (
        cli.main(
            [
                "export",
                "r",
                "--to",
                "s",
                "--formats",
                "tflite_int8",
                "--top-k",
                "3",
                "--calibration",
                "photos",
                "--on-error",
                "request",
            ]
        )
        == 0
    )
    assert given == {
        "run": "r",
        "to": "s",
        "formats": ["tflite_int8"],
        "top_k": 3,
        "calibration": "photos",
        "on_error": "request",
    }
    said = capsys.readouterr().out
    assert "largest difference" in said and "same first answer" in said and "0.975" in said and "docker" not in said


def test_bad_arguments_exit_with_1_and_leave_nothing(tmp_path, capsys):
    assert cli.main(["export", str(tmp_path / "none"), "--to", str(tmp_path / "s")]) == 1
    assert "There is no model at" in capsys.readouterr().err and os.listdir(tmp_path) == []
    with pytest.raises(SystemExit):
        cli.main(["export", "r", "--to", "s", "--formats", "tf"])


def test_the_formats_of_the_command_are_those_of_export():
    options = cli.parser().parse_args(["export", "r", "--to", "s", "--formats", *converting.FORMATS])
    assert options.formats == list(converting.FORMATS)
    assert cli.parser().parse_args(["export", "r", "--to", "s"]).formats == ["saved_model"]
