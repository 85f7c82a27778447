"""`keras-transfer features`: what a file of features holds, and that scikit-learn can use it."""

import csv

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer import cli
from keras_transfer.extracting import extract

SMALL = ["--backbone", "MobileNet", "--weights", "none", "--image-size", "32"]


@pytest.fixture(scope="module")
def table(photo_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "colour", "place", "marks"])
        for c in ("blue", "green", "red"):
            writer.writerows([f"{c}/{i:02d}.png", "" if i == 3 else c, "" if i == 4 else i, "odd" if i % 2 else "even|small"]
                             for i in range(12))
    return path


def test_a_folder_of_classes_as_npz(photo_folder, tmp_path, small_backbone, capsys):
    backbone = small_backbone()
    train, _, _ = kt.data.photos(photo_folder, size=16, validation=0)
    extract(backbone, train, tmp_path / "f.npz", store=kt.Store(engine="tensorflow"))
    found = np.load(tmp_path / "f.npz", allow_pickle=False)
    assert set(found.files) == {"features", "files", "label"} and found["features"].shape == (42, 12)
    assert [f.split("/")[-2] for f in found["files"]] == list(found["label"]) and len(set(found["label"])) == 3
    rows = np.array([5, 30])
    ((photos, _),) = kt.data.info(train).reader(rows, 2)
    np.testing.assert_allclose(found["features"][rows], backbone(photos, training=False), rtol=1e-4, atol=1e-5)
    assert np.abs(found["features"][5] - found["features"][30]).max() > 1e-2


def test_the_command_writes_parquet_with_labels_of_every_kind(table, photo_folder, tmp_path, capsys):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "f.parquet"
    arguments = ["features", str(table), "--images", str(photo_folder), "--to", str(path), "--targets", "colour:class",
                 "place:number", "marks:labels", *SMALL]
    assert cli.main(arguments) == 0
    assert f"36 photos, 1,024 features each, with files, colour, place, marks, marks_classes: {path}" in capsys.readouterr().out
    frame = pandas.read_parquet(path)
    assert list(frame.columns[:6]) == ["file", "colour", "place", "marks_even", "marks_odd", "marks_small"]
    assert len(frame) == 36 and frame.columns[-1] == "feature_1023"
    assert list(frame.colour[:5]) == ["blue", "blue", "blue", "", "blue"] and np.isnan(frame.place[4])
    assert list(frame.marks_odd[:3]) == [0, 1, 0] and list(frame.marks_small[:3]) == [1, 0, 1]


def test_the_command_writes_the_same_features_as_parquet_and_npz(photo_folder, tmp_path):
    """Of real weights, since an untrained network's features are all but 0."""
    pandas, arguments = pytest.importorskip("pandas"), ["--backbone", "EfficientNetLite0", "--image-size", "32"]
    for kind in ("parquet", "npz"):
        assert cli.main(["features", str(photo_folder), "--to", str(tmp_path / f"f.{kind}"), *arguments]) == 0
    frame, npz = pandas.read_parquet(tmp_path / "f.parquet"), np.load(tmp_path / "f.npz", allow_pickle=False)
    found = frame[[name for name in frame.columns if name.startswith("feature_")]].to_numpy()
    train, _, _ = kt.data.photos(photo_folder, size=32, validation=0)
    wanted, _ = kt.features(kt.backbone("EfficientNetLite0", input_shape=(32, 32, 3)), train)
    assert wanted.shape == (42, 1280) and wanted.std() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(npz["features"], wanted, rtol=1e-4, atol=1e-4)
    assert list(frame.file) == list(npz["files"]) and list(frame.label) == list(npz["label"])


def trained_on(pets, files):
    """Which of the files are in the table's part for training, bools."""
    parts = {row["file"]: row["split"] for row in csv.DictReader(open(pets / "labels.csv"))}
    return np.array([parts[str(file).split("/")[-1]] == "train" for file in files])


@pytest.mark.real_data
def test_either_engine_gives_the_same_accuracy_on_held_out_photos(real_data):
    linear_model, pets = pytest.importorskip("sklearn.linear_model"), real_data / "datasets" / "pets"
    photos, _, _ = kt.data.table(pets / "labels.csv", images="file", folder=pets / "images", targets={"breed": "class"},
                                 size=160, validation=0)
    train = trained_on(pets, kt.data.info(photos).files)
    backbone, found = kt.backbone("EfficientNetLite0", input_shape=(160, 160, 3)), {}
    for engine in ("tensorflow", "openvino"):
        x, y = kt.features(backbone, photos, store=kt.Store(engine=engine))
        head = linear_model.LogisticRegression(max_iter=1000).fit(x[train], y[train])
        found[engine] = (head.predict(x[~train]) == y[~train])
    print({engine: right.mean() for engine, right in found.items()})
    assert np.array_equal(*found.values()) and len(found["openvino"]) == 74 and found["openvino"].mean() > 0.6


@pytest.mark.real_data
def test_scikit_learn_learns_from_the_file(real_data, tmp_path, capsys):
    """Dogs from cats by a linear model on the features of real weights: nearly always right on held-out photos."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    pets = real_data / "datasets" / "pets"
    arguments = ["features", str(pets / "labels.csv"), "--images", str(pets / "images"), "--targets", "species:class",
                 "--to", str(tmp_path / "f.npz"), "--image-size", "160"]
    assert cli.main(arguments) == 0
    found = np.load(tmp_path / "f.npz", allow_pickle=False)
    train = trained_on(pets, found["files"])
    model = linear_model.LogisticRegression(max_iter=1000).fit(found["features"][train], found["species"][train])
    assert model.score(found["features"][~train], found["species"][~train]) > 0.9
    shuffled = np.random.default_rng(0).permutation(found["species"][train])
    control = linear_model.LogisticRegression(max_iter=1000).fit(found["features"][train], shuffled)
    assert control.score(found["features"][~train], found["species"][~train]) < 0.8


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_targets_of_any_name_that_is_free(kind, photo_folder, tmp_path):
    """Names that end like those of the file for several labels a photo are no different from others."""
    pytest.importorskip("pyarrow")
    import pandas

    path = tmp_path / "labels.csv"
    rows = [f"{c}/{i:02d}.png,{i},{'odd' if i % 2 else 'even|small'}" for c in ("blue", "red") for i in range(12)]
    path.write_text("\n".join(["file,num_classes,num", *rows]))
    read = {"num_classes": "number", "num": "labels"} if kind == "parquet" else {"num_classes": "number"}
    data, *_ = kt.data.table(path, images="file", folder=photo_folder, targets=read, size=16, validation=0)
    backbone = kt.backbone("MobileNet", input_shape=(32, 32, 3), weights=None)
    data, *_ = kt.data.table(path, images="file", folder=photo_folder, targets=read, size=32, validation=0)
    if kind == "parquet":
        with pytest.raises(ValueError, match="The name 'num_classes', of a target or one of its labels, is needed for something"):
            extract(backbone, data, tmp_path / "f.parquet")
        data, *_ = kt.data.table(path, images="file", folder=photo_folder, targets={"num_classes": "number"}, size=32, validation=0)
    extract(backbone, data, tmp_path / f"f.{kind}")
    found = np.load(tmp_path / "f.npz") if kind == "npz" else pandas.read_parquet(tmp_path / "f.parquet")
    assert sorted(found["num_classes"]) == sorted([*range(12)] * 2)


@pytest.mark.parametrize("name, kind", [("file", "npz"), ("allow_pickle", "npz"), ("features", "npz"), ("file", "parquet"),
                                        ("feature_0000", "parquet")])
def test_names_that_the_file_needs_are_refused_before_anything_is_computed(name, kind, photo_folder, tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([f"photo,{name}", *(f"blue/{i:02d}.png,{i}" for i in range(12))]))
    data, *_ = kt.data.table(path, images="photo", folder=photo_folder, targets={name: "number"}, size=16, validation=0)
    with pytest.raises(ValueError, match=f"The name '{name}', of a target"):
        extract(None, data, tmp_path / f"f.{kind}")
    assert [p.name for p in tmp_path.iterdir()] == ["labels.csv"]


@pytest.mark.parametrize("arguments, error", [
    (["{photos}", "--to", "f.csv"], "Unknown kind of file '.csv'. There is: .npz, .parquet"),
    (["{photos}", "--to", "nowhere.txt/f.npz"], "File exists: nowhere.txt. Choose another place"),
    (["{table}", "--to", "f.npz"], "so --targets must name what to learn"),
    (["nowhere", "--to", "f.npz"], "There is no file or folder 'nowhere'"),
])
def test_errors_leave_nothing_behind(arguments, error, table, photo_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere.txt").write_text("a file")
    given = [a.format(photos=photo_folder, table=table) for a in arguments]
    assert cli.main(["features", *given, *SMALL]) == 1
    assert error in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["nowhere.txt"]


def test_a_target_named_as_what_the_file_holds_is_refused(table, photo_folder, tmp_path, small_backbone):
    renamed = tmp_path / "labels.csv"
    renamed.write_text(table.read_text().replace("file,colour", "file,features"))
    train, *_ = kt.data.table(renamed, folder=photo_folder, targets={"features": "class"}, size=16, validation=0)
    with pytest.raises(ValueError, match="The name 'features', of a target or one of its labels, is needed"):
        extract(small_backbone(), train, tmp_path / "f.npz")
    assert not (tmp_path / "f.npz").exists()
