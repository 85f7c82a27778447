"""What the documents tell people to run, run: the README's code, the design's ideal code, the examples."""

import functools
import json
import os
import pathlib
import re
import runpy
import sys
import tarfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
import replicas
import saved_models
from support import colour_task

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with pets/, a table of photos with missing labels, and two single photos."""
    place = tmp_path_factory.mktemp("place")
    photos, colours = colour_task(48, seed=5, size=40)
    rows = ["file,breed,species,age"]
    for i, (photo, colour) in enumerate(zip(photos, colours)):
        for path in (place / "pets" / f"class{colour}" / f"{i:02d}.jpg", place / "photos" / f"{i:02d}.jpg"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_jpeg(photo.astype("uint8")).numpy())
        breed, species, age = f"breed{colour}", "cat" if i % 2 else "dog", f"{i % 7 + 0.5}"
        rows.append(",".join([f"{i:02d}.jpg", breed if i % 9 else "", species if i % 5 else "", age if i % 4 else ""]))
    (place / "labels.csv").write_text("\n".join(rows) + "\n")
    for name in ("tom.jpg", "rex.jpg"):
        (place / name).write_bytes((place / "photos" / "00.jpg").read_bytes())
    (place / "downloads").mkdir()
    with tarfile.open(place / "downloads" / "spotter.tar.gz", "w:gz") as archive:
        archive.add(saved_models.plain(place / "spotter"), ".")
    return place


@pytest.fixture
def small(monkeypatch, place):
    """What is stated beforehand: small photos and few epochs, so that documents run in seconds; no downloads."""
    monkeypatch.chdir(place)

    def shrunk(function, **changes):
        return lambda *args, **options: function(*args, **{**options, **changes})

    real = kt.backbone
    monkeypatch.setattr(
        kt,
        "backbone",
        lambda source, **options: (
            real(source)
            if source.startswith("hub:")
            else real(
                source,
                **{
                    **options,
                    "input_shape": (32, 32, 3),
                    "weights": "pretrained" if source == "EfficientNetLite0" else None,
                },
            )
        ),
    )
    monkeypatch.setattr(kt.data, "photos", shrunk(kt.data.photos, size=32))
    monkeypatch.setattr(kt.data, "table", shrunk(kt.data.table, size=32))
    monkeypatch.setattr(kt, "fine_tune", shrunk(kt.fine_tune, head_epochs=1, epochs=1, verbose=0))
    fit = keras.Model.fit

    @functools.wraps(fit)  # learners read its signature
    def short(self, *a, **o):
        return fit(self, *a, **{**o, "epochs": min(2, o.get("epochs", 1)), "verbose": 0})

    monkeypatch.setattr(keras.Model, "fit", short)


@pytest.mark.slow
def test_the_code_of_the_readme_runs(small, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    names, outputs = {}, []
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
        outputs.append(sorted(names["model"].output_names))
    assert len(blocks) >= 4 and ["age", "breed", "species"] in outputs and outputs[-1] == ["classifier"]
    said = capsys.readouterr().out
    assert set(tf.saved_model.load("served/pets/1").signatures) == {
        "serving_default",
        "pixels",
        "pixels_uint8",
        "features",
    }
    assert "signature 'serving_default'" in said and len(names["model"].trainable_variables) == 4
    assert "tom.jpg" in said and pathlib.Path("report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_readme_has_its_two_commands_each_on_its_line():
    assert re.findall(r"^python -m pip install .*$", README, re.M) == [
        'python -m pip install ".[quickstart]" && keras-transfer demo',
        'python -m pip install ".[test]" && python -m pytest',
    ]


@pytest.mark.slow
def test_a_folder_of_photos_as_in_the_design(small):
    train, valid, labels = kt.data.photos("pets/", size=160, validation=0.2)
    model = kt.attach(kt.backbone("MobileNetV2", input_shape=(160, 160, 3)), kt.heads.Classifier(labels))
    history = kt.fine_tune(model, train, valid, head_epochs=10, epochs=5)
    assert history.history["phase"] == ["head", "tune"] and labels == ["class0", "class1", "class2"]
    kt.report(model, valid, "report.html", history=history)
    page = pathlib.Path("report.html").read_text(encoding="utf-8")
    assert "<h1>Report on MobileNetV2: classifier</h1>" in page and "class0" in page and 'id="training"' in page
    kt.freeze(model)
    model.compile(optimizer="adam", **kt.objectives(model))
    model.fit(train, epochs=5, validation_data=valid)
    kt.unfreeze(model, last=30)
    before = [w.numpy() for w in model.weights]
    model.compile(optimizer=kt.layerwise(keras.optimizers.Adam(1e-4), model), **kt.objectives(model))
    model.fit(train, epochs=5)
    moved = [w.path for w, b in zip(model.weights, before) if not np.array_equal(w.numpy(), b)]
    # an untrained network has features near 0: not all that may train gets a gradient, but nothing else does
    assert (
        {"classifier/output/kernel", "block_16_project/kernel"}
        <= set(moved)
        <= {w.path for w in model.trainable_weights}
    )


@pytest.mark.slow
def test_several_tasks_from_one_table_as_in_the_design(small):
    train, valid, labels = kt.data.table(
        "labels.csv", images="file", folder="photos", targets={"breed": "class", "species": "class", "age": "number"}
    )
    heads = {
        "breed": kt.heads.Classifier(labels["breed"]),
        "species": kt.heads.Classifier(labels["species"], loss_weight=0.5),
        "age": kt.heads.Regressor(labels["age"]),
    }
    model = kt.attach(kt.backbone("EfficientNetLite0"), heads)
    model.compile(optimizer="adam", **kt.objectives(model))
    logs = model.fit(train, epochs=10, validation_data=valid).history
    assert np.isfinite(logs["loss"]).all() and {"val_breed_accuracy", "val_species_loss", "val_age_mae"} <= set(logs)
    assert logs["loss"][-1] < logs["loss"][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "script, arguments, said",
    [
        ("photos.py", ["pets", "tom.jpg"], "tom.jpg"),
        ("by_hand.py", ["pets"], "learning rate: "),
        ("features.py", ["pets", "features"], "scikit-learn on 1280 features: "),
        ("cluster.py", ["pets", "checkpoints_of_two", "served_by_two"], "training on 1 replica(s)"),
        ("multitask.py", ["labels.csv", "photos", "breed:class", "species:class", "age:number"], "Mean gain: "),
        ("several_tasks.py", ["labels.csv", "photos", "breed", "species"], "species held-out accuracy"),
    ],
)
def test_examples_run(small, script, arguments, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_the_script_for_a_cluster_runs_on_two_workers(place, tmp_path):
    """Both tell the same evaluation, and the chief alone leaves an export."""
    script = [sys.executable, str(ROOT / "examples" / "cluster.py"), str(place / "pets")]
    said = replicas.finish(replicas.start([*script, str(tmp_path / "checkpoints"), str(tmp_path / "served")], 2))
    assert all("training on 2 replica(s)" in text for text in said)
    (first,), (second,) = (re.findall(r"^{.*'accuracy'.*}$", text, re.M) for text in said)
    assert first == second and os.listdir(tmp_path / "served") == ["1"]


def test_the_table_of_the_benchmarks_is_what_their_script_makes():
    folder = ROOT / "benchmarks"
    speed, results = runpy.run_path(str(folder / "speed.py")), json.loads((folder / "speed.json").read_text())
    assert f"<!-- table -->\n{speed['table'](results)}\n<!-- /table -->" in (folder / "README.md").read_text()
    assert results.keys() == speed["ROWS"].keys() - speed["OF"].keys()  # nothing is left of rows that are no more
