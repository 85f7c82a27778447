"""The functions of a SavedModel: raw bytes, pixels, text or tensors in, the answers of all heads or the features out."""
import dataclasses

import keras
import tensorflow as tf

from .. import _compat
from .answers import answers, blanked
from .rows import READERS

READABLE = "image/readable"  # has a slash, which no head's name may have


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function to be served.

    Attributes:
        function: takes the tensors of `specs`, in order; returns a dict of tensors.
        specs: the arguments for `tf.function`, each a `tf.TensorSpec` or a dict of them.
        takes: "bytes", "pixels", "rounded" (whole pixels) or "inputs" (the model's own).
        gives: "answers" or "features".
    """

    function: object
    specs: list
    takes: str
    gives: str


def build(subject, top_k=None, on_error="row"):
    """Returns `{name: Signature}` for a `Subject`; the first is `serving_default`."""
    run = _forward(subject)
    forward = {"answers": _answering(subject, run, top_k)}
    if subject.features is not None:
        forward["features"] = lambda named: {"features": tf.cast(run(named)[1], tf.float32)}
    if subject.kind == "photos":
        return _of_photos(subject, forward, on_error)
    names = {"answers": "serving_default", "features": "features"}
    specs = {name: _spec(name, tensor, flat=subject.kind == "text") for name, tensor in subject.inputs.items()}

    def of(function):
        return lambda named: function(_shaped(subject, named))

    return {names[gives]: Signature(of(function), [specs], "inputs", gives) for gives, function in forward.items()}


def _of_photos(subject, forward, on_error):
    (wanted,) = subject.inputs.values()
    bytes = tf.TensorSpec([None], tf.string, name="image_bytes")
    pixels = tf.TensorSpec((wanted.shape[0], *subject.size, 3), wanted.dtype, name="pixels")
    whole = tf.TensorSpec(pixels.shape, tf.uint8, name="pixels")
    read = tf.function(lambda image_bytes: READERS[on_error](image_bytes, subject.size, subject.fit), [bytes],
                       autograph=False)  # traced once for all that read bytes

    def served(function):
        def serve(image_bytes):
            photos, readable = read(image_bytes)
            said = function({"pixels": _cast(photos, wanted.dtype)})
            return {**blanked(said, readable), READABLE: readable} if on_error == "row" else said
        return serve

    said = forward["answers"]
    built = {"serving_default": Signature(served(said), [bytes], "bytes", "answers"),
             "pixels": Signature(lambda pixels: said({"pixels": pixels}), [pixels], "pixels", "answers")}
    if pixels.dtype != tf.uint8:  # a quarter of the bytes to send
        built["pixels_uint8"] = Signature(lambda pixels: said({"pixels": tf.cast(pixels, wanted.dtype)}), [whole],
                                          "rounded", "answers")
    if "features" in forward:
        built["features"] = Signature(served(forward["features"]), [bytes], "bytes", "features")
    return built


def _forward(subject):
    """A function from named inputs to the outputs by head and the features, traced once for all signatures."""
    model, joint = subject.model, subject.features
    if joint is not None:
        model = keras.Model(_compat.input_structure(model), [_compat.output_structure(_compat.graph(model)), joint])

    def run(named):
        said = model(subject.structured(named), training=False)
        outputs, features = (said, None) if joint is None else said
        return subject.named(outputs), features

    return tf.function(run, autograph=False)


def _answering(subject, forward, top_k):
    def said(named):
        outputs, found = forward(named)[0], {}
        for name, head in subject.heads.items():
            found |= answers(name, head, subject.classes.get(name), outputs[name], top_k)
        return found
    return said


def _spec(name, tensor, flat):
    return tf.TensorSpec(tensor.shape[:1] if flat else tensor.shape, tensor.dtype, name=name)


def _shaped(subject, named):
    """The tensors of a request in the model's shapes: one string a row may be `(batch,)` or `(batch, 1)` there."""
    return {name: tf.reshape(named[name], (-1, 1)) if subject.kind == "text" and len(tensor.shape) == 2 else named[name]
            for name, tensor in subject.inputs.items()}


def _cast(photos, dtype):
    return tf.cast(tf.round(photos) if tf.as_dtype(dtype).is_integer else photos, dtype)
