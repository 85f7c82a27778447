"""A table that a person can read and pandas can take."""
import csv
import io


class Table(list):
    """A list of dicts with the same keys, printed as aligned columns.

    `pandas.DataFrame(table)` gives a data frame; `table[0]["name"]` is a cell.

    Args:
        rows: dicts, one a row, all with the keys of the first one.
    """

    @property
    def columns(self):
        """The column names, in order."""
        return list(self[0]) if self else []

    def to_csv(self):
        """Returns the table as CSV text with a header line."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self)
        return text.getvalue()

    def __str__(self):
        cells = [self.columns, *([_shown(v) for v in row.values()] for row in self)]
        numeric = [all(isinstance(row[c], (int, float)) for row in self) for c in self.columns]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = ["  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric)).rstrip()
                 for line in cells]
        return "\n".join(lines) if self else "(no rows)"

    __repr__ = __str__


def _shown(value):
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
