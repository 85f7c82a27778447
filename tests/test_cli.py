"""The command line, run in this process and, where it counts, as a real command."""

import csv
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer import cli

SMALL = [
    "--backbone",
    "MobileNet",
    "--weights",
    "none",
    "--image-size",
    "32",
    "--head-epochs",
    "2",
    "--epochs",
    "1",
    "--batch-size",
    "8",
]


def training(photos, run):
    """The command of a small training, for a process of its own."""
    return [sys.executable, "-m", "keras_transfer.cli", "train", str(photos), "--output", str(run), *SMALL]


@pytest.fixture(scope="module")
def run(photo_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "colours"
    assert cli.main(["train", str(photo_folder), "--output", str(folder), "--test", "0.2", *SMALL]) == 0
    return folder


@pytest.fixture(scope="module")
def table(photo_folder, tmp_path_factory):
    """A CSV file with two targets, a missing label of each, and a split column."""
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    rows = [
        {
            "file": f"{c}/{i:02d}.png",
            "colour": "" if i == 3 else c,
            "place": "" if i == 4 else i,
            "part": "test" if i % 4 == 0 else "train",
        }
        for c in ("blue", "green", "red")
        for i in range(12)
    ]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_help_needs_no_tensorflow_and_has_examples(capsys):
    for arguments in (["--help"], ["train", "--help"], ["predict", "--help"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        said = capsys.readouterr().out
        assert ended.value.code == 0 and "examples:" in said and "keras-transfer" in said
    code = "import sys; from keras_transfer import cli; cli.parser(); sys.exit(any(m in sys.modules for m in ('keras', 'tensorflow', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_installed_command_answers():
    command = pathlib.Path(sys.executable).with_name("keras-transfer")
    done = subprocess.run([command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("usage: keras-transfer")


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["train", "x"], ["predict", "run"], ["train", "x", "--output", "y", "--fit", "no"]]
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2 and "usage: keras-transfer" in capsys.readouterr().err


def test_a_run_folder_holds_all_that_belongs_to_it(run):
    assert sorted(p.name for p in run.iterdir()) == [
        "config.json",
        "history.csv",
        "labels.json",
        "model.keras",
        "report.html",
    ]
    assert [p.name for p in run.parent.iterdir()] == ["colours"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Report on MobileNet: classifier" in page and "photos of the test set" in page and "Training photos" in page
    assert json.loads((run / "labels.json").read_text()) == ["blue", "green", "red"]
    config = json.loads((run / "config.json").read_text())
    assert config["backbone"] == "MobileNet" and config["image_size"] == [32, 32] and config["fit"] == "stretch"
    assert set(config["versions"]) == {"python", "keras-transfer", "tensorflow", "keras", "numpy"}
    assert config["training"]["photos"] == sum(config["training"]["classes"]["classifier"].values()) > 20
    assert config["results"][0]["part"] == "test" and 0 <= config["results"][0]["value"] <= 1
    rows = list(csv.DictReader(open(run / "history.csv")))
    assert [row["phase"] for row in rows] == ["head", "head", "tune"] and [row["epoch"] for row in rows] == [
        "1",
        "2",
        "3",
    ]
    assert float(rows[0]["loss"]) > 0


def test_predict_prints_and_writes_what_predict_gives(run, photo_folder, tmp_path, capsys):
    files = [str(photo_folder / "red" / "00.png"), str(photo_folder / "blue" / "01.png")]
    assert (
        cli.main(["predict", str(run), *files, "--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")])
        == 0
    )
    expected = kt.predict(run, files)
    assert capsys.readouterr().out.startswith(str(expected))
    assert json.loads((tmp_path / "a.json").read_text()) == expected
    rows = list(csv.DictReader(open(tmp_path / "a.csv")))
    assert [row["file"] for row in rows] == files and [row["label"] for row in rows] == [r["label"] for r in expected]
    assert cli.main(["predict", str(run), str(photo_folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 42


def test_evaluate_agrees_with_the_models_own_evaluation(run, photo_folder, tmp_path, capsys):
    assert cli.main(["evaluate", str(run), str(photo_folder), "--json", str(tmp_path / "e.json")]) == 0
    (score,) = json.loads((tmp_path / "e.json").read_text())
    said = kt.predict(run, photo_folder)
    right = np.mean([pathlib.Path(row["file"]).parent.name == row["label"] for row in said])
    assert (score["metric"], score["labels"], score["value"]) == ("accuracy", 42, pytest.approx(right))
    assert "Confusion of classifier:\ntrue \\ predicted" in capsys.readouterr().out


def test_a_table_with_two_targets_and_a_split_column(table, photo_folder, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = [
        "train",
        str(table),
        "--images",
        str(photo_folder),
        "--targets",
        "colour:class",
        "place:number",
        "--split",
        "part",
        "--output",
        str(run),
        "--flip",
        "--dropout",
        "0.1",
        *SMALL,
    ]
    assert cli.main(arguments) == 0
    assert "On the test photos, which were held out" in capsys.readouterr().out
    assert set(json.loads((run / "labels.json").read_text())) == {"colour", "place"}
    results = {row["head"]: row for row in json.loads((run / "config.json").read_text())["results"]}
    assert (results["colour"]["labels"], results["place"]["labels"]) == (9, 6)  # i = 4 has no place
    assert set(kt.predict(run, photo_folder / "red" / "00.png")[0]) == {"file", "colour", "colour_probability", "place"}
    assert cli.main(["evaluate", str(run), str(table), "--images", str(photo_folder), "--part", "test"]) == 0
    assert f"{results['place']['value']:.4g}" in capsys.readouterr().out
    assert cli.main(["evaluate", str(run), str(photo_folder)]) == 1
    assert "was trained on a table with the columns colour, place" in capsys.readouterr().err


@pytest.mark.slow
def test_one_target_of_a_table_and_class_weights(table, photo_folder, tmp_path):
    run = tmp_path / "run"
    assert (
        cli.main(
            [
                "train",
                str(table),
                "--images",
                str(photo_folder),
                "--targets",
                "colour:class",
                "--balance",
                "--output",
                str(run),
                *SMALL,
            ]
        )
        == 0
    )
    assert list(kt.predict(run, photo_folder / "red" / "00.png")[0]) == ["file", "label", "probability"]


@pytest.mark.parametrize(
    "arguments, error",
    [
        (["train", "nowhere", "--output", "out"], "There is no file or folder 'nowhere'"),
        (["train", "{photos}", "--output", "{run}"], "exists already, and nothing is overwritten"),
        (
            ["train", "{photos}", "--output", "out", "--targets", "a:class"],
            "is a folder, whose folders are the classes: leave --targets out",
        ),
        (["train", "{table}", "--output", "out"], "is a table, so --targets must name what to learn"),
        (
            ["train", "{table}", "--output", "out", "--targets", "colour"],
            "--targets takes COLUMN:KIND, such as breed:class",
        ),
        (
            ["train", "{table}", "--output", "out", "--targets", "colour:klass"],
            "Unknown kind of target 'colour': 'klass'. Did you mean 'class'",
        ),
        (
            ["train", "{table}", "--output", "out", "--targets", "color:class"],
            "no column 'color', named by `targets`. Did you mean 'colour'",
        ),
        (["train", "{table}", "--output", "out", "--targets", "colour:class"], "photos named by"),
        (["train", "{photos}", "--output", "out", "--backbone", "MobileNetv9"], "Did you mean 'MobileNet"),
        (
            [
                "train",
                "{photos}",
                "--output",
                "out",
                "--backbone",
                "MobileNet",
                "--weights",
                "none",
                "--image-size",
                "8",
            ],
            "32",
        ),
        (["train", "{photos}", "--output", "out", "--validation", "1.5"], "`validation` must be a share"),
        (["train", "{photos}", "--output", "out", "--last", "block99", *SMALL], "`last` names no layer or block"),
        (["predict", "nowhere", "x.jpg"], "'nowhere' is no run folder: it has no config.json"),
        (["predict", "{run}", "missing.jpg"], "There is no photo or folder 'missing.jpg'"),
        (["evaluate", "{run}", "{table}"], "was trained on a folder of classes"),
        (["backbones", "zzz*"], "zzz"),
    ],
)
def test_bad_data_exits_with_1_and_leaves_nothing(
    arguments, error, run, table, photo_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    places = {"{photos}": str(photo_folder), "{table}": str(table), "{run}": str(run)}
    assert cli.main([places.get(a, a) for a in arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("keras-transfer: ") and error in said and "Traceback" not in said
    assert os.listdir(tmp_path) == []


def test_bad_photos_are_refused_or_left_out(photo_folder, run, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_text("not a photo")
    good = str(photo_folder / "red" / "00.png")
    assert cli.main(["predict", str(run), good, str(bad)]) == 1
    assert "bad.jpg" in capsys.readouterr().err
    assert cli.main(["predict", str(run), good, str(bad), "--on-error", "skip"]) == 0
    seen = capsys.readouterr()
    assert len(seen.out.splitlines()) == 2
    assert (
        seen.err.startswith("keras-transfer: 1 of 2 photos can't be read and are left out:") and "bad.jpg" in seen.err
    )


@pytest.mark.slow
def test_a_full_disk_leaves_no_run_and_says_so(photo_folder, tmp_path):
    """A limit on the size of files stands for a full disk: the model can't be written."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); "
        "from keras_transfer.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train", str(photo_folder), "--output", str(tmp_path / "run"), *SMALL],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "keras-transfer: " in done.stderr and "File too large" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_stopped_with_control_c_it_says_how_to_go_on(monkeypatch, capsys):
    from keras_transfer import commands

    def stop(options):
        raise KeyboardInterrupt

    for name, arguments, goes_on in (("backbones", [], False), ("train", ["x", "--output", "y"], True)):
        monkeypatch.setattr(commands, name, stop)
        assert cli.main([name, *arguments]) == 130
        assert ("The same command goes on from the last whole epoch" in capsys.readouterr().err) == goes_on


@pytest.mark.slow
def test_a_killed_training_goes_on(photo_folder, tmp_path):
    arguments = [*training(photo_folder, tmp_path / "run"), "--head-epochs", "6"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / ".run.unfinished" / "checkpoint.npz"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (tmp_path / "run").exists()
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0 and "from epoch" in done.stdout
    assert len(list(csv.DictReader(open(tmp_path / "run" / "history.csv")))) == 7 and os.listdir(tmp_path) == ["run"]


def test_places():
    assert [cli._place(text) for text in ("30", "0.25", "block7a")] == [30, 0.25, "block7a"]


@pytest.mark.parametrize("column", ["my colour", "größe (cm)"])
def test_a_column_that_can_not_name_a_head(table, tmp_path, capsys, column):
    assert cli.main(["train", str(table), "--targets", f"{column}:class", "--output", str(tmp_path / "run")]) == 1
    assert f"A head can't be named {column!r}" in (said := capsys.readouterr().err) and "Rename the column in" in said


@pytest.mark.parametrize(
    "arguments, said", [(["--part", "test"], "`part` is for tables"), (["--images", "x"], "`images` is for tables")]
)
def test_a_folder_has_no_parts(run, photo_folder, capsys, arguments, said):
    assert cli.main(["evaluate", str(run), str(photo_folder), *arguments]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--split", "x"], "leave --split out"),
        (["--images", "x", "--column", "y"], "leave --images, --column out"),
        (["--norms", "--last", "nolayer"], "'nolayer'"),
    ],
)
def test_what_does_not_fit_is_said_before_training(photo_folder, tmp_path, capsys, arguments, said):
    assert cli.main(["train", str(photo_folder), "--output", str(tmp_path / "run"), *SMALL, *arguments]) == 1
    seen = capsys.readouterr()
    assert said in seen.err and "Epoch" not in seen.out and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rate", ["nan", "-1", "0", "fast"])
def test_rates_are_above_0(rate, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "x", "--output", "y", "--learning-rate", rate])
    assert ended.value.code == 2 and f"wanted is a number above 0, and '{rate}' came" in capsys.readouterr().err


def test_errors_are_one_sentence(capsys, monkeypatch):
    from keras_transfer import commands

    for error, said in (
        (KeyError("x"), "KeyError: 'x'. Set KERAS_TRANSFER_DEBUG=1"),
        (OSError(28, "No space left on device", "/disk/x"), "The disk is full (/disk/x). Make room"),
        (PermissionError(13, "Permission denied", "/x"), "Permission denied: /x. Choose another place"),
    ):

        def fail(options, error=error):
            raise error

        monkeypatch.setattr(commands, "backbones", fail)
        assert cli.main(["backbones"]) == 1
        assert capsys.readouterr().err.startswith(f"keras-transfer: {said}")
        monkeypatch.undo()


def test_a_run_is_not_overwritten_by_answers(run, photo_folder, capsys):
    labels = (run / "labels.json").read_bytes()
    photo = next(photo_folder.rglob("*.png"))
    assert cli.main(["predict", str(run), str(photo), "--json", str(run / "labels.json")]) == 1
    assert "lies in the run folder" in capsys.readouterr().err and (run / "labels.json").read_bytes() == labels


@pytest.mark.slow
def test_training_whose_reader_has_gone_ends_with_an_error(photo_folder, tmp_path):
    command = training(photo_folder, tmp_path / "run")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1 and "nobody reads what it says" in said and "Traceback" not in said


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"keras-transfer {kt.__version__}\n"


def several(table, photos, run, *more):
    targets = ["--targets", "colour:class", "place:number", "--split", "part"]
    return ["train", str(table), "--images", str(photos), *targets, "--output", str(run), *SMALL, *more]


@pytest.mark.slow
def test_several_targets_by_a_method_with_a_sharing_layer_and_against_each_alone(table, photo_folder, tmp_path, capsys):
    run = tmp_path / "run"
    more = ["--weighting", "pcgrad", "--sharing", "mmoe", "--at", "features", "--baselines"]
    assert cli.main(several(table, photo_folder, run, *more)) == 0
    said = capsys.readouterr().out
    assert "colour alone:" in said and "place alone:" in said and "Against a model for each target alone" in said
    config = json.loads((run / "config.json").read_text())
    assert [config[name] for name in ("weighting", "sharing", "at")] == ["PCGrad", "MMoE", "features"]
    results = {row["head"]: row["value"] for row in config["results"]}
    rows = {row["task"]: row for row in config["gain"]["rows"]} if config["gain"] else {}
    for task, row in rows.items():  # both were measured on the same photos
        assert row["multi-task"] == pytest.approx(results[task], rel=1e-4)
    assert rows or "No comparison with each target alone" in said  # an accuracy of 0 allows none
    history = list(csv.DictReader(open(run / "history.csv")))
    assert len(history) == 3 and all(float(row["colour_weight"]) >= 0 for row in history)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Tasks together" in page and "by PCGrad at the layer features" in page and "MMoE" in page
    assert "What each task counted: its weight, mean of the last epoch" in page
    assert set(kt.predict(run, photo_folder / "red" / "00.png")[0]) == {"file", "colour", "colour_probability", "place"}
    assert kt.load(run).get_layer("sharing").name == "sharing" and os.listdir(tmp_path) == ["run"]


@pytest.mark.slow
def test_a_method_that_keeps_gradients_is_made_for_the_second_phase(table, photo_folder, tmp_path):
    assert cli.main(several(table, photo_folder, tmp_path / "run", "--weighting", "dbmtl")) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["weighting"] == "DBMTL"


@pytest.mark.parametrize("more, error", [
    (["--weighting", "pcgard"], "Unknown weighting 'pcgard'. Did you mean 'PCGrad'"),
    (["--sharing", "mmo"], "Unknown sharing layer 'mmo'. Did you mean 'MMoE'"),
    (["--at", "features"], "--at says where a method compares gradients"),
])
def test_unknown_methods_are_refused_before_anything_is_read(table, photo_folder, tmp_path, capsys, more, error):
    assert cli.main(several(table, photo_folder, tmp_path / "run", *more)) == 1
    assert error in capsys.readouterr().err and os.listdir(tmp_path) == []
    folder = ["train", str(photo_folder), "--output", str(tmp_path / "run"), *SMALL]
    assert cli.main([*folder, "--weighting", "pcgrad"]) == 1
    assert "--weighting can be used with several targets only" in capsys.readouterr().err
