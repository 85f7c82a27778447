"""`keras-transfer report`, and the report of a training."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer import cli, evaluating, running
from keras_transfer.reporting import command


@pytest.fixture(scope="module")
def run(photo_folder, several, tmp_path_factory):
    """A run folder as `keras-transfer train` makes it, with its report."""
    train, valid, labels = kt.data.photos(photo_folder, size=16)
    model, history = kt.attach(several[0].get_layer("backbone"), kt.heads.Classifier(labels)), keras.callbacks.History()
    history.epoch, history.history = (
        [0, 1],
        {"loss": [2.0, 1.0], "learning_rate": [1e-3, 1e-4], "phase": ["head", "tune"]},
    )
    folder = tmp_path_factory.mktemp("runs") / "colours"
    config = {
        "data": str(photo_folder),
        "backbone": "MobileNet",
        "weights": "none",
        "seed": 0,
        "flip": True,
        "dropout": 0.0,
        "targets": {},
        "images": "file",
        "split": None,
        "image_size": [16, 16],
        "fit": "stretch",
        "training": command.training_counts(model, kt.data.info(train).targets),
    }
    running.write_run(folder, model, labels=labels, history=history, config=config)
    command.beside(folder, model, valid, part="test", history=history, answers=evaluating.answers(model, valid))
    return folder


def test_training_writes_it_on_the_photos_held_out(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<h1>Report on MobileNet: classifier</h1>" in page and "photos of the test set" in page
    assert "Mirrored at random" in page and "No weights were taken over" in page
    assert "of the heads on the frozen backbone" in page and "Training photos" in page
    assert "were learned from fewer than 20 photos each" in page and 'id="training"' in page


def test_the_command_writes_one_for_further_photos_and_knows_the_training_again(run, photo_folder, tmp_path, capsys):
    assert cli.main(["report", str(run), str(photo_folder), "--to", str(tmp_path / "more.html")]) == 0
    assert capsys.readouterr().out.endswith(f"Written: {tmp_path / 'more.html'}\n")
    page = (tmp_path / "more.html").read_text(encoding="utf-8")
    assert "42 photos, stretched to 16 x 16 pixels" in page and 'id="training"' in page
    assert "The photos here are, all or in part, those that the model was trained on" in page
    assert "all or in part" not in (run / "report.html").read_text(encoding="utf-8")


def test_bad_arguments_leave_nothing(run, photo_folder, tmp_path, capsys):
    assert cli.main(["report", str(tmp_path / "no"), str(photo_folder), "--to", str(tmp_path / "r.html")]) == 1
    assert "is no run folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["report", str(run), str(photo_folder)])
    assert "--to" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_without_the_extra_a_training_says_how_to_get_it(run, tmp_path, monkeypatch, capsys):
    import shutil
    import sys

    copied = shutil.copytree(run, tmp_path / "run")
    (copied / "report.html").unlink()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    command.beside(copied, None, None, part="test", history=None, answers={})
    said = capsys.readouterr().out
    assert (
        said.startswith("No report.html: matplotlib is needed here") and 'pip install "keras-transfer[report]"' in said
    )
    assert said.count("\n") == 1 and not (copied / "report.html").exists()


def test_how_much_there_was_to_learn_from(several):
    model, (x, y) = several
    counts = command.training_counts(model, y)
    assert counts["photos"] == 40 and set(counts["classes"]) == {"colour", "tags", "level"}
    assert list(counts["classes"]["colour"].values()) == np.bincount(y["colour"], minlength=3).tolist()
    assert sum(counts["classes"]["level"].values()) == 39 and counts["classes"]["tags"]["warm"] == int(
        np.nansum(y["tags"][:, 0])
    )
    single = kt.attach(model.get_layer("backbone"), kt.heads.Classifier(3))
    assert command.training_counts(single, {None: y["colour"]})["classes"]["classifier"]["0"] == int(
        (y["colour"] == 0).sum()
    )


def test_the_history_of_a_run_and_of_a_run_without_one(run, tmp_path):
    logs = command.read_history(run)
    assert logs["phase"] == ["head", "tune"] and float(logs["loss"][0]) > 0
    assert command.read_history(tmp_path) is None


def test_a_run_of_an_earlier_version_is_read(run):
    about = command.about_run({"backbone": "MobileNet", "seed": 0}, None)
    assert about["training"] is None and about["data"] is None and about["options"] == {}
    assert command.about_run({"data": "/home/me/pets", "dropout": 0.2, "norms": True}, None)["options"] == {
        "Batch norms train": "yes",
        "Dropout in the heads": "0.2",
    }
