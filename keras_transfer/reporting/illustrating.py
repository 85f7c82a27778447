"""The photos of the mistakes, and where the network looked on them."""

import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from ..data import info, streaming
from ..evaluating import batches
from ..heads import Ordinal
from . import pictures
from .attention import grad_cam

_TEXT = 300  # characters shown of a text


def illustrate(model, heads, dataset, answers, sections):
    """Gives the mistakes of all sections their photos and names, in place.

    Args:
        model: what `kt.attach` returned.
        heads: `{name: head}` of it.
        dataset: what the sections were made of.
        answers: what `evaluating.answers` returned for it.
        sections: dicts of `sections.section`; each gets `looking`, a sentence on what the colours show or why there
            are none.

    Raises:
        ValueError: the set gives its elements in another order each time.
    """
    rows = sorted({mistake.row for part in sections for mistake in part["mistakes"]})
    found = elements(dataset, rows, {name: truth for name, (truth, _) in answers.items()})
    known = info(dataset)
    for part in sections:
        part["looking"] = ""
        for mistake in part["mistakes"]:
            element = found.get(mistake.row)
            mistake.title = _title(known, mistake.row, element)
            if _is_photo(element):
                mistake.photo = pictures.photo(element)
        if part["kind"] in ("classes", "labels") and any(m.photo for m in part["mistakes"]):
            part["looking"] = _look(model, heads[part["name"]], part, found)
        elif part["mistakes"] and not any(m.photo for m in part["mistakes"]):
            part["looking"] = "The input is no photo, so there is nothing to show of where the network looked."


def elements(dataset, rows, truth):
    """Returns `{row: element}` of the inputs in those rows, arrays without a batch; empty for several inputs.

    `truth`, `{head: labels}`, is what the first pass over `dataset` gave; a second one in another order is refused.
    """
    known = info(dataset)
    if known is not None:
        some = streaming.Samples([known.files[k] for k in rows], [], {}, plain=False)
        photos = streaming.ordered(some, known.size, known.fit, 32) if rows else []
        return dict(zip(rows, (photo for batch, _ in photos for photo in batch.numpy())))
    found, start, wanted = {}, 0, set(rows)
    for x, y in batches(dataset) if rows else ():
        if isinstance(x, (dict, list, tuple)):
            return {}
        count = len(x)
        for row in wanted & set(range(start, start + count)):
            _check_order(truth, y, row, row - start)
            found[row] = np.asarray(x[row - start])
        start += count
    return found


def _check_order(truth, y, row, place):
    for name, labels in truth.items():
        now = y[name] if isinstance(y, dict) else y
        if not np.array_equal(np.asarray(labels[row], float), np.asarray(now[place], float), equal_nan=True):
            raise ValueError(
                "`dataset` gives its elements in another order each time, so the mistakes can't be told from "
                "the rest. Give it unshuffled."
            )


def _is_photo(element):
    return isinstance(element, np.ndarray) and element.ndim == 3 and element.shape[-1] in (1, 3, 4)


def _title(known, row, element):
    """The last two parts of the path, so that no one's folders are in the page; the text itself; or the row."""
    if known is not None:
        return "/".join(pathlib.PurePath(os.fspath(known.files[row])).parts[-2:])
    if isinstance(element, np.ndarray) and element.ndim == 0 and element.dtype.kind in "SOU":
        text = element.item()
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        return text[:_TEXT] + "…" * (len(text) > _TEXT)
    return f"row {row}"


def _look(model, head, part, found):
    """Fills in `looked_at`; returns what is to be said of it."""
    mistakes = [m for m in part["mistakes"] if m.photo]
    units = tf.constant([m.unit for m in mistakes])
    signs = tf.constant([float(m.sign) for m in mistakes])

    def score(outputs, rows):
        said = tf.cast(outputs[part["name"]] if isinstance(outputs, dict) else outputs, "float32")
        if part["kind"] == "classes" and not isinstance(head, Ordinal):
            said -= tf.reduce_mean(said, -1, keepdims=True)  # a softmax doesn't see what all logits have in common
        if isinstance(head, Ordinal):  # has no output for a class: the logarithm of its probability stands for it
            said = keras.ops.log(head.probabilities(said) + keras.config.epsilon())
        return tf.gather(said, units[rows], batch_dims=1) * signs[rows]

    heat = grad_cam(model, np.stack([found[m.row] for m in mistakes]), score)
    if heat is None:
        return "The backbone has no maps that can be looked into, so there is nothing to show of where it looked."
    for mistake, one in zip(mistakes, heat):
        mistake.looked_at = pictures.looked_at(found[mistake.row], one)
    return (
        "The second picture of each pair is bright where the last maps of the backbone spoke for the answer given "
        f"(Grad-CAM on maps of {heat.shape[1]} x {heat.shape[2]} places)."
    )
