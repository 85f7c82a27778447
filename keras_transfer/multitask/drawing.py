"""Heat maps of cosines."""
import numpy as np

from .. import _check

_WRITTEN = 200  # cells at most; with more of them numbers couldn't be read
_BESIDE = 3     # panels at most


def figure(panels, rows, columns):
    """Returns a figure and its `panels`, three beside each other at most, large enough for cells in `rows` and `columns`."""
    _check.extra("matplotlib", "report")
    from matplotlib.figure import Figure

    across = min(panels, _BESIDE)
    down = -(-panels // across)
    size = 2.6 + across * max(1.8, 0.62 * columns), 0.5 + down * (1 + max(1.6, 0.32 * rows))
    made = Figure(figsize=size, layout="constrained", dpi=120)
    axes = list(made.subplots(down, across, squeeze=False, sharey=True).flat)
    for spare in axes[panels:]:
        spare.remove()
    return made, axes[:panels]


def heat_map(axes, values, rows, columns, *, title=None, rotation=0):
    """Draws cosines, red where tasks fight: `values` `(rows, columns)` from -1 to 1, NaN left blank."""
    axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    axes.set_yticks(range(len(rows)), rows)
    step = max(1, -(-len(columns) // 20))  # of many epochs every n-th has its number
    axes.set_xticks(range(0, len(columns), step), list(columns)[::step], rotation=rotation, ha="right" if rotation else "center")
    axes.set_title(title, fontsize=10)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if np.size(values) <= _WRITTEN:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                axes.text(column, row, f"{value:z.2f}", ha="center", va="center", fontsize=8,
                          color="white" if abs(value) > 0.6 else "black")


def finished(figure, panels, path):
    """Adds what the colours mean, and writes the picture to `path` if given. Returns the axes, a list if there are several."""
    bar = figure.colorbar(panels[-1].images[0], ax=panels, shrink=0.9)
    bar.set_ticks([-1, 0, 1], labels=["-1: opposed", "0", "1: agreed"])
    figure.suptitle("Cosine between the gradients of tasks (red: they fight)", fontsize=11)
    if path is not None:
        figure.savefig(path)
    return panels[0] if len(panels) == 1 else panels
