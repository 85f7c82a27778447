import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from keras_transfer.reporting import figures, plots


def drawn():
    return plots.lines(
        {"training": [3, 2, float("nan"), 1], "validation": [3, 2.5, 2, 2]}, 'loss < 4 & "falls"', border=2
    )


def test_a_plot_is_xml_described_without_a_header_and_loads_nothing():
    svg = drawn()
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and root.get("aria-label") == 'loss < 4 & "falls"'
    assert svg.startswith("<svg") and "<metadata" not in svg and "DOCTYPE" not in svg
    assert set(re.findall(r"https?://[^\"]*", svg)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    texts = {"".join(t.itertext()).strip() for t in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"epoch", "head", "tune", "training", "validation"} <= texts
    alone = ElementTree.fromstring(plots.lines({"training": [3, 2]}, "loss"))  # without a border and a legend
    texts = {"".join(t.itertext()).strip() for t in alone.iter("{http://www.w3.org/2000/svg}text")}
    assert not {"head", "tune", "training"} & texts


def test_colours_are_those_of_the_page():
    svg = drawn()
    assert {"var(--one)", "var(--two)", "var(--ink)", "var(--soft)", "var(--line)"} <= set(
        re.findall(r"var\(--\w+\)", svg)
    )
    assert not re.search("|".join(plots._COLOURS), svg)
    assert "font-family" not in svg and "DejaVu" not in svg


def test_names_within_two_plots_of_a_page_differ_and_are_found():
    first, second = drawn(), drawn()
    names = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in (first, second)]
    assert names[0] and not names[0] & names[1]
    for svg, own in zip((first, second), names):
        used = set(re.findall(r'(?:url\(|href=")#([^")]*)', svg))
        assert used and used <= own


def test_a_log_axis_has_powers_of_ten():
    values = {"training": [1e-3, 1e-3, 1e-5]}
    assert "10^{-5}" in plots.lines(values, "rate", log=True)
    assert "10^{-5}" not in plots.lines(values, "rate")


def test_reliability_and_scatter():
    bins = figures.reliability([0.2, 0.9, 0.95], [0, 1, 1])
    assert 'aria-label="bins"' in plots.reliability(bins, "bins", ("confidence", "accuracy"))
    many = plots.scatter(np.arange(5000.0), np.arange(5000.0), "numbers")
    assert 1500 < many.count("<use") < 2100  # every third of 5,000 points, and the axes
    assert plots.scatter(np.array([1.0]), np.array([1.0]), "one").startswith("<svg")


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "keras-transfer\[report\]"'):
        drawn()
