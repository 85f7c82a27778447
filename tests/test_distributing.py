"""One line from one device to several: replicas and workers train as one device does, and what goes wrong is told."""

import json
import os
import re
import shutil
import signal
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
import replicas
import saved_models
from keras_transfer import distributing
from test_clusters import TWO, config

# --- kinds


def test_without_gpus_or_cluster_it_is_the_default_strategy(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for kind in ("auto", "default"):
        assert kt.strategy(kind) is tf.distribute.get_strategy() and kt.strategy(kind).num_replicas_in_sync == 1
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert kt.strategy() is tf.distribute.get_strategy()


def test_auto_takes_what_there_is(monkeypatch):
    made = {"mirrored": object(), "multi_worker": object()}
    monkeypatch.setattr(distributing, "_made", made)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0", "GPU:1"])
    assert kt.strategy("auto") is made["mirrored"]
    config(monkeypatch, {"worker": ["a:2222"]})
    assert kt.strategy("auto") is made["mirrored"]
    config(monkeypatch, TWO)
    assert kt.strategy("auto") is made["multi_worker"]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"])
    monkeypatch.delenv("TF_CONFIG")
    assert kt.strategy("auto") is tf.distribute.get_strategy()


@pytest.mark.parametrize("kind, name", [("mirrored", "MirroredStrategy"), ("multi_worker", "MultiWorkerMirroredStrategy")])
def test_a_process_has_one_strategy_of_a_kind(monkeypatch, kind, name):
    monkeypatch.setattr(distributing, "_made", {})
    config(monkeypatch, TWO)
    calls = []
    monkeypatch.setattr(tf.distribute, name, lambda: calls.append(1) or object())
    assert kt.strategy(kind) is kt.strategy(kind) and calls == [1]


@pytest.mark.slow
def test_a_strategy_that_was_found_stays_the_same_and_trains_as_one_device(photo_folder):
    """Two processors are taken for GPUs; so nothing is mocked but how they are found."""
    (found,) = replicas.run("found", "one_of_a_kind", "tuned", arguments=[photo_folder])
    assert found["one_of_a_kind"] == {"same": [True] * 3, "kind": "MirroredStrategy", "replicas": 2}
    tuned, one = found["tuned"], replicas.tuned(photo_folder)
    assert tuned["phase"] == one["phase"] == ["head"] * 2 + ["tune"] * 2 and tuned["loss"][-1] < tuned["loss"][0]
    assert same(one, tuned, *(key for key in one if key != "phase")) > 1000


@pytest.mark.parametrize("kind", ["mirored", "multi_worker:a", "auto:", None, 2])
def test_an_unknown_kind_is_refused(kind):
    with pytest.raises(ValueError, match="Unknown kind of strategy"):
        kt.strategy(kind)
    with pytest.raises(ValueError, match="Did you mean 'mirrored'"):
        kt.strategy("mirored")


def test_a_tpu_that_is_not_there_is_told():
    with pytest.raises(ValueError, match=r'^There is no TPU within reach \(.*\). Give its name or address as in "tpu:NAME"'):
        kt.strategy("tpu")


@pytest.mark.parametrize("kind, given", [("tpu", None), ("tpu:pod-1", "pod-1"), ("tpu:grpc://10.0.0.2:8470", "grpc://10.0.0.2:8470")])
def test_a_tpu_is_found_by_its_name(monkeypatch, kind, given):
    """With stand-ins for TensorFlow's part: no TPU is at hand."""
    calls = []
    monkeypatch.setattr(distributing, "_made", {})
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", lambda tpu: calls.append(("found", tpu)) or "it")
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", lambda resolver: calls.append(("connected", resolver)))
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", lambda resolver: calls.append(("initialized", resolver)))
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda resolver: ["strategy of", resolver])
    assert kt.strategy(kind) == ["strategy of", "it"] and kt.strategy(kind) is kt.strategy(kind)
    assert calls == [("found", given), ("connected", "it"), ("initialized", "it")]


def test_workers_without_a_cluster_are_told(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="`TF_CONFIG` is not set.*Set it on each of them"):
        kt.strategy("multi_worker")


def test_too_late_for_a_cluster_is_told(monkeypatch):
    """This process has run TensorFlow long ago."""
    tf.constant(1.0) + 1.0
    config(monkeypatch, {"worker": ["127.0.0.1:1", "127.0.0.1:2"]})
    with pytest.raises(RuntimeError, match=r"^This worker can't join the cluster.*Call kt.strategy before anything else"):
        kt.strategy("auto")


# --- workers among themselves


def test_a_process_alone_is_the_chief_and_hears_itself():
    here = tf.distribute.get_strategy()
    assert distributing.is_chief(here) and not distributing.is_several(here)
    assert distributing.from_chief(b"abc", here) == b"abc"


def test_a_process_alone_shares_every_folder(tmp_path):
    here = kt.strategy("default")
    assert distributing.is_shared(tmp_path / "none", here) and distributing.position(here) == (0, 1)
    assert not list(tmp_path.iterdir())


def test_what_is_called_in_a_scope_runs_outside_of_it():
    @distributing.outside_scope
    def where(factor):
        if factor == 0:
            raise KeyError("of the function")
        return factor * tf.distribute.has_strategy(), threading.current_thread()

    assert where(1) == (0, threading.current_thread())
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        inside, thread = where(factor=1)
        assert not inside and thread is not threading.current_thread() and tf.distribute.has_strategy()
        with pytest.raises(KeyError, match="of the function"):
            where(0)


def test_a_lost_worker_is_told_in_one_sentence(monkeypatch):
    lost = tf.errors.UnavailableError(None, None, "Error from /job:worker/task:1: gone:\n/job:worker/replica:0/task:1")
    with pytest.raises(tf.errors.UnavailableError), distributing.lost_workers_told(tf.distribute.get_strategy()):
        raise lost
    monkeypatch.setattr(distributing, "is_several", lambda strategy: True)
    with pytest.raises(RuntimeError, match="^Worker 1 of the cluster is gone, .*`directory` goes on from its last whole epoch.$"):
        with distributing.lost_workers_told(None):
            raise lost


# --- the same training on one device and on several


def same(one, other, *names, tolerance=1e-5):
    """Compares numbers by name; returns how many were compared."""
    for name in names or one:
        assert np.allclose(one[name], other[name], atol=tolerance, rtol=tolerance), name
    print("largest difference", max(np.abs(np.subtract(one[name], other[name])).max(initial=0) for name in names or one))
    return sum(np.size(one[name]) for name in names or one)


def test_two_replicas_train_as_one_with_gaps_and_empty_shares():
    (two,) = replicas.run("two", "gaps")
    one = replicas.gaps()
    assert same(one, two["gaps"]) > 1000 and len(two["gaps"]["predict"]) == 99


@pytest.mark.slow
def test_what_keras_does_on_replicas_is_not_that():
    """The controls: a mean over the labels of each replica by itself, and statistics that drift apart."""
    (two,) = replicas.run("two", "gaps_by_replica", "norms", "norms_apart")
    assert np.abs(np.subtract(replicas.gaps()["weights"], two["gaps_by_replica"]["weights"])).max() > 1e-4
    parts, drifted = two["norms"]["parts"], two["norms_apart"]["parts"]
    assert parts[0] == parts[1] and np.abs(np.subtract(*drifted)).max() > 1e-3
    assert np.allclose(np.average(drifted, 0, weights=[8, 7]), parts[0], atol=1e-5)  # each counts its rows


@pytest.mark.slow
def test_norms_that_see_the_shares_of_two_workers_end_alike():
    """As on replicas: the mean of what each would have, in which each counts its rows; the control has them apart."""
    said = replicas.run("workers", "norms", "norms_apart", count=2)
    (mine,), (other,) = (worker["norms"]["parts"] for worker in said)
    drifted = [worker["norms_apart"]["parts"][0] for worker in said]
    assert mine == other and said[0]["norms"] == said[1]["norms"]
    assert np.abs(np.subtract(*drifted)).max() > 1e-3
    assert np.allclose(np.average(drifted, 0, weights=[8, 7]), mine, atol=1e-5)


SAME = (
    "regularized",
    "many_steps",
    "accumulated",
    "accumulated_and_looked_at",
    "accumulated_and_resumed",
    "found_rate",
    "gradual",
    "outside",
    "compiled_outside",
    "reloaded",
    "norms_together",
    "norms_with_empty_shares",
    "decayed",
    "clipped",
    "penalized",
    "added",
    "averaged",
    "measured",
    "learners_outside",
)


@pytest.fixture(scope="module")
def one(photo_folder):
    return {name: getattr(replicas, name)(photo_folder) for name in (*SAME, "gaps", "tuned", "tuned_whole", "halves", "overflowing")}


def check_all(one, several):
    for name in (*SAME, "tuned", "tuned_whole"):
        compared = [key for key in one[name] if key not in ("phase", "parts")]
        assert same(one[name], several[name], *compared), name
    assert several["tuned"]["phase"] == ["head"] * 2 + ["tune"] * 2
    assert several["overflowing"] == one["overflowing"] == {"left_out": True, "scale": 2.0**14, "goes_on": True}
    halves = several["halves"]
    assert (halves["optimizer"], halves["outputs"]) == ("LossScaleOptimizer", "float32")
    assert np.allclose(halves["loss"], one["halves"]["loss"], rtol=2e-3) and halves["loss"][-1] < halves["loss"][0]


@pytest.mark.slow
def test_two_replicas_train_as_one(one, photo_folder, tmp_path):
    saved_models.reusable(tmp_path / "norms")
    (two,) = replicas.run("two", *SAME, "tuned", "tuned_whole", "halves", "overflowing", arguments=[photo_folder])
    check_all(one, two)
    (two,) = replicas.run("two", "exported", "saved_model", arguments=[tmp_path])
    assert two["exported"].pop("written") and max(two["exported"].values()) < 1e-5
    (mean, variance) = two["saved_model"]["parts"]
    assert mean[0] == mean[1] != [0.0] * 4 and variance[0] == variance[1] and two["saved_model"]["apart"] < 1e-6
    assert two["saved_model"]["exported"] < 1e-5


@pytest.mark.slow
def test_two_workers_train_as_one(one, photo_folder, tmp_path):
    what = ("gaps", *SAME, "tuned", "tuned_whole", "halves", "overflowing")
    first, second = replicas.run("workers", *what, arguments=[photo_folder], count=2)
    check_all(one, first)
    assert same(one["gaps"], first["gaps"]) > 1000
    for name in first:  # and all are of one mind, to the bit
        assert first[name] == second[name], name


@pytest.mark.slow
def test_of_two_workers_the_chief_alone_leaves_something(tmp_path):
    saved_models.reusable(tmp_path / "norms")
    said = replicas.run("workers", "exported", "saved_model", arguments=[tmp_path], count=2)
    assert sorted(os.listdir(tmp_path)) == ["norms", "served"] and sorted(os.listdir(tmp_path / "served")) == ["1", "2"]
    for worker in said:
        worker["exported"].pop("written")
        assert max(worker["exported"].values()) < 1e-5 and worker["saved_model"]["exported"] < 1e-5
    assert said[0]["saved_model"]["parts"] == said[1]["saved_model"]["parts"]


@pytest.mark.slow
def test_of_two_workers_the_chief_alone_writes_a_run_and_a_page_and_each_row_counts_once(photo_folder, tmp_path):
    for name in ("workers", "one"):
        shutil.copytree(photo_folder, tmp_path / name / "photos")
    first, second = (worker["reported"] for worker in
                     replicas.run("workers", "reported", arguments=[tmp_path / "workers"], count=2))
    one = replicas.reported(tmp_path / "one")
    assert sorted(os.listdir(tmp_path / "workers")) == ["0", "photos"]  # though the second was given "1"
    assert sorted(os.listdir(tmp_path / "workers" / "0")) == ["report.html", "run"]
    assert second["path"].endswith("1/report.html")
    assert first["labels"] == second["labels"] == one["labels"] == [12, 33]
    assert same(one, first, "value", "loss", "predict") and first["predict"] == second["predict"]
    model = kt.load(tmp_path / "workers" / "0" / "run")
    assert np.allclose(model.predict(replicas.task(5)[0], verbose=0), first["predict"], atol=1e-5)
    history = [(tmp_path / name / "0" / "run" / "history.csv").read_text().splitlines() for name in ("workers", "one")]
    assert len(history[0]) == len(history[1]) == 3
    pages = [words((tmp_path / name / "0" / "report.html").read_text()) for name in ("workers", "one")]
    assert pages[0] == pages[1] and "12" in pages[0]


def words(page):
    """The words of a page, without those in plots."""
    page = re.sub(r"<(svg|style).*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", " ", page).split()


@pytest.mark.slow
def test_workers_that_share_a_folder_share_the_making_of_features(photo_folder, tmp_path):
    """Those with folders of their own each make all of them, and train the same."""
    shutil.copytree(photo_folder, tmp_path / "photos")
    (tmp_path / "file").touch()
    said = [worker["shared"] for worker in replicas.run("workers", "shared", arguments=[tmp_path], count=2)]
    for worker in said:
        assert worker["found"] == [True, False, False] and worker["place"] == ["all", None]
        assert worker["loss"] == said[0]["loss"] and worker["loss"][1] < worker["loss"][0]
    assert [worker["left"] for worker in said] == [["checkpoint.npz"] * 2, ["checkpoint.npz"]]  # that of the chief alone


# --- killed, and begun again

RUN = """if 1:
    import hashlib, json, sys, keras_transfer as kt
    strategy = kt.strategy("auto")
    import keras, conftest
    folder, directory = sys.argv[1:3]
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = kt.attach(conftest.small_backbone.__wrapped__()(), kt.heads.Classifier(3, dropout=0.2))
    train, valid, _ = kt.data.photos(folder, size=16, batch_size=8)
    history = kt.fine_tune(model, train, valid, head_epochs=3, epochs=3, last="block_2", directory=directory, seed=7,
                           deterministic=True, verbose=2)
    digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.weights)).hexdigest()
    print(json.dumps([digest, history.history["loss"]]))
"""


def begun(folder, directory):
    """Starts the two workers of a run."""
    return replicas.start([sys.executable, "-c", RUN, str(folder), str(directory)], 2)


@pytest.mark.slow
def test_a_run_of_two_workers_killed_and_begun_again_ends_with_the_same_bits(photo_folder, tmp_path):
    """One worker is killed in each phase: the other ends with a sentence; at last both are killed."""
    expected = [said.splitlines()[-1] for said in replicas.finish(begun(photo_folder, tmp_path / "whole"))]
    assert expected[0] == expected[1] and len(json.loads(expected[0])[1]) == 6
    for victim, epochs in [(1, 2), (0, 2)]:
        started = begun(photo_folder, tmp_path / "killed")
        replicas.read_until(started[victim], "Epoch", epochs)
        started[victim].send_signal(signal.SIGKILL)
        replicas.finish(started, timeout=90, check=False)
        other = started[1 - victim]
        last = replicas.errors_of(other).strip().splitlines()[-1]
        assert other.returncode == 1 and last.startswith(f"RuntimeError: Worker {victim} of the cluster is gone"), last
    started = begun(photo_folder, tmp_path / "killed")
    replicas.read_until(started[0], "Epoch", 1)
    for process in started:
        process.send_signal(signal.SIGKILL)
    replicas.finish(started, check=False)
    resumed = replicas.finish(begun(photo_folder, tmp_path / "killed"))
    assert [said.splitlines()[-1] for said in resumed] == expected and "from epoch" in resumed[0]
    assert sorted(os.listdir(tmp_path / "killed")) == ["checkpoint.npz"]


BACKUP = """if 1:
    import hashlib, json, os, sys, keras_transfer as kt
    strategy = kt.strategy("auto")
    import keras, replicas
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    with strategy.scope():
        model, (x, y) = replicas.trained_from("block_3"), replicas.task(48)
    backup = keras.callbacks.BackupAndRestore(f"{sys.argv[1]}/{index}")
    logs = model.fit(x, y, batch_size=16, epochs=4, shuffle=False, verbose=2, callbacks=[backup]).history
    digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.weights)).hexdigest()
    print(json.dumps([digest, logs["loss"]]))
"""


@pytest.mark.slow
def test_keras_s_own_backup_with_a_folder_for_each_worker_resumes_with_the_same_bits(tmp_path):
    def started(name):
        return replicas.start([sys.executable, "-c", BACKUP, str(tmp_path / name)], 2)

    whole = [json.loads(said.splitlines()[-1]) for said in replicas.finish(started("whole"))]
    assert whole[0] == whole[1] and len(whole[0][1]) == 4
    killed = started("killed")
    replicas.read_until(killed[0], "Epoch", 3)
    assert sorted(os.listdir(tmp_path / "killed")) == ["0", "1"] and os.listdir(tmp_path / "killed" / "1")
    for process in killed:
        process.send_signal(signal.SIGKILL)
    replicas.finish(killed, check=False)
    resumed = [json.loads(said.splitlines()[-1]) for said in replicas.finish(started("killed"))]
    assert resumed[0] == resumed[1] and resumed[0][0] == whole[0][0]
    assert 0 < len(resumed[0][1]) < 4 and resumed[0][1] == whole[0][1][-len(resumed[0][1]):]
