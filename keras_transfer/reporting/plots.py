"""Plots as SVG text that stands in a page: its colours are the page's, so that light and dark both fit."""

import html
import io
import itertools
import re

from .. import _check

# What matplotlib draws with, and what the page calls it. The numbers only have to be told apart in its output.
_COLOURS = {
    "#010203": "var(--ink)",
    "#040506": "var(--soft)",
    "#070809": "var(--line)",
    "#0a0b0c": "var(--one)",
    "#0d0e0f": "var(--two)",
}
INK, SOFT, LINE, ONE, TWO = _COLOURS
_SIZE = (4.2, 2.6)  # inches; narrow, so that a phone shows letters in the size they were drawn
_POINTS = 2000  # of a scatter plot; more would make a page that is slow to open
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 9,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "axes.formatter.useoffset": False,
}
_numbers = itertools.count()


def lines(series, alt, *, border=None, log=False):
    """Draws curves over epochs.

    Args:
        series: `{"training" or "validation": values}`, one value an epoch; NaN leaves a gap.
        alt: what the plot shows, for those who don't see it.
        border: after how many epochs the second phase began; None: there was one phase.
        log: whether the values' axis is logarithmic.

    Returns:
        SVG as text for the inside of a page.
    """

    def draw(axes):
        for (name, values), style in zip(series.items(), [(ONE, "-", "o"), (TWO, "--", "s")]):
            colour, line, marker = style
            axes.plot(
                range(1, len(values) + 1), values, color=colour, linestyle=line, marker=marker, markersize=3, label=name
            )
        if border is not None:
            axes.axvline(border + 0.5, color=SOFT, linestyle=":")
            for text, side, shift in (("head", "right", -5), ("tune", "left", 5)):
                axes.annotate(
                    text,
                    (border + 0.5, 1.0),
                    (shift, 2),
                    xycoords=axes.get_xaxis_transform(),
                    textcoords="offset points",
                    ha=side,
                    va="bottom",
                    color=SOFT,
                )
        axes.set(xlabel="epoch", yscale="log" if log else "linear")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(series) > 1:
            axes.legend()

    return _svg(draw, alt)


def reliability(bins, alt, said):
    """Draws accuracy over confidence: points, larger for more answers, beside the line where both agree.

    Args:
        bins: what `figures.reliability` returned.
        alt: what the plot shows, for those who don't see it.
        said: the names of the two axes.

    Returns:
        SVG as text for the inside of a page.
    """

    def draw(axes):
        most = max(b["count"] for b in bins)
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":")
        axes.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], color=ONE)
        axes.scatter(
            [b["confidence"] for b in bins],
            [b["accuracy"] for b in bins],
            color=ONE,
            zorder=3,
            s=[12 + 90 * b["count"] / most for b in bins],
        )
        axes.set(xlim=(0, 1.04), ylim=(0, 1.04), xlabel=said[0], ylabel=said[1])

    return _svg(draw, alt, size=(3.6, 3.2))


def scatter(truth, said, alt):
    """Draws predicted over true numbers, `(rows,)` both, with the line where both agree.

    Of more than 2,000 points every n-th is drawn. Returns SVG as text for the inside of a page.
    """
    step = -(-len(truth) // _POINTS)

    def draw(axes):
        ends = [min(truth.min(), said.min()), max(truth.max(), said.max())]
        axes.plot(ends, ends, color=SOFT, linestyle=":")
        axes.scatter(truth[::step], said[::step], color=ONE, s=14, alpha=0.6, linewidths=0)
        axes.set(xlabel="true", ylabel="predicted")

    return _svg(draw, alt, size=(3.6, 3.2))


def _svg(draw, alt, size=_SIZE):
    _check.extra("matplotlib", "report")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_a_page(file.getvalue(), alt)


def _for_a_page(svg, alt):
    """Takes the file's header off, gives the plot its description, its own names, and the page's colours and font."""
    number = next(_numbers)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\bid="', f'id="plot{number}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\g<1>#plot{number}-", svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    for drawn, named in _COLOURS.items():
        svg = svg.replace(drawn, named)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)
