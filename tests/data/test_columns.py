"""Tables from files, frames and lists of rows."""

import numpy as np
import pandas as pd
import pytest

from keras_transfer.data.columns import read


def write(folder, text, encoding="utf-8"):
    (folder / "labels.csv").write_bytes(text.encode(encoding))
    return folder / "labels.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_with_any_usual_separator(tmp_path, separator):
    text = 'file,kind,tags\na b.jpg,cat,"x,y"\n\nü.jpg, NaN ,\n'.replace(",", separator)
    table = read(write(tmp_path, text))
    assert table.cells == {"file": ["a b.jpg", "ü.jpg"], "kind": ["cat", None], "tags": [f"x{separator}y", None]}
    assert table.places == ["line 2", "line 4"] and table.folder == tmp_path


def test_csv_from_spreadsheets_has_a_byte_order_mark_and_windows_lines(tmp_path):
    assert read(write(tmp_path, "file,kind\r\na.jpg,cat\r\n", "utf-8-sig")).cells == {
        "file": ["a.jpg"],
        "kind": ["cat"],
    }


@pytest.mark.parametrize(
    "text, encoding, words",
    [
        ("", "utf-8", "labels.csv' is empty; it needs a header and a row for each photo"),
        ("\n \n", "utf-8", "is empty"),
        ("file,kind\n", "utf-8", "labels.csv' has no rows; it needs a header and a row"),
        ("file,kind\nä.jpg,cat", "latin-1", 'isn\'t a text file in UTF-8 .* at byte 10.; save it as "CSV UTF-8"'),
        (
            "file,kind\na.jpg,cat,dog\n",
            "utf-8",
            "line 2: 3 cells, but the header has 2; put cells that hold the separator",
        ),
        ("file,kind\na.jpg\n", "utf-8", "line 2: 1 cells, but the header has 2"),
        ("file,kind,kind\na.jpg,cat,dog\n", "utf-8", "has the column 'kind' twice; rename one of them"),
    ],
)
def test_bad_csv(tmp_path, text, encoding, words):
    with pytest.raises(ValueError, match=words):
        read(write(tmp_path, text, encoding))


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file '.*none.csv'."):
        read(tmp_path / "none.csv")
    with pytest.raises(IsADirectoryError, match="is a folder; `table` reads a CSV file, `photos` a folder of photos"):
        read(tmp_path)


def test_csv_needs_no_pandas(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    assert read(str(write(tmp_path, "file\na.jpg\n"))).cells == {"file": ["a.jpg"]}


def test_frames_and_rows_agree():
    rows = [{"file": "a.jpg", "age": 3.0, "tags": ["x"]}, {"file": "b.jpg", "age": np.nan}, {"file": "c", "tags": []}]
    frame, plain = read(pd.DataFrame(rows)), read(rows)
    assert (
        frame.cells
        == plain.cells
        == {"file": ["a.jpg", "b.jpg", "c"], "age": [3.0, None, None], "tags": [["x"], None, []]}
    )
    assert frame.places == plain.places == ["row 0", "row 1", "row 2"]


def test_the_missing_values_of_pandas():
    frame = pd.DataFrame(
        {
            "a": pd.array([1, None], "Int64"),
            "b": pd.Categorical(["x", None]),
            "c": pd.to_datetime(["2020-01-01", None]),
            "d": np.array([1, np.nan], "float32"),
        },
        index=["first", "second"],
    )
    table = read(frame)
    assert [cells[1] for cells in table.cells.values()] == [None] * 4 and table.cells["a"][0] == 1
    assert table.places == ["row 'first'", "row 'second'"]


def test_twice_the_same_column_in_a_frame():
    with pytest.raises(ValueError, match="the DataFrame has the column 'a' twice"):
        read(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_a_missing_column_gets_the_nearest_name():
    table = read([{"file": "a.jpg", "breed": "pug"}])
    assert table.column("breed", "targets") == ["pug"]
    with pytest.raises(
        ValueError, match="the list of rows has no column 'bred', named by `targets`. Did you mean 'breed'?"
    ):
        table.column("bred", "targets")


@pytest.mark.parametrize("source", [3, None, ["a.jpg"], {"file": ["a.jpg"]}])
def test_other_sources_are_refused(source):
    with pytest.raises(
        ValueError, match="`source` must be the path of a CSV file, a pandas DataFrame or a list of dicts"
    ):
        read(source)
