"""A CSV file, a data frame or a list of rows, as columns of cells."""
import csv
import dataclasses
import numbers
import os
import pathlib

from .. import _check


@dataclasses.dataclass(frozen=True)
class Columns:
    """A table.

    Attributes:
        cells: `{column: list}`; a missing cell is None.
        places: how an error names each row: "line 7", "row 3".
        title: how an error names the table.
        folder: the folder of the file, or the current one.
    """

    cells: dict
    places: list
    title: str
    folder: pathlib.Path

    def column(self, name, argument):
        """Returns a column, or refuses its name, which the `argument` gave."""
        if name not in self.cells:
            raise ValueError(f"{self.title} has no column {name!r}, named by `{argument}`."
                             f"{_check.suggestion(name, self.cells)}")
        return self.cells[name]

    def paths(self, name, argument):
        """Returns a column of paths, or refuses a cell that is none."""
        for cell, place in zip(cells := self.column(name, argument), self.places):
            if not isinstance(cell, (str, os.PathLike)):
                raise ValueError(f"{self.title}, column {name!r}, {place}: {cell!r} is no path of a photo.")
            _check.utf8(cell)
        return cells


def read(source):
    """Reads a table: the path of a CSV file, a pandas DataFrame, or a list of dicts.

    Cells that are empty, None, NaN or the word "nan" are missing.
    """
    if isinstance(source, (str, os.PathLike)):
        names, rows, places = _csv(pathlib.Path(source))
        title, folder = f"{str(source)!r}", pathlib.Path(source).parent
    elif isinstance(source, (list, tuple)) and all(isinstance(row, dict) for row in source):
        names = list(dict.fromkeys(name for row in source for name in row))
        rows = [[row.get(name) for name in names] for row in source]
        title, folder, places = "the list of rows", pathlib.Path(), [f"row {k}" for k in range(len(rows))]
    elif hasattr(source, "columns") and hasattr(source, "itertuples"):
        names = list(source.columns)
        rows = [list(row) for row in source.itertuples(index=False, name=None)]
        title, folder, places = "the DataFrame", pathlib.Path(), [f"row {label!r}" for label in source.index]
    else:
        raise ValueError("`source` must be the path of a CSV file, a pandas DataFrame or a list of dicts. "
                         f"Received: {type(source).__name__}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{title} has the column {twice[0]!r} twice; rename one of them.")
    if not rows:
        raise ValueError(f"{title} has no rows; it needs a header and a row for each photo.")
    cells = {name: [_cell(row[k]) for row in rows] for k, name in enumerate(names)}
    return Columns(cells, places, title, folder)


def _csv(path):
    """Returns the header, the rows and their places."""
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; `table` reads a CSV file, `photos` a folder of photos.")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count))
            lines = [(f"line {reader.line_num}", row) for row in reader if any(cell.strip() for cell in row)]
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} isn't a text file in UTF-8 ({error.reason} at byte {error.start}); save it as "
                         "\"CSV UTF-8\".") from error
    except csv.Error as error:
        raise ValueError(f"{str(path)!r} can't be read as CSV: {error}.") from error
    if not lines:
        raise ValueError(f"{str(path)!r} is empty; it needs a header and a row for each photo.")
    names = [name.strip() for name in lines[0][1]]
    for place, row in lines[1:]:
        if len(row) != len(names):
            raise ValueError(f"{str(path)!r}, {place}: {len(row)} cells, but the header has {len(names)}; put cells that "
                             "hold the separator into double quotes.")
    return names, [row for _, row in lines[1:]], [place for place, _ in lines[1:]]


def _cell(value):
    """Returns None for a missing cell and strips text."""
    if isinstance(value, str):
        return None if value.strip().lower() in ("", "nan") else value.strip()
    not_a_number = isinstance(value, numbers.Real) and value != value
    return None if not_a_number or type(value).__name__ in ("NAType", "NaTType") else value
