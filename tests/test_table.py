import pytest

from keras_transfer._table import Table

ROWS = Table(
    [
        {"name": "a", "count": 1234, "share": 0.25, "ok": True},
        {"name": "longer", "count": 5, "share": 2 / 3, "ok": None},
    ]
)


def test_columns_are_aligned_and_numbers_readable():
    assert str(ROWS).splitlines() == [
        "name    count   share  ok",
        "a       1,234    0.25  yes",
        "longer      5  0.6667",
    ]
    assert str(Table()) == "(no rows)" and Table().columns == []


def test_csv_quotes_what_needs_it():
    assert Table([{"a": 'x,"y"', "b": 1}]).to_csv() == 'a,b\n"x,""y""",1\n'


def test_pandas_takes_it():
    pandas = pytest.importorskip("pandas")
    assert list(pandas.DataFrame(ROWS)["count"]) == [1234, 5]
