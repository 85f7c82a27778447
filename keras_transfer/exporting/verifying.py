"""Whether a written file says what the live model says."""
import keras
import numpy as np
import tensorflow as tf

from .. import _compat
from ..heads import MultiLabel
from .answers import THRESHOLD
from .samples import decoded
from .signatures import READABLE

LIMIT = 1e-5  # of the largest output
ROWS = 8  # tried for each signature
BROKEN = b"not a photo"


def verify(folder, subject, samples, signatures, on_error):
    """Runs every signature of a written SavedModel on samples and compares it with the live model.

    Args:
        folder: of the SavedModel.
        subject: what was exported.
        samples: the `Samples` to run on.
        signatures: what `signatures.build` returned.
        on_error: "row" or "request"; for "row" a broken photo is added.

    Returns:
        `{signature: largest difference}`, as a share of the largest value of the output.

    Raises:
        ValueError: a difference is over 1e-5, a broken photo isn't said to be one, or it can't be loaded at all.
    """
    loaded, found = _loaded(folder), {}
    model = {gives: live(subject, gives) for gives in {signature.gives for signature in signatures.values()}}
    for name, signature in signatures.items():
        given, inputs = _given(subject, samples, signature.takes, on_error)
        said = {key: value.numpy() for key, value in loaded.signatures[name](**given).items()}
        if signature.takes == "bytes" and on_error == "row":
            said = _without_broken(said, name)
        expected = model[signature.gives](inputs)
        found[name] = (relative(said["features"], expected["features"]) if signature.gives == "features"
                       else max(difference(subject, output, said, expected[output]) for output in subject.heads))
        if not found[name] <= LIMIT:
            raise ValueError(f"The signature {name!r} of the written SavedModel differs from the model by {found[name]:.2g} "
                             f"of the largest output; {LIMIT:g} is allowed. Nothing was kept. Does a layer of the model "
                             "draw at random, or change its state, when it predicts?")
    return found


def _loaded(folder):
    try:
        return tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError("The written SavedModel can't be loaded again, and nothing was kept: "
                         f"{' '.join(str(error).split())[:300]}. If the backbone is a SavedModel, its folder must still be "
                         "there, for the files in its assets.") from error


def live(subject, of="answers"):
    """Returns a function from `{input: array}` to the `{head: outputs}` of the live model, or to its `{"features": ...}`."""
    if of == "features":
        inner = keras.Model(_compat.input_structure(subject.model), subject.features)
        run = tf.function(lambda named: {of: inner(subject.structured(named), training=False)}, autograph=False)
    else:
        run = tf.function(lambda named: subject.named(subject.model(subject.structured(named), training=False)),
                          autograph=False)

    def outputs(inputs):
        said = run({name: _tensor(subject, name, array) for name, array in inputs.items()})
        return {name: value.numpy() for name, value in said.items()}

    return outputs


def difference(subject, name, said, outputs):
    """Returns the largest difference between what a file says of one head and what the head's outputs mean.

    Labels are right if their probability is; a label that can't be right counts as infinite.
    """
    head, classes = subject.heads[name], subject.classes.get(name)
    if classes is None or not hasattr(head, "probabilities"):
        return relative(said[name], outputs)
    likely = np.asarray(head.probabilities(tf.constant(outputs)))
    worst = relative(said[f"{name}/probabilities"], likely)
    columns, rows = {label.encode(): i for i, label in enumerate(classes)}, np.arange(len(likely))
    if isinstance(head, MultiLabel):
        sure = np.abs(likely - THRESHOLD).min(-1) > LIMIT
        joined = ["|".join(c for c, p in zip(classes, row) if p > THRESHOLD).encode() for row in likely]
        worst = max(worst, np.inf if any(sure & (said[f"{name}/label"] != np.array(joined, object))) else 0.0)
    else:
        of_label = likely[rows, [columns[label] for label in said[f"{name}/label"]]]
        worst = max(worst, relative(of_label, likely.max(-1)), relative(said[f"{name}/probability"], likely.max(-1)))
    if f"{name}/top_labels" in said:
        top, best = said[f"{name}/top_labels"], -np.sort(-likely)[:, :said[f"{name}/top_labels"].shape[1]]
        of_label = likely[rows[:, None], np.vectorize(columns.get, otypes=[int])(top)]
        worst = max(worst, relative(of_label, best), relative(said[f"{name}/top_probabilities"], best))
    return worst


def relative(values, expected):
    """Returns the largest difference as a share of the largest expected value; NaN equals NaN only."""
    values, expected = np.asarray(values, "float64"), np.asarray(expected, "float64")
    if values.shape != expected.shape or (np.isnan(values) != np.isnan(expected)).any():
        return float("inf")
    scale = np.nanmax(np.abs(expected), initial=0.0)
    worst = np.nanmax(np.abs(values - expected), initial=0.0)
    return float(worst / scale if scale else worst)


def _given(subject, samples, takes, on_error):
    """The arguments of a signature, and the inputs of the model that mean the same."""
    if takes == "bytes":
        bytes = samples.bytes[:ROWS]
        return ({"image_bytes": tf.constant([*bytes, BROKEN] if on_error == "row" else bytes)},
                {"pixels": decoded(subject, bytes)})
    inputs = {name: array[:ROWS] for name, array in samples.inputs.items()}
    if takes == "rounded":
        whole = np.clip(np.round(inputs["pixels"]), 0, 255).astype("uint8")
        return {"pixels": tf.constant(whole)}, {"pixels": whole.astype(inputs["pixels"].dtype)}
    return {name: tf.constant(array) for name, array in inputs.items()}, inputs


def _tensor(subject, name, array):
    tensor = tf.constant(array)
    return tensor[:, None] if subject.kind == "text" and len(subject.inputs[name].shape) == 2 else tensor


def _without_broken(said, name):
    """Checks the last row, which is broken, and returns the others."""
    if said[READABLE].tolist() != [True] * (len(said[READABLE]) - 1) + [False]:
        raise ValueError(f"The signature {name!r} of the written SavedModel says of photos that they are "
                         f"{said[READABLE].tolist()}; all but the last are readable. Nothing was kept.")
    last = {key: value[-1:] for key, value in said.items()}
    if any((value != (b"" if value.dtype == object else 0)).any() for value in last.values()):
        raise ValueError(f"The signature {name!r} of the written SavedModel answers a broken photo with {last}. Nothing "
                         "was kept.")
    return {key: value[:-1] for key, value in said.items()}
