"""The demo's settings and the parts of commands that test_cli doesn't reach."""

import pathlib

from keras_transfer import cli, commands


def test_the_settings_of_the_demo_are_options_of_train():
    options = vars(commands.parse_train(["train", "x", "--output", "y"]))
    assert set(commands.DEMO) <= set(options)
    assert options["backbone"] == "EfficientNetLite0" and options["weights"] == "pretrained"


def test_backbones_prints_the_table(capsys):
    assert cli.main(["backbones", "mobilenetv2"]) == 0
    said = capsys.readouterr().out
    assert "MobileNetV2" in said and "1,280" in said and "parameters" in said


def test_demo_trains_on_digits_and_names_the_next_commands(monkeypatch, tmp_path, capsys):
    trained = []
    monkeypatch.setattr(commands, "train", trained.append)
    for _ in range(2):
        pathlib.Path(tmp_path, "demo", "run").mkdir(parents=True, exist_ok=True)
        assert cli.main(["demo", "--output", str(tmp_path / "demo"), "--seed", "4"]) == 0
    options = trained[0]
    assert (options.data, options.seed, options.image_size) == (str(tmp_path / "demo" / "photos"), 4, 96)
    assert options.output == str(tmp_path / "demo" / "run-2")  # a run that exists is left alone
    assert len(list((tmp_path / "demo" / "photos").rglob("*.png"))) == 1797
    said = capsys.readouterr().out
    assert all(f"keras-transfer {c} " in said for c in ("train", "evaluate", "predict"))
