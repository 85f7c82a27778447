"""What `kt.report` returns."""
import html
import pathlib

_HEIGHT = 720  # of the frame in a notebook, in pixels


class Report:
    """A written report: shows itself in a notebook, and knows where it lies.

    Args:
        path: the HTML file.

    Attributes:
        path: the same, as a `pathlib.Path`.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def _repr_html_(self):
        """The page within a frame, so that its styles and the notebook's leave each other alone."""
        page = html.escape(self.path.read_text(encoding="utf-8"), quote=True)
        return (f'<iframe srcdoc="{page}" title="Report" sandbox="" '
                f'style="width: 100%; height: {_HEIGHT}px; border: 0"></iframe>')

    def __repr__(self):
        return f"Report({str(self.path)!r})"
