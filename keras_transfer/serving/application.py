"""The web application: TF Serving's paths, and a page for people."""

import asyncio
import importlib.resources
import json

from .. import _check

LARGEST = 32 << 20  # bytes of a request
PATIENCE = 30.0  # seconds for an answer
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}


class Refused(Exception):
    """A request that gets an error: its status and what to say."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status_code = status


def application(served, name, labels=None, *, hosts=("*",), largest=LARGEST, patience=PATIENCE):
    """Returns an ASGI application for one model.

    It answers `POST /v1/models/NAME:predict` and `GET /v1/models/NAME` as TF Serving does, with and without
    `/versions/N`, and shows a page at `/`. Errors are JSON, `{"error": "..."}`.

    Args:
        served: an `answering.Served`.
        name: the model's name in the paths.
        labels: `{head: class names}` for the page.
        hosts: the names that browsers may call it by; for a loopback address they should be named, so that no foreign
            page reaches it under a name of its own.
        largest: bytes of the largest request.
        patience: seconds after which a request is given up.

    Returns:
        A Starlette application.

    Raises:
        ImportError: the extra `serve` is missing.
    """
    _check.extra("starlette", "serve")
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    paths, model = _Paths(served, name, labels or {}, largest, patience), "/v1/models/{name}"
    return Starlette(
        routes=[
            Route(model + "/versions/{version}:predict", paths.predict, methods=["POST"]),
            Route(model + ":predict", paths.predict, methods=["POST"]),
            Route(model + "/versions/{version}", paths.status),
            Route(model, paths.status),
            Route("/about", paths.about),
            *(Route(path, paths.page) for path in _PAGE),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers=dict.fromkeys([Refused, 404, 405, 500], paths.failed),
    )


class _Paths:
    """What each path answers."""

    def __init__(self, served, name, labels, largest, patience):
        from starlette import responses

        self.served, self.name, self.labels = served, name, labels
        self.largest, self.patience = largest, patience
        self.json, self.text = responses.JSONResponse, responses.Response

    def find(self, request):
        asked = request.path_params
        if asked["name"] != self.name or asked.get("version", self.served.version) != self.served.version:
            raise Refused(
                404,
                f"There is no model {request.url.path!r}. There is: /v1/models/{self.name}, "
                f"version {self.served.version}.",
            )

    async def status(self, request):
        self.find(request)
        fine = {"error_code": "OK", "error_message": ""}
        state = {"version": self.served.version, "state": "AVAILABLE", "status": fine}
        return self.json({"model_version_status": [state]})

    async def predict(self, request):
        self.find(request)
        asked = _parsed(await _body(request, self.largest))
        try:
            return self.json(await asyncio.wait_for(asyncio.to_thread(self.served.answer, asked), self.patience))
        except TimeoutError:
            raise Refused(504, f"The answer took more than {self.patience:g} seconds.") from None
        except ValueError as error:
            raise Refused(400, str(error)) from error

    async def about(self, request):
        inputs = sorted(self.served.signatures["serving_default"][0])
        return self.json({"name": self.name, "labels": self.labels, "inputs": inputs})

    async def page(self, request):
        file, kind = _PAGE[request.url.path]
        text = (importlib.resources.files(__package__) / "page" / file).read_text(encoding="utf-8")
        return self.text(text, media_type=kind, headers=_SAFE)

    async def failed(self, request, error):
        said = str(error) if isinstance(error, Refused) else getattr(error, "detail", "Something went wrong.")
        return self.json({"error": said}, getattr(error, "status_code", 500))


async def _body(request, largest):
    """The body of a request, read no further than `largest` bytes."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > largest:
            raise Refused(413, f"A request may have {largest:,} bytes at most.")
        parts.append(part)
    return b"".join(parts)


def _parsed(body):
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The request is no JSON: {error}") from error
