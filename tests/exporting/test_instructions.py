import base64
import json
import re
import subprocess
import types

import keras
import pytest

from keras_transfer.exporting.instructions import instructions
from keras_transfer.exporting.subject import subject


def lines(what, path):
    return instructions(types.SimpleNamespace(path=path, subject=what))


def test_the_server_and_the_request_have_the_name_of_the_folder(network, tmp_path):
    said = lines(subject(network), tmp_path / "pets" / "1")
    assert f"-v {tmp_path}/pets:/models/pets -e MODEL_NAME=pets tensorflow/serving" in said
    assert said.rstrip().endswith("| curl -d @- http://localhost:8501/v1/models/pets:predict")
    assert f'-v "{tmp_path}/my pets":' in lines(subject(network), tmp_path / "my pets" / "1")


def test_the_request_for_a_photo_is_what_a_shell_makes_of_it(network, tmp_path):
    photo = bytes(range(256)) * 1500  # its base64 is longer than an argument of a program may be
    (tmp_path / "photo.jpg").write_bytes(photo)
    command = re.search(r"^  (printf .*) \| curl", lines(subject(network), tmp_path / "p" / "1"), re.M)[1]
    said = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=True).stdout
    (instance,) = json.loads(said)["instances"]
    assert base64.b64decode(instance["image_bytes"]["b64"]) == photo


def test_requests_of_other_kinds(numbers, tmp_path):
    said = lines(subject(numbers), tmp_path / "n" / "1")
    assert json.loads(re.search(r"curl -d '(.*)' http", said)[1]) == {
        "instances": [{"a": [0.0, 0.0, 0.0], "b": [0, 0]}]
    }
    words = keras.Input((), dtype="string", name="words")
    said = lines(subject(keras.Model(words, keras.layers.Hashing(4)(words))), tmp_path / "n" / "1")
    assert json.loads(re.search(r"curl -d '(.*)' http", said)[1]) == {"instances": [{"text": "some words"}]}


@pytest.mark.parametrize("shape", [(None,), (2, None)])
def test_an_axis_of_any_length_is_shown_short(shape, tmp_path):
    sound = keras.Input(shape, name="sound")
    row = json.loads(
        re.search(
            r"-d '(.*)' http", lines(subject(keras.Model(sound, keras.layers.ReLU()(sound))), tmp_path / "n" / "1")
        )[1]
    )
    assert row["instances"][0]["sound"] == ([0.0] * 3 if shape == (None,) else [[0.0] * 3] * 2)
