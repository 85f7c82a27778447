import numpy as np

from keras_transfer.multitask import drawing


def test_a_map_shows_every_number_and_leaves_unknown_ones_blank(tmp_path):
    figure, (axes,) = drawing.figure(1, 2, 3)
    drawing.heat_map(axes, np.array([[0.5, -1.0, 0.0], [np.nan, 0.25, -0.3]]), ["low", "high"], ["a", "b", "c"])
    assert [text.get_text() for text in axes.texts] == ["0.50", "-1.00", "0.00", "0.25", "-0.30"]
    assert axes.texts[1].get_color() == "white" and axes.texts[0].get_color() == "black"  # on dark red, on pale blue
    assert [label.get_text() for label in axes.get_yticklabels()] == ["low", "high"]
    assert axes.images[0].get_clim() == (-1, 1)
    assert drawing.finished(figure, [axes], tmp_path / "map.png") is axes
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"


def test_a_large_map_has_colours_only_and_few_of_its_columns_are_named():
    figure, (axes,) = drawing.figure(1, 20, 50)
    drawing.heat_map(axes, np.zeros((20, 50)), range(20), range(50))
    assert not axes.texts and len(axes.get_xticks()) <= 20
    small, _ = drawing.figure(1, 2, 3)
    assert (small.get_size_inches() < figure.get_size_inches()).all()


def test_panels_are_a_list_three_beside_each_other():
    figure, panels = drawing.figure(4, 1, 1)
    for axes in panels:
        drawing.heat_map(axes, np.zeros((1, 1)), ["all"], ["a"], title="pair")
    assert drawing.finished(figure, panels, None) == panels and panels[1].get_title() == "pair"
    places = [axes.get_subplotspec() for axes in panels]
    assert [(p.rowspan.start, p.colspan.start) for p in places] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert len(figure.axes) == 5  # and the colour bar


def test_nothing_is_minus_zero():
    figure, (axes,) = drawing.figure(1, 1, 1)
    drawing.heat_map(axes, np.array([[-0.001]]), ["all"], ["a"])
    assert axes.texts[0].get_text() == "0.00"
