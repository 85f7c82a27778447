"""Requests that TF Serving runs before it takes a version into service, so that the first user needn't wait."""
import pathlib
import warnings

import tensorflow as tf

from .. import _check

FILE = "assets.extra/tf_serving_warmup_requests"


def write(folder, model_name, requests):
    """Writes one request for each signature; without tensorflow-serving-api it warns instead.

    An export without this file is whole: only the first request to a server is slow. So a missing package is told and
    doesn't keep anybody from exporting.

    Args:
        folder: of the SavedModel.
        model_name: as the server will call it.
        requests: `{signature: {input: (dtype, shape, values)}}`; one value stands for all.

    Returns:
        Whether it was written.
    """
    try:
        logs = _check.extra("tensorflow_serving.apis.prediction_log_pb2", "serving")
    except ImportError as error:
        warnings.warn(f"No warm-up requests were written, so the first request to the server will be slow. {error}",
                      stacklevel=4)
        return False
    path = pathlib.Path(folder, FILE)
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            log = logs.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = model_name, signature
            for name, (dtype, shape, values) in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(values, dtype, shape))
            writer.write(log.SerializeToString())
    return True


def requests(subject, samples, signatures):
    """Returns a request of one row for each signature, small on disk: photos of pixels are grey."""
    made = {}
    for name, signature in signatures.items():
        if signature.takes == "bytes":
            made[name] = {"image_bytes": (tf.string, [1], samples.bytes[:1])}
        elif subject.kind == "photos":
            spec = signature.specs[0]
            made[name] = {"pixels": (spec.dtype, [spec.shape[0] or 1, *spec.shape[1:]], 127)}
        else:
            made[name] = {}
            for key, spec in signature.specs[0].items():
                rows = samples.inputs[key][:spec.shape[0] or 1]
                made[name][key] = (spec.dtype, list(rows.shape), rows)
    return made
