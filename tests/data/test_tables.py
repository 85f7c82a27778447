"""Tables of photos: several targets, gaps, splits, and what bad ones are told."""

import csv

import numpy as np
import pandas as pd
import pytest

from keras_transfer.data import info, table

TARGETS = {"kind": "class", "age": "number", "tags": "labels"}


def with_split(rows, words):
    return [{**row, "part": words[k % len(words)]} for k, row in enumerate(rows)]


def test_several_targets_with_gaps(rows, pets):
    train, valid, labels = table(rows, targets=TARGETS, folder=pets, size=4, validation=0)
    ages = [row["age"] for row in rows if row["age"] is not None]
    assert valid is None and labels["kind"] == ["cat", "dog"] and labels["tags"] == ["big", "old"]
    assert labels["age"] == {"mean": pytest.approx(np.mean(ages)), "std": pytest.approx(np.std(ages))}
    known = info(train)
    assert list(known.targets) == list(TARGETS) and known.labels == labels
    seen = 0
    for x, y in train:
        assert set(y) == set(TARGETS) and y["kind"].dtype == "int32" and y["age"].dtype == y["tags"].dtype == "float32"
        for photo, kind, age, tags in zip(x.numpy(), y["kind"].numpy(), y["age"].numpy(), y["tags"].numpy()):
            row = rows[round(float(photo[0, 0, 0])) - 1]  # the pets' red is their number from 1
            assert kind == (-1 if row["kind"] is None else labels["kind"].index(row["kind"]))
            np.testing.assert_array_equal(age, np.nan if row["age"] is None else np.float32(row["age"]))
            expected = {None: [np.nan] * 2, "old|big": [1, 1], "[]": [0, 0]}[row["tags"]]
            np.testing.assert_array_equal(tags, expected)
            seen += 1
    assert seen == 30


def test_a_csv_file_beside_its_photos_gives_the_same_as_rows_and_frames(rows, pets):
    with open(pets / "labels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    sets = [
        table(pets / "labels.csv", targets=TARGETS, size=4),
        table(rows, targets=TARGETS, folder=pets, size=4),
        table(pd.DataFrame(rows), targets=TARGETS, folder=str(pets), size=4),
    ]
    assert len({info(one[0]).fingerprint for one in sets}) == 1 and len({info(one[1]).fingerprint for one in sets}) == 1
    assert sets[0][2] == sets[1][2] == sets[2][2]


def test_one_target_is_yielded_itself(rows, pets):
    train, valid, labels = table(rows, targets={"kind": "class"}, folder=pets, size=4, batch_size=30)
    assert labels == ["cat", "dog"] and next(iter(train))[1].shape == (24,) and list(info(valid).targets) == ["kind"]
    train, _, labels = table(rows, targets={"age": "number"}, folder=pets, size=4)
    assert set(labels) == {"mean", "std"} and next(iter(train))[1].dtype == "float32"


def test_the_split_is_stratified_by_the_first_class_target(rows, pets):
    full = [{**row, "kind": row["file"][:3]} for row in rows]
    train, valid, _ = table(full, targets={"age": "number", "kind": "class"}, folder=pets, size=4, test=0.1)
    test, _ = table(full, targets={"age": "number", "kind": "class"}, folder=pets, size=4, test=0.1, part="test")
    assert [np.bincount(info(one).targets["kind"]).tolist() for one in (train, valid, test)] == [
        [14, 7],
        [4, 2],
        [2, 1],
    ]
    assert len({file for one in (train, valid, test) for file in info(one).files}) == 30


def test_classes_of_one_photo_each_can_not_be_divided(rows, pets):
    unique = [{**row, "kind": str(k)} for k, row in enumerate(rows)]
    with pytest.raises(ValueError, match="No class has photos enough to train on .*: 30 photos of 30 classes"):
        table(unique, targets={"kind": "class"}, folder=pets, size=4)
    train, valid, _ = table(unique, targets={"kind": "class"}, folder=pets, size=4, validation=0)
    assert valid is None and len(info(train).files) == 30


def test_rows_of_one_photo_stay_together(rows, pets):
    train, valid, _ = table(rows + rows, targets={"age": "number"}, folder=pets, size=4)
    assert len(info(train).files) == 48 and not set(info(train).files) & set(info(valid).files)


def test_a_split_column(rows, pets):
    table_of = with_split(rows, ["train", "Validation", "test", "train", "val"])
    train, valid, _ = table(table_of, targets={"kind": "class"}, split="part", folder=pets, size=4)
    test, _ = table(table_of, targets={"kind": "class"}, split="part", folder=pets, size=4, part="test")
    assert [len(info(one).files) for one in (train, valid, test)] == [12, 12, 6]
    assert info(test).files == [str(pets / row["file"]) for row in table_of if row["part"] == "test"]


def test_a_split_column_without_valid_rows(rows, pets):
    options = {"targets": {"kind": "class"}, "split": "part", "folder": pets, "size": 4}
    table_of = with_split(rows, ["train", "train", "test"])
    train, valid, _ = table(table_of, **options)
    assert valid is None and len(info(train).files) == 20
    less, valid, _ = table(table_of, **options, validation=0.25)
    assert set(info(less).files) | set(info(valid).files) == set(info(train).files)
    assert 4 <= len(info(valid).files) <= 6
    with pytest.raises(
        ValueError, match="`validation` can't be given here: the `split` column 'part' names valid rows"
    ):
        table(with_split(rows, ["train", "valid"]), **options, validation=0.2)
    with pytest.raises(ValueError, match="`test` can't be given with a `split` column: 'part' names the test rows"):
        table(table_of, **options, test=0.2)


def test_numbers_are_described_over_the_train_rows_and_names_over_all(rows, pets):
    table_of = [
        {
            "file": row["file"],
            "age": k,
            "kind": "rare" if k == 1 else row["file"][:3],
            "part": "test" if k % 2 else "train",
        }
        for k, row in enumerate(rows)
    ]
    options = {"targets": {"age": "number", "kind": "class"}, "split": "part", "folder": pets, "size": 4}
    with pytest.warns(UserWarning, match="column 'kind': no training row has the class 'rare', so it can't be learnt"):
        _, _, labels = table(table_of, **options)
    assert labels["age"]["mean"] == np.mean(range(0, 30, 2)) and labels["kind"] == ["cat", "dog", "rare"]
    assert table(table_of, **options, part="test")[1] == labels


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"targets": {"knid": "class"}}, ValueError, "has no column 'knid', named by `targets`. Did you mean 'kind'?"),
        ({"images": "fiel"}, ValueError, "has no column 'fiel', named by `images`. Did you mean 'file'?"),
        ({"split": "part"}, ValueError, "has no column 'part', named by `split`. There is: file, kind, age, tags"),
        (
            {"targets": {"kind": "classes"}},
            ValueError,
            "Unknown kind of target 'kind': 'classes'. Did you mean 'class'?",
        ),
        ({"targets": ["kind"]}, ValueError, "`targets` must be a dict .column: kind. .* Received: .'kind'."),
        ({"targets": {}}, ValueError, "`targets` must be a dict"),
        ({"images": "age"}, ValueError, "row 0: None is no path"),
        ({"split": "kind"}, ValueError, "column 'kind', row 0: None is not a part; write train, valid or test"),
        ({"split": "tags"}, ValueError, "column 'tags', row 0: None is not a part"),
        (
            {"folder": "/nowhere"},
            FileNotFoundError,
            r"30 of 30 photos named by the list of rows aren't in '/nowhere' .see `fo",
        ),
        ({"batchsize": 3}, TypeError, r"table\(\) has no argument 'batchsize'. Did you mean 'batch_size'"),
        ({"fit": "zoom"}, ValueError, "Unknown fit 'zoom'"),
    ],
)
def test_bad_arguments(rows, pets, options, error, words):
    with pytest.raises(error, match=words):
        table(rows, **{"targets": {"kind": "class"}, "folder": pets, "size": 4, **options})


def test_an_unknown_word_of_a_split_is_named_with_its_line(rows, pets):
    with open(pets / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["file", "kind", "part"], ["cat/0.png", "cat", "train"], ["dog/0.png", "dog", "tran"]])
    with pytest.raises(ValueError, match="column 'part', line 3: 'tran' is not a part; write train, valid or test"):
        table(pets / "labels.csv", targets={"kind": "class"}, split="part")


def test_missing_photos_are_listed_or_skipped(rows, pets):
    broken = rows + [{"file": f"none {k}.png", "kind": "cat", "age": 1, "tags": None} for k in range(12)]
    with pytest.raises(FileNotFoundError, match="12 of 42 photos .* none 0.png, .*none 9.png, ... and 2 more"):
        table(broken, targets=TARGETS, folder=pets, size=4)
    with pytest.warns(UserWarning, match="12 of 42 photos can't be read and are left out:\n  none 0.png: FileNotFound"):
        train, valid, _ = table(broken, targets=TARGETS, folder=pets, size=4, on_error="skip")
    assert len(info(train).files) + len(info(valid).files) == 30 and len(info(train).skipped) == 12


def test_bad_photos_take_their_labels_with_them(rows, pets):
    (pets / "cat/1.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 30 photos"):
        train, _, labels = table(rows, targets=TARGETS, folder=pets, size=4, on_error="skip", validation=0)
    ages = [row["age"] for k, row in enumerate(rows) if row["age"] is not None and k != 1]
    assert labels["age"]["mean"] == pytest.approx(np.mean(ages)) and len(info(train).targets["age"]) == 29
    with pytest.raises(ValueError, match="1 of 30 photos can't be read.*\n  cat/1.png: an empty file"):
        table(rows, targets=TARGETS, folder=pets, size=4)


def test_the_real_pets(real_data):
    folder = real_data / "datasets" / "pets"
    options = {
        "folder": folder / "images",
        "split": "split",
        "size": 64,
        "targets": {"breed": "class", "species": "class", "xmin": "number"},
    }
    train, valid, labels = table(folder / "labels.csv", **options)
    test, _ = table(folder / "labels.csv", **options, part="test")
    assert (len(info(train).files), valid, len(info(test).files)) == (148, None, 74)
    assert len(labels["breed"]) == 37 and labels["species"] == ["cat", "dog"]
    assert 0 < labels["xmin"]["mean"] < 1 and sum(len(x) for x, _ in test) == 74
