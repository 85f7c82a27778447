"""The tables of a page that need more than one section's own figures."""

from .parts import plain


def summary(sections):
    """Returns the table of all heads: name, figure, value, labels, missing."""
    rows = []
    for part in sections:
        if part["kind"] == "other":
            rows.append([part["name"], "none known", "–", "–", "–"])
            continue
        first = (
            part["tiles"][0]
            if part["tiles"]
            else {"label": "Mean absolute error", "value": " / ".join(plain(e["mae"]) for e in part["errors"])}
        )
        rows.append([part["name"], first["label"], first["value"], f"{part['seen']:,}", f"{part['missing']:,}"])
    return rows


def complete(sections, training):
    """Adds to each section of classes or labels, in place, the column of training photos and the table of its weakest.

    Args:
        sections: dicts of `sections.section`.
        training: `{head: {class: photos}}`, or empty.
    """
    for part in sections:
        if part["kind"] not in ("classes", "labels"):
            continue
        counts = training.get(part["name"])
        if counts:
            part["classes"] = [[*row, f"{counts.get(name, 0):,}"] for name, row in zip(part["names"], part["classes"])]
        part["has_training"] = bool(counts)
        part["weakest_rows"] = [part["classes"][k] for k in part["weakest"]]
