import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.checkpointing import FILE, RunState, owned


def test_state_and_variables_come_back(tmp_path):
    state = RunState({"last": "block_3"}, 7)
    state.phase, state.epoch, state.best, state.best_weights = 1, 4, 0.25, [np.arange(3.0), np.ones((2, 2))]
    state.log(loss=0.5, phase="head")
    state.log(loss=0.25, phase="tune")
    state.save(tmp_path, [tf.Variable(np.full(12, i)) for i in range(12)])
    again = RunState({"last": "block_3"}, 1)
    arrays = again.load(tmp_path)
    assert [a[0] for a in arrays] == list(range(12))
    assert (again.seed, again.phase, again.epoch, again.best) == (7, 1, 4, 0.25)
    assert again.history == {"loss": [0.5, 0.25], "phase": ["head", "tune"]}
    assert all(np.array_equal(a, b) for a, b in zip(again.best_weights, state.best_weights))


def test_bfloat16_comes_back(tmp_path):
    """NumPy's files keep only that a number has two bytes."""
    state, values = RunState({}, 0), [tf.constant(x, tf.bfloat16) for x in (1.5, [[0.1, -3.0]], [])]
    state.best_weights = [values[1].numpy()]
    state.save(tmp_path, [*map(tf.Variable, values), tf.Variable(2.0)])
    again = RunState({}, 0)
    *arrays, last = again.load(tmp_path)
    assert last.dtype == "float32" and again.best_weights[0].tolist() == state.best_weights[0].tolist()
    assert [(a.dtype, a.tolist()) for a in arrays] == [(v.dtype.as_numpy_dtype, v.numpy().tolist()) for v in values]


def test_without_a_checkpoint_there_is_nothing_to_load(tmp_path):
    assert RunState({}, 0).load(tmp_path / "none") is None


def test_another_run_is_refused(tmp_path):
    RunState({"last": "a", "epochs": 3}, 0).save(tmp_path, [])
    with pytest.raises(ValueError, match="is of another run: last was 'a' and is 'b'. Give the same settings"):
        RunState({"last": "b", "epochs": 3}, 0).load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"no zip at all"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ValueError, match="is no checkpoint of `fine_tune`.*Delete it to start anew"):
        RunState({}, 0).load(tmp_path)


def test_nothing_pickled_is_read(tmp_path):
    np.savez(tmp_path / FILE, told=np.array([{"settings": {}}], dtype=object))
    with pytest.raises(ValueError, match="is no checkpoint"):
        RunState({}, 0).load(tmp_path)


def test_a_failure_while_writing_leaves_the_old_one(tmp_path, monkeypatch):
    state = RunState({}, 0)
    state.save(tmp_path, [tf.Variable([1.0])])

    class Broken:
        def numpy(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        state.save(tmp_path, [Broken()])
    monkeypatch.setattr(np, "savez", lambda *_, **__: Broken().numpy())
    with pytest.raises(OSError, match="The checkpoint can't be written to .*No space left on device.*The one before it stays"):
        state.save(tmp_path, [tf.Variable([2.0])])
    assert RunState({}, 0).load(tmp_path)[0] == [1.0] and [p.name for p in tmp_path.iterdir()] == [FILE]


def claimed_by_another(directory):
    """A process that owns `directory` until it's killed."""
    code = f"""
import time
from keras_transfer.checkpointing import owned
with owned({str(directory)!r}):
    print("claimed", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "claimed\n"
    return process


def test_a_folder_that_a_run_uses_is_refused_to_others_until_it_ends_or_is_killed(tmp_path):
    other = claimed_by_another(tmp_path / "run")
    with pytest.raises(RuntimeError, match="Another run uses .*run', and would write over the checkpoint of this one"):
        with owned(tmp_path / "run"):
            pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    for _ in range(2):
        with owned(tmp_path / "run"), owned(tmp_path / "run"):
            pass
    assert list((tmp_path / "run").iterdir()) == []


def test_a_claim_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Nothing can be written to .*file.*. Give another `directory`."):
        with owned(tmp_path / "file"):
            pass
    assert (tmp_path / "file").read_text() == ""
