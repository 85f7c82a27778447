"""`keras-transfer serve`: a run or an export, in a browser and for `curl`."""

import json
import pathlib
import socket
import sys
import tempfile

from .. import _check
from ..exporting.versions import is_version
from .answering import Served
from .application import application

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(options):
    """Serves a run folder or an exported model until it's interrupted."""
    uvicorn = _check.extra("uvicorn", "serve")
    with tempfile.TemporaryDirectory(prefix="keras_transfer_") as scratch:
        folder = exported(options.run, scratch)
        name = options.name or _name(options.run)
        served = Served(folder)
        app = application(
            served, name, labels_of(folder, served), hosts=LOOPBACK if options.host in LOOPBACK else ("*",)
        )
        listening = _listening(options.host, options.port)
        port = listening.getsockname()[1]
        url = f"http://{'localhost' if options.host in LOOPBACK else options.host}:{port}"
        print(
            f"{url} shows a page to drop photos on. Stop with Ctrl-C.\n"
            f"For programs: curl {url}/v1/models/{name}; to predict, POST to {url}/v1/models/{name}:predict",
            flush=True,
        )
        if options.host not in LOOPBACK:
            print(f"Everybody who reaches {options.host} can use it: it asks for no password.", file=sys.stderr)
        config = uvicorn.Config(app, log_level="warning", limit_concurrency=32, timeout_keep_alive=5)
        uvicorn.Server(config).run(sockets=[listening])


def exported(source, scratch):
    """Returns the folder to serve: `source` itself, its highest version, or a run exported to `scratch`.

    Raises:
        FileNotFoundError: it's neither a run nor an export.
    """
    source = pathlib.Path(source)
    if (source / "saved_model.pb").is_file():
        return source
    versions = [p for p in source.glob("*/saved_model.pb") if is_version(p.parent)]
    if versions:
        return max(versions, key=lambda p: int(p.parent.name)).parent
    from ..exporting import export

    export(str(source), pathlib.Path(scratch) / "1")
    return pathlib.Path(scratch) / "1"


def labels_of(folder, served):
    """Returns `{head: class names}` of an export; empty if it has none."""
    file = pathlib.Path(folder) / "assets" / "labels.json"
    stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    outputs = served.signatures.get("serving_default", ({}, {}))[1]
    heads = [key.removesuffix("/probabilities") for key in outputs if key.endswith("/probabilities")]
    stored = stored if isinstance(stored, dict) else dict.fromkeys(heads, stored)  # of one head, a list
    return {head: stored[head] for head in heads if isinstance(stored.get(head), list)}


def _name(source):
    """The last part of a path that is no version number and fits into a URL."""
    parts = [part for part in pathlib.Path(source).resolve().parts if not part.isdecimal()]
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in parts[-1]) or "model"


def _listening(host, port):
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise OSError(
            f"Port {port} of {host} can't be used ({getattr(error, 'strerror', None) or error}). Give another "
            "with --port, or 0 for any that is free."
        ) from error
