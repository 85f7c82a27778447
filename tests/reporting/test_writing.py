"""The page as a whole: what is in it, that it stands alone, that nothing of the user's becomes code."""

import html.parser
import os
import re

import pytest

import keras_transfer as kt

EVIL = "<script>alert(1)</script>"

VOID = {"meta", "img", "br", "wbr", "hr", "link", "input"}


class Page(html.parser.HTMLParser):
    """What a page holds; complains of tags that aren't closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.headings, self.ids, self.links, self.title, self.scripts = [], [], [], [], [], "", 0
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [dict(attributes)["id"]] if "id" in dict(attributes) else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and re.fullmatch(r"h\d", self.open[-1]):
            self.headings.append((int(self.open[-1][1]), data))
        if self.open and self.open[-1] == "title" and "svg" not in self.open:
            self.title += data


@pytest.fixture(scope="module")
def page(several, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "deep" / "report.html"
    history = {
        "loss": [3.0, 2.0, 1.0],
        "val_loss": [3.0, 2.5, 2.0],
        "learning_rate": [1e-3, 1e-3, 1e-4],
        "phase": ["head", "head", "tune"],
    }
    report = kt.report(*several, path, history=history)
    assert report.path == path and os.listdir(path.parent) == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_a_comparison_with_each_task_alone_is_shown(several, tmp_path):
    runs = [[{"colour": {"accuracy": a}, "light": {"mae": m}} for a, m in pairs]
            for pairs in ([(0.5, 1.0), (0.6, 1.2)], [(0.7, 1.4), (0.9, 1.4)])]
    path = kt.report(*several, tmp_path / "a.html", comparison=kt.multitask.comparison(*runs)).path
    text = path.read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert "Tasks together" in text and "0.55 ± 0.0707" in text and "harmed light (-27.3 %)" in text
    with pytest.raises(TypeError, match="`comparison` must be what kt.multitask.gain or kt.multitask.comparison returned. Rec"):
        kt.report(*several, tmp_path / "b.html", comparison=runs)
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_it_is_whole_and_needs_nothing_else(page):
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>") and len(parsed.ids) == len(set(parsed.ids))
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "video"}
    for tag, attributes in parsed.tags:
        for key in ("src", "href", "xlink:href", "srcset"):
            assert attributes.get(key, "#").startswith(("#", "data:image/")), (tag, key)
        assert not any(key.startswith("on") for key in attributes)
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    assert set(re.findall(r"https?://[^\"' )<]*", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page


def test_names_of_classes_are_text(page):
    assert EVIL not in page and "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3 and "blue &amp; co" in page
    assert "undefined" not in page.lower() and "nan" not in re.findall(r">\s*(nan)\s*<", page)


def test_who_reads_with_the_ears_gets_titles_headings_in_order_and_words_for_pictures(page):
    parsed = Page(page)
    (first, attributes), *_ = parsed.tags
    assert (
        first == "html"
        and attributes["lang"] == "en"
        and parsed.title == "Report on a model of the user's own: colour, light, tags, level"
    )
    levels = [level for level, _ in parsed.headings]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))
    images = [a for tag, a in parsed.tags if tag == "img"]
    assert images and all(a["alt"] for a in images)
    drawn = [a for tag, a in parsed.tags if tag == "svg"]
    assert drawn and all(a["role"] == "img" and a["aria-label"] for a in drawn)
    targets = {a["href"][1:] for tag, a in parsed.tags if tag == "a"}
    assert {"overview", "training", "card", "head-1", "head-4"} <= targets <= set(parsed.ids)


def test_tables_lie_in_boxes_that_scroll_and_colours_fit_light_and_dark(page):
    boxes = re.findall(r'<div class="scroll[^"]*" tabindex="0" role="region" aria-label="[^"]+"><table', page)
    assert len(boxes) == page.count("<table") > 5
    assert (
        "prefers-color-scheme: dark" in page
        and 'name="viewport"' in page
        and ".scroll { overflow-x: auto; max-width: 100%;" in page
    )


def test_every_head_has_its_part(page):
    headings = [text for _, text in Page(page).headings]
    assert [h for h in headings if h in ("colour", "light", "tags", "level")] == ["colour", "light", "tags", "level"]
    assert (
        headings.count("Calibration") == 3
        and headings.count("What was taken for what") == 2
        and headings.count("Errors") == 1
    )
    assert "75 labels; 5 are missing and left out" in page and "39 labels; 1 are missing and left out" in page
    assert "over 10 bins of equal width" in page and "Mean error in ranks" in page and "Root mean squared" in page
    assert "To be filled in by whoever passes the model on" in page and "The dotted line parts the phase" in page


def test_a_page_that_is_there_is_replaced_or_left_alone_as_a_whole(several, tmp_path, monkeypatch):
    model, (x, y) = several
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="The labels of `dataset` for head 'colour' run from 0 to 9"):
        kt.report(model, (x, {**y, "colour": y["colour"] * 0 + 9 * (y["colour"] > 0)}), path)
    with pytest.raises(TypeError, match="`history` must be"):
        kt.report(model, (x, y), path, history=3)
    with pytest.raises(IsADirectoryError, match="is a folder. Give the name of a file, such as "):
        kt.report(model, (x, y), tmp_path)
    with pytest.raises(ValueError, match="is empty"):
        import tensorflow as tf

        kt.report(model, tf.data.Dataset.from_tensor_slices((x[:0], {k: v[:0] for k, v in y.items()})).batch(2), path)
    with pytest.raises(ValueError, match="The data set has no end"):
        kt.report(model, tf.data.Dataset.from_tensor_slices((x, y)).batch(2).repeat(), path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["report.html"]
    report = kt.report(model, (x, y), path)
    assert path.read_text().startswith("<!DOCTYPE html>") and 'id="training"' not in path.read_text()
    assert "srcdoc=" in report._repr_html_() and os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_what_is_missing_is_said_before_anything_is_computed(several, tmp_path, monkeypatch, module):
    import sys

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{module} is needed here .* pip install "keras-transfer\[report\]"'):
        kt.report(*several, tmp_path / "report.html")
    assert os.listdir(tmp_path) == []


def test_templates_are_part_of_the_package():
    import configparser
    import pathlib

    parser = configparser.ConfigParser()
    parser.read(pathlib.Path(__file__).parents[2] / "setup.cfg")
    assert parser["options.package_data"]["keras_transfer.reporting"] == "templates/*"
    assert (
        "jinja2" in parser["options.extras_require"]["report"]
        and "matplotlib" in parser["options.extras_require"]["report"]
    )
