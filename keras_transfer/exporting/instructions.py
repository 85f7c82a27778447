"""The lines of a shell that serve an export with TF Serving and ask it something."""
import json

URL = "http://localhost:8501/v1/models"


def instructions(exported):
    """Returns the `docker run` and `curl` lines for what `kt.export` returned.

    TF Serving takes base64 for inputs whose name ends in `_bytes` only, as {"b64": "..."}.
    """
    version = exported.path.resolve()
    model = version.parent.name
    serve = (f"docker run --rm -p 8500:8500 -p 8501:8501 -v {_quoted(version.parent)}:/models/{model} "
             f"-e MODEL_NAME={model} tensorflow/serving")
    return f"Serve it (REST on 8501, gRPC on 8500):\n  {serve}\nAsk it:\n  {_ask(exported.subject, f'{URL}/{model}:predict')}"


def _ask(subject, url):
    if subject.kind == "photos":  # printf of the shell itself takes a text of any length, an argument of curl doesn't
        body = '{"instances": [{"image_bytes": {"b64": "%s"}}]}'
        return f"printf '{body}' \"$(base64 < photo.jpg | tr -d '\\n')\" | curl -d @- {url}"
    row = {name: "some words" if subject.kind == "text" else _example(tensor) for name, tensor in subject.inputs.items()}
    return f"curl -d '{json.dumps({'instances': [row]})}' {url}"


def _example(tensor):
    """One row of a tensor as JSON: zeros, no more than three along an axis that may have any length."""
    value = "" if tensor.dtype == "string" else 0.0 if "float" in tensor.dtype else 0
    for length in reversed(tensor.shape[1:]):
        value = [value] * (3 if length is None else length)
    return value


def _quoted(path):
    text = str(path)
    return text if text.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum() else f'"{text}"'
