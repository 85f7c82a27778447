"""`kt.export`: everything written beside its place, run, compared with the live model, and only then moved there."""
import contextlib
import json
import tempfile

import keras
import tensorflow as tf

from .. import _check, _files, distributing
from ..running import versions
from . import converting, verifying, warmup
from .samples import samples as collected
from .signatures import build
from .subject import subject
from .versions import target


class Exported(dict):
    """The largest difference from the live model by signature and format.

    Attributes:
        path: the version folder that was written.
        subject: what was exported.
    """

    path = subject = None


@distributing.outside_scope  # a SavedModel that is loaded in a scope to be compared would be spread over its replicas
def export(model, path, *, labels=None, formats=("saved_model",), top_k=None, calibration=None, on_error="row", config=None):
    """Writes a model for TF Serving, and for other runtimes, and checks that what was written says the same.

    For photos the SavedModel has the signatures `serving_default` (`image_bytes`: string `(batch,)`, photos of any kind
    and size that `kt.data.decode` reads), `pixels` (float32 `(batch, height, width, 3)`, 0-255), `pixels_uint8` (the
    same as uint8) and `features` (`image_bytes` to the output of the layer `features`). A model of strings takes `text`,
    `(batch,)`, and any other model its own named tensors. A head named HEAD gives

    - of classes, `HEAD/label`, `HEAD/probability` and `HEAD/probabilities`, with `top_k` also `HEAD/top_labels` and
      `HEAD/top_probabilities`;
    - of several labels, the same without `HEAD/probability`, the labels over 0.5 joined with "|";
    - of numbers, `HEAD`.

    `assets/` holds labels.json and config.json, `assets.extra/` the warm-up requests (extra `serving`). The other
    formats lie beside the SavedModel, where TF Serving ignores them (`model.tflite` is also the name it looks for with
    --prefer_tflite_model): `model.tflite`, `model_int8.tflite`, `model.onnx`, `model.xml` with `model.bin`. They take
    pixels (or text, or tensors) and give `HEAD/probabilities` and `HEAD`.

    All is written whole or not at all. Every signature is then run from the written file. Of several workers
    (`kt.strategy`), all of which have to call it, the chief alone leaves something behind.

    Args:
        model: what `kt.attach` returned, any Functional `keras.Model`, or the path of a run folder.
        path: a folder that ends in a number (`served/pets/1`) is written as it is and must not exist; under any other
            the next free number is taken.
        labels: class names, or `{head: class names}`, in place of the heads' own.
        formats: of "saved_model", "tflite", "tflite_int8", "onnx" and "openvino".
        top_k: how many of the likeliest classes to name.
        calibration: photos to quantize and to compare on: a folder, a list of files, an array, a dict of arrays or a
            dataset; up to 128 are used. None: a few made-up inputs; "tflite_int8" needs real ones.
        on_error: "row" answers a photo that can't be decoded with an empty label, zeros and False under
            `image/readable`, and the others of its batch as ever; "request" fails the request.
        config: a dict for config.json; `image_size` (pixels, or height and width) and `fit` in it say how photos are
            decoded. None: that of the run folder, else the model's own size and "stretch".

    Returns:
        A dict with the largest difference from the live model of each signature and format, as a share of the largest
        output, and of `tflite_int8/HEAD` the share of rows with the same likeliest class. Its `path` is the folder
        written.

    Raises:
        FileExistsError: that version exists.
        ValueError: an argument doesn't fit, what was written differs, or a format can't hold the model.
        ImportError: a format needs a package that isn't there.
        OSError: it can't be written; nothing is left behind.

    Example:
        >>> kt.export(model, "served/pets/1")
        {'serving_default': 0.0, 'pixels': 0.0, 'pixels_uint8': 0.0, 'features': 0.0}
    """
    formats = converting.checked(formats, calibration)
    _check.one_of(on_error, ("row", "request"), "`on_error`")
    top_k = None if top_k is None else _check.whole(top_k, "top_k", least=1)
    what = subject(model, labels, config)
    assets = {"labels.json": what.labels, "config.json": {**what.config, "exported_with": versions()}}
    texts = {name: json.dumps(value, indent=1, ensure_ascii=False) + "\n" for name, value in assets.items()}
    chief = distributing.is_chief(what.model.distribute_strategy)
    place, rows, found = target(path) if chief else distributing.scratch(), collected(what, calibration), Exported()
    with _files.folder(place, keep=chief) as folder:
        if "saved_model" in formats:
            made = build(what, top_k, on_error)
            with _told(place):
                save(what.model, made, folder)
        with _told(place):
            (folder / "assets").mkdir(exist_ok=True)
            for name, text in texts.items():
                with open(folder / "assets" / name, "x", encoding="utf-8") as file:  # not over an asset of the model
                    file.write(text)
        if "saved_model" in formats:
            with _told(place):
                warmup.write(folder, place.resolve().parent.name, warmup.requests(what, rows, made))
            found.update(verifying.verify(folder, what, rows, made, on_error))
        with tempfile.TemporaryDirectory(dir=folder) as scratch, _told(place):
            found.update(converting.convert(what, rows, [f for f in formats if f != "saved_model"], folder, scratch))
    found.path, found.subject = place, what
    return found


def save(model, signatures, folder):
    """Writes the SavedModel of `{name: Signature}` over `model`."""
    archive, holder = keras.export.ExportArchive(), tf.Module()
    holder.model = model  # a model that is tracked itself is written with every weight twice (Keras 3.15)
    archive.track(holder)
    for name, signature in signatures.items():
        archive.add_endpoint(name, signature.function, input_signature=signature.specs)
    archive.write_out(str(folder), verbose=False)


@contextlib.contextmanager
def _told(place):
    """TensorFlow's errors in writing, such as for a full disk, as Python's."""
    try:
        yield
    except tf.errors.OpError as error:
        if isinstance(error, (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError)):
            raise  # of the model's own operations
        reason = str(error.message).strip().splitlines()[0]
        raise OSError(f"The export to {str(place)!r} can't be written: {reason}. Nothing was left behind; free some space "
                      "or give another path.") from error
