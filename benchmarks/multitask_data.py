"""The data of the multi-task benchmark, as arrays: x and `{task: labels}` for training and for testing."""

import csv
import gzip
import pathlib

import numpy as np

import keras_transfer as kt

NUMBERS = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")
WORDS = ("workclass", "education", "occupation", "race", "sex", "native_country")


def census(folder):
    """Adult census: income over 50,000 dollars, and whether a person never married.

    `relationship` is left out, since it nearly tells the marital status (husband, wife), and so is the sampling weight.
    """
    tables = []
    for part in ("train", "test"):
        with gzip.open(pathlib.Path(folder, "adult_census", f"adult_{part}.csv.gz"), "rt", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    numbers = [np.array([[np.log1p(float(row[name])) for name in NUMBERS] for row in rows]) for rows in tables]
    mean, std = numbers[0].mean(0), numbers[0].std(0)
    values = [(name, value) for name in WORDS for value in sorted({row[name] for row in tables[0]})]
    x = [np.hstack([(n - mean) / std, [[row[name] == value for name, value in values] for row in rows]]).astype("float32")
         for n, rows in zip(numbers, tables)]
    y = [{"income": np.array([row["income"].startswith(">50K") for row in rows], "int32"),
          "never_married": np.array([row["marital_status"] == "Never-married" for row in rows], "int32")} for rows in tables]
    return x[0], y[0], x[1], y[1]


def school(folder, seed):
    """School: exam scores of the pupils of 139 schools; a quarter of each school's pupils are for testing.

    Returns:
        x, scores (standardized), the number of each row's school, and whether it's for testing.
    """
    data = np.load(pathlib.Path(folder, "school", "school_139_tasks.npz"))
    starts, x, y = data["offsets"], data["x"].astype("float32"), data["y"].astype("float32")
    schools = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    random, test = np.random.default_rng(seed), np.zeros(len(x), bool)
    for number in range(len(starts) - 1):
        rows = random.permutation(np.flatnonzero(schools == number))
        test[rows[:len(rows) // 4]] = True
    mean, std = x[~test].mean(0), x[~test].std(0)
    x = (x - mean) / np.where(std > 0, std, 1)
    y = (y - y[~test].mean()) / y[~test].std()
    return x, y, schools, test


def yeast(folder):
    """Yeast: 14 functions of genes, each there or not."""
    data = np.load(pathlib.Path(folder, "yeast_14_labels", "yeast.npz"))
    named = [{f"function_{k}": labels[:, k].astype("int32") for k in range(14)} for labels in (data["y_train"], data["y_test"])]
    return data["x_train"], named[0], data["x_test"], named[1]


def pets(folder):
    """Pets: features of EfficientNetLite0 at 224 px, with breed, species and the box of the head."""
    folder = pathlib.Path(folder, "pets")
    sides = ("xmin", "ymin", "xmax", "ymax")
    targets = {"breed": "class", "species": "class", **dict.fromkeys(sides, "number")}
    options = {"targets": targets, "folder": folder / "images", "size": 224, "split": "split"}
    train, _, labels = kt.data.table(folder / "labels.csv", **options)
    test, _ = kt.data.table(folder / "labels.csv", part="test", **options)
    backbone, parts = kt.backbone("EfficientNetLite0"), []
    for part in (train, test):
        x, _ = kt.features(backbone, part)
        given = kt.data.info(part).targets
        box = np.stack([given[side] for side in sides], 1).astype("float32")
        parts += [x, {"breed": given["breed"], "species": given["species"], "box": box}]
    return *parts, labels
