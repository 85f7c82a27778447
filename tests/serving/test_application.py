"""The paths, limits and errors of the local server, asked over HTTP."""

import time

import pytest

from keras_transfer.serving.application import application

pytest.importorskip("starlette")


class Echo:
    """Stands for a served model: says what it was asked, refuses or waits."""

    version, signatures = "3", {"serving_default": ({"image_bytes": ("string", (None,))}, {})}

    def answer(self, request):
        if request == {"instances": ["wait"]}:
            time.sleep(0.5)
        if request == {"instances": ["bad"]}:
            raise ValueError("Input 'x' can't be read.")
        if request == {"instances": ["bug"]}:
            raise RuntimeError("secret path")
        return {"predictions": request["instances"]}


@pytest.fixture
def client():
    from starlette.testclient import TestClient

    app = application(Echo(), "pets", {"breed": ["cat", "<b>dog"]}, hosts=("localhost",), largest=1000, patience=0.2)
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


def test_the_paths_of_tf_serving(client):
    for path in ("/v1/models/pets", "/v1/models/pets/versions/3"):
        (state,) = client.get(path).json()["model_version_status"]
        assert (state["version"], state["state"], state["status"]["error_code"]) == ("3", "AVAILABLE", "OK")
        assert client.post(f"{path}:predict", json={"instances": [1, "ä"]}).json() == {"predictions": [1, "ä"]}


@pytest.mark.parametrize(
    "path, body, status, said",
    [
        ("/v1/models/dogs", None, 404, "There is: /v1/models/pets, version 3"),
        ("/v1/models/pets/versions/4", None, 404, "There is no model"),
        ("/nothing", None, 404, "Not Found"),
        ("/v1/models/pets:predict", None, 404, "There is no model"),
        ("/v1/models/dogs:predict", "{}", 404, "There is no model"),
        ("/v1/models/pets:predict", "{", 400, "The request is no JSON"),
        ("/v1/models/pets:predict", "[" * 900, 400, "The request is no JSON"),
        ("/v1/models/pets:predict", '{"instances": ["bad"]}', 400, "Input 'x' can't be read."),
        ("/v1/models/pets:predict", '{"instances": ["bug"]}', 500, "Something went wrong."),
        ("/v1/models/pets:predict", '{"instances": ["wait"]}', 504, "more than 0.2 seconds"),
        ("/v1/models/pets:predict", " " * 1001, 413, "1,000 bytes at most"),
    ],
)
def test_errors_are_json(client, path, body, status, said):
    reply = client.get(path) if body is None else client.post(path, content=body)
    assert reply.status_code == status and said in reply.json()["error"] and "secret" not in reply.text


def test_foreign_names_of_this_machine_are_refused(client):
    assert client.get("/v1/models/pets", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/v1/models/pets").status_code == 200


def test_the_page(client):
    assert client.get("/about").json() == {
        "name": "pets",
        "labels": {"breed": ["cat", "<b>dog"]},
        "inputs": ["image_bytes"],
    }
    kinds = {"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"}
    for path, kind in kinds.items():
        reply = client.get(path)
        assert reply.status_code == 200 and reply.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "http://" not in reply.text and "https://" not in reply.text  # nothing from elsewhere
