"""The other formats: written from the same model, run with their own runtime, compared with the live model."""
import keras
import numpy as np

from .. import _check
from .formats import onnx, openvino, tflite
from .samples import Samples, spaced
from .verifying import live, relative

WRITERS = {"tflite": tflite, "tflite_int8": tflite, "onnx": onnx, "openvino": openvino}
FORMATS = ("saved_model", *WRITERS)
LIMIT = 1e-3  # of the largest output, for all but int8; conversions of a sound network agree to 1e-6
COMPARED = 32  # rows, evenly spaced, for all but int8
BATCH = 8  # rows at a time: what runs on a phone may be slow here


def checked(formats, calibration):
    """Returns `formats` as a list; refuses unknown ones, missing packages and int8 without data."""
    formats = [formats] if isinstance(formats, str) else list(formats)
    if not formats:
        raise ValueError(f"`formats` is empty. Give one or more of {', '.join(FORMATS)}.")
    for name in formats:
        _check.one_of(name, FORMATS, "format")
        for module in WRITERS[name].NEEDS if name in WRITERS else ():
            _check.extra(module, WRITERS[name].EXTRA)
    if "tflite_int8" in formats and calibration is None:
        raise ValueError('The format "tflite_int8" needs `calibration`: a hundred or so photos, or other inputs, such as '
                         "the model will see, from which the ranges of its numbers are taken.")
    return formats


def convert(subject, samples, formats, folder, scratch):
    """Writes `formats` into `folder` and compares each with the live model on `samples`.

    Args:
        subject: what is exported.
        samples: the `Samples`, used for quantization too.
        formats: names of `WRITERS`.
        folder: where the files go.
        scratch: a folder for files that are not kept.

    Returns:
        `{format: largest difference}`, relative to the largest output, and of int8 `tflite_int8/HEAD`, the share of rows
        whose likeliest class is the same.

    Raises:
        ValueError: a format can't hold the model, or differs by more than 1e-3.
    """
    if not formats:
        return {}
    model, found, several = numbers(subject), {}, _thinned(samples)
    source = _saved(model, scratch) if set(formats) - {"onnx"} else None
    rows = {name: samples if name == "tflite_int8" else several for name in formats}
    truth = {id(one): _expected(subject, one) for one in rows.values()}
    for name in formats:
        said, expected = _run(name, model, source, rows[name], folder), truth[id(rows[name])]
        found[name] = max(relative(said[key], expected[key]) for key in expected)
        if name == "tflite_int8":
            found |= {f"{name}/{key.removesuffix('/probabilities')}": _agreement(said[key], expected[key])
                      for key in expected if key.endswith("/probabilities")}
        elif not found[name] <= LIMIT:
            raise ValueError(f"The model as {name} differs from the model by {found[name]:.2g} of the largest output; "
                             f"{LIMIT:g} is allowed. Nothing was kept. An untrained network does that: train it first, or "
                             f"leave {name!r} out of `formats`.")
    return found


def numbers(subject):
    """Returns the model from named inputs to `HEAD/probabilities` and `HEAD`, without any text in its outputs."""
    inputs = {name: keras.Input(batch_shape=_shape(subject, tensor), dtype=tensor.dtype, name=name)
              for name, tensor in subject.inputs.items()}
    outputs, named = subject.named(subject.model(subject.structured(inputs), training=False)), {}
    for name, head in subject.heads.items():
        likely = hasattr(head, "probabilities")
        named[f"{name}/probabilities" if likely else name] = head.probabilities(outputs[name]) if likely else outputs[name]
    given = inputs if len(inputs) > 1 else next(iter(inputs.values()))
    model = keras.Model(given, named)
    model(given)  # Keras's export to ONNX refuses a model that was never called
    return model


def _shape(subject, tensor):
    return (tensor.shape[0], *subject.size, 3) if subject.kind == "photos" else tensor.shape


def _saved(model, scratch):
    """The folder of a SavedModel with this one function."""
    import tensorflow as tf

    folder, tensors = f"{scratch}/numbers", model.inputs
    specs = {t.name: tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in tensors}
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", lambda named: model(named if len(tensors) > 1 else named[tensors[0].name],
                                                                training=False), input_signature=[specs])
    archive.write_out(folder, verbose=False)
    return folder


def _expected(subject, samples):
    run = live(subject)
    parts = [run(batch) for batch in _batches(samples)]
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in subject.heads}
    return {f"{name}/probabilities" if hasattr(head, "probabilities") else name:
            np.asarray(head.probabilities(keras.ops.convert_to_tensor(outputs[name])))
            if hasattr(head, "probabilities") else outputs[name] for name, head in subject.heads.items()}


def _run(name, model, source, samples, folder):
    """Writes one format, and returns what its runtime says of the samples."""
    try:
        path = WRITERS[name].write(model, source, folder, samples.inputs if name == "tflite_int8" else None)
        run = WRITERS[name].runner(path)
        parts = [run(batch) for batch in _batches(samples)]
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f"The model can't be written as {name}: {reason[:300]} Leave {name!r} out of `formats`.") from error
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _thinned(samples):
    places = spaced(samples.count, COMPARED)
    return Samples(samples.bytes, {name: array[places] for name, array in samples.inputs.items()})


def _batches(samples):
    return [{name: array[k:k + BATCH] for name, array in samples.inputs.items()} for k in range(0, samples.count, BATCH)]


def _agreement(said, expected):
    return float((said.argmax(-1) == expected.argmax(-1)).mean())
