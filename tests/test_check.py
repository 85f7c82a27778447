import os

import pytest

from keras_transfer import _check
from support import run_python


def test_suggestion_is_near_or_a_list():
    assert _check.suggestion("mobilenetv2", ["MobileNetV2", "VGG16"]) == " Did you mean 'MobileNetV2'?"
    assert _check.suggestion("zzz", ["a", "b"]) == " There is: a, b."
    assert _check.suggestion("zzz", []) == ""
    assert _check.suggestion("zzz", map(str, range(30))).endswith("18, 19, ... (30 in all).")


def test_one_of():
    assert _check.one_of("a", ["a"], "letter") == "a"
    with pytest.raises(ValueError, match="Unknown letter 'b'. There is: a."):
        _check.one_of("b", ["a"], "letter")


def test_given():
    assert _check.given((1, 2, None)) == (1, 2) and _check.given((1, None, 2)) == (1, None, 2)
    assert _check.given((None, None)) == () and _check.given([1, None]) == [1, None]


@pytest.mark.parametrize("value", [-1, 1.0, True, "1", None])
def test_whole_refuses(value):
    with pytest.raises(ValueError, match="`n` must be a whole number of at least 0. Received:"):
        _check.whole(value, "n")


def test_whole_takes_numpy_numbers():
    import numpy as np

    assert _check.whole(np.int64(3), "n") == 3 and isinstance(_check.whole(np.int64(3), "n"), int)


@pytest.mark.parametrize("value", [-0.1, 1.0, True, "0", float("nan")])
def test_share_refuses(value):
    with pytest.raises(ValueError, match="`s` must be a share: at least 0 and less than 1. Received:"):
        _check.share(value, "s")


def test_extra_names_the_extra():
    assert _check.extra("json", "table").dumps({}) == "{}"
    with pytest.raises(ImportError, match=r'pip install "keras-transfer\[report\]"'):
        _check.extra("no_such_module", "report")


WATCH = """
import os, sys
from keras_transfer import _check
seen = []
fork = os.fork
os.fork = lambda: seen.append("fork") or fork()
sys.addaudithook(lambda event, args: seen.append(event) if event == "subprocess.Popen" or event.startswith("socket.get") else None)
{how}
print(sorted(set(seen)), os.environ.get("CI"))
"""


def test_openvino_is_imported_without_reporting_its_use(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.delenv("CI", raising=False)
    ways = ("_check.extra('openvino', 'openvino')", "os.fork()", "__import__('socket').gethostbyname('localhost')")
    ours, process, lookup = (run_python(WATCH.format(how=how)).stdout.strip() for how in ways)
    assert ours == "[] None"
    assert "fork" in process and "socket" in lookup  # the control: what a report would be seen by


def test_a_missing_package_names_its_extra_and_leaves_the_environment(monkeypatch):
    monkeypatch.setenv("CI", "before")
    with pytest.raises(ImportError, match=r'no_such is needed here .* pip install "keras-transfer\[some\]"'):
        _check.extra("no_such", "some")
    assert os.environ["CI"] == "before"


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), -0.5])
def test_numbers_out_of_range(value):
    for check, wanted in [
        (_check.at_least_zero, "at least 0"),
        (_check.over_zero, "over 0"),
        (_check.own_share, "over 0 and at most 1"),
    ]:
        with pytest.raises(ValueError, match=f"must be a number {wanted}. Received: {value!r}"):
            check(value, "x")
    assert (_check.at_least_zero(0, "x"), _check.over_zero(2, "x"), _check.own_share(1)) == (0.0, 2.0, 1.0)
