"""`keras-transfer serve` as a real process: a page, a prediction, Ctrl-C; and what it refuses."""

import base64
import json
import socket
import urllib.error
import urllib.request

import numpy as np
import pytest

from keras_transfer import cli
from keras_transfer.serving import command
from keras_transfer.serving.answering import Served


def asked(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as reply:
        return json.load(reply)


def test_a_photo_over_http(url, photo):
    body = {
        "instances": [{"image_bytes": {"b64": base64.b64encode(bytes_).decode()}} for bytes_ in (photo, b"no photo")]
    }
    good, bad = asked(f"{url}/v1/models/colours:predict", body)["predictions"]
    assert good["colour/label"] == "red" and 0.5 < good["colour/probability"] <= 1
    assert np.isclose(sum(good["colour/probabilities"]), 1, atol=1e-5)
    assert bad["colour/label"] == "" and bad["colour/probability"] == 0
    assert asked(f"{url}/v1/models/colours")["model_version_status"][0]["version"] == "1"
    assert asked(f"{url}/about")["labels"] == {"colour": ["red", "green", "<b>blue"]}


def test_it_listens_on_this_machine_only(url):
    port = int(url.rsplit(":", 1)[1])
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others:
        with socket.socket() as one, pytest.raises(OSError):
            one.settimeout(2)
            one.connect((address, port))
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(f"{url}/about", headers={"Host": "evil.example"}), timeout=30)


def test_the_folder_to_serve(exported, tmp_path):
    (tmp_path / "many" / "2").mkdir(parents=True)
    for version in ("2", "10"):
        (tmp_path / "many" / version).mkdir(exist_ok=True)
        (tmp_path / "many" / version / "saved_model.pb").write_bytes(b"")
    assert command.exported(tmp_path / "many", tmp_path).name == "10"
    assert command.exported(exported / "1", tmp_path) == exported / "1"
    assert command.labels_of(exported / "1", Served(exported / "1")) == {"colour": ["red", "green", "<b>blue"]}
    with pytest.raises(FileNotFoundError):
        command.exported(tmp_path / "absent", tmp_path)


def test_a_port_in_use(exported, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", str(exported), "--port", str(port)]) == 1
    assert f"Port {port} of 127.0.0.1 can't be used" in capsys.readouterr().err
