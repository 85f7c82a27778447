"""`kt.report`: figures, plots and photos into one page."""

import os
import pathlib

from .. import _check, distributing
from .._files import atomic
from ..assembling import heads_of
from ..evaluating import answers as answers_of
from ..fitting import check_data
from ..multitask.comparing import Comparison
from . import card, curves, illustrating, sections, tables
from .limits import limits
from .parts import percent
from .shown import Report
from .together import together


def report(model, dataset, path, *, history=None, comparison=None):
    """Writes one HTML page about a trained model: what it learned, how well it does, where it errs.

    The page needs no network: plots and photos are in it. For each head it has the accuracy with its 95 % interval
    (Wilson), the figures of each class, what was taken for what, the calibration of the probabilities, and the most
    confident mistakes with what the network looked at; for numbers the errors and predicted over true values. A model
    card says what it was made with and, from the figures, what its limits are. Missing labels are left out and
    counted; sample weights play no part. Several workers all have to call it, and the chief writes the page.

    Args:
        model: what `kt.attach` returned, trained.
        dataset: photos that the model has not seen: a set of `kt.data` (a shuffled one is read in order and without
            augmentation), any finite `tf.data.Dataset` of (x, y) that gives the same order each time, a
            `keras.utils.PyDataset`, or a tuple of arrays.
        path: the file to write. One that is there is replaced, once the new page is whole.
        history: what `kt.fine_tune` or `fit` returned, or a dict of lists, for the curves of the training.
        comparison: of a model of several tasks, what `kt.multitask.gain` or `kt.multitask.comparison` returned: the page
            shows task by task what training together gained and harmed, with the spread where there are several seeds.

    Returns:
        A `Report`: in a notebook it shows the page; `.path` is where it lies.

    Raises:
        ImportError: matplotlib or jinja2 is missing; both come with `keras-transfer[report]`.
        TypeError: `dataset`, `history` or `comparison` is of another kind.
        ValueError: labels don't fit the heads, the set is empty, or gives another order each time.
        IsADirectoryError: `path` is a folder.

    Example:
        >>> kt.report(model, valid, "report.html", history=history)
    """
    check_data(model, dataset, "dataset")
    about = card.about_of(model, dataset)
    if comparison is not None:
        if not isinstance(comparison, Comparison):
            raise TypeError("`comparison` must be what kt.multitask.gain or kt.multitask.comparison returned. Received: "
                            f"{type(comparison).__name__}")
        about = {**about, "gain": comparison.as_dict()}
    return write(model, dataset, path, history=history, about=about)


def write(model, dataset, path, *, history=None, about, answers=None):
    """Writes the page of `report`, with what else is known `about` the training (see `card.card`).

    Args:
        answers: what `evaluating.answers` returned for `dataset`; None: they are computed.
    """
    for module in ("matplotlib", "jinja2"):
        _check.extra(module, "report")
    path, chief = pathlib.Path(path), distributing.is_chief(model.distribute_strategy)
    if chief and path.is_dir():
        raise IsADirectoryError(
            f"{str(path)!r} is a folder. Give the name of a file, such as {os.path.join(str(path), 'report.html')!r}."
        )
    logs, heads = curves.as_dict(history), heads_of(model)
    answers = answers_of(model, dataset) if answers is None else answers
    parts = [{**sections.section(name, heads[name], *answers[name]), "rows": len(answers[name][0])} for name in answers]
    illustrating.illustrate(model, heads, dataset, answers, parts)
    facts = card.card(model, dataset, parts, logs, about)
    tables.complete(parts, about.get("training") or {})
    page = render(
        title=_title(about, parts),
        sections=parts,
        summary=tables.summary(parts),
        card=facts,
        panels=curves.panels(logs),
        phases=curves.phases(logs),
        limits=limits(parts, about),
        together=together(parts, logs, about),
    )
    if chief:
        with atomic(path) as file:
            file.write(page.encode("utf-8"))
    return Report(path)


def render(**values):
    """Returns the page for the values that `templates/page.html` names; text among them is escaped there."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("keras_transfer.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(percent=percent, breakable=_breakable)
    return templates.get_template("page.html").render(values)


def _breakable(text):
    """The text, escaped, to be broken after underscores: long class names would push figures off a phone."""
    from markupsafe import Markup, escape

    return escape(text).replace("_", Markup("_<wbr>"))


def _title(about, parts):
    backbone = about.get("backbone") or "Model"
    return f"{backbone}: {', '.join(part['name'] for part in parts)}"
