"""Cells to arrays."""

import math

import numpy as np
import pytest

from keras_transfer.data.columns import read
from keras_transfer.data.targets import encode


def encoded(cells, kind, train=None):
    train = np.ones(len(cells), bool) if train is None else np.array(train)
    return encode(read([{"x": cell} for cell in cells]), "x", kind, train)


@pytest.mark.parametrize(
    "cells, numbers, names",
    [
        (["dog", None, "cat", "dog"], [1, -1, 0, 1], ["cat", "dog"]),
        (["b", "B", "ä", "10"], [2, 1, 3, 0], ["10", "B", "b", "ä"]),
        ([10, 9, None], [0, 1, -1], ["10", "9"]),
        ([1.0, math.nan, 2.0], [0, -1, 1], ["1", "2"]),
        ([True, False, None], [1, 0, -1], ["False", "True"]),
        (["1", "", "2", " nan"], [0, -1, 1, -1], ["1", "2"]),
    ],
)
def test_classes(cells, numbers, names):
    array, known = encoded(cells, "class")
    assert array.dtype == "int32" and array.tolist() == numbers and known == names


@pytest.mark.parametrize(
    "cells, words",
    [
        (
            [1, "1", "a"],
            "column 'x': holds numbers and text, and so 1 and \"1\" would be one class or two; make all cells",
        ),
        ([True, 1], "holds numbers and truth values"),
        ([["a"], ["b"]], "holds list, and so"),
        ([0.5, 1.0], 'the class 0.5 is a fraction; is it a "number" target?'),
        (["a", "a"], '1 classes .a.; a "class" target needs at least two'),
        ([None, ""], "0 classes .all cells are empty."),
    ],
)
def test_bad_classes(cells, words):
    with pytest.raises(ValueError, match=words):
        encoded(cells, "class")


def test_numbers_and_their_statistics_over_the_train_rows():
    array, known = encoded([1, "3.0", None, 100], "number", train=[True, True, True, False])
    np.testing.assert_array_equal(array, np.array([1, 3, np.nan, 100], "float32"))
    assert array.dtype == "float32" and known == {"mean": 2.0, "std": 1.0}


@pytest.mark.parametrize(
    "cells, words",
    [
        (["1", "3,5"], "column 'x', row 1: '3,5' is not a finite number; leave the cell empty if it is unknown"),
        ([1, math.inf], "row 1: inf is not a finite number"),
        (["tall", 1], "row 0: 'tall' is not a finite"),
        ([[1], 2], "row 0: .1. is not a finite"),
        ([None, None], "no train row has a number"),
        ([4, 4, None], "all 2 train rows with a number have 4; there is nothing to learn, leave this target out"),
    ],
)
def test_bad_numbers(cells, words):
    with pytest.raises(ValueError, match=words):
        encoded(cells, "number")


def test_no_statistics_without_train_rows():
    with pytest.raises(ValueError, match="no train row has a number"):
        encoded([1, 2, None], "number", train=[False, False, True])


@pytest.mark.parametrize(
    "cells",
    [
        ["red|round", "[]", None, "big"],
        ["red ; round", "[]", "", "big;big"],
        ["round,red", "[]", "nan", "big,"],
        [["red", "round"], [], None, ("big",)],
    ],
)
def test_several_labels_a_cell(cells):
    array, names = encoded(cells, "labels")
    assert names == ["big", "red", "round"] and array.dtype == "float32"
    np.testing.assert_array_equal(array, [[0, 1, 1], [0, 0, 0], [np.nan] * 3, [1, 0, 0]])


@pytest.mark.parametrize(
    "cells, words",
    [
        ([1, 2], '1 is no list of labels; write them as "red.round", or .. for none'),
        ([[1], ["a"]], "is no list of labels"),
        (["[]", None], "no cell names a label"),
    ],
)
def test_bad_labels(cells, words):
    with pytest.raises(ValueError, match=words):
        encoded(cells, "labels")
