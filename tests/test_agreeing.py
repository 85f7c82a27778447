"""What workers must be of one mind about is settled before they train, or told on all of them."""

import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
import replicas
from keras_transfer import distributing
from keras_transfer.agreeing import agreed, fingerprint_of


def test_a_process_alone_agrees_with_itself(photo_folder, tmp_path):
    alone = tf.distribute.get_strategy()
    assert agreed(None, (), alone) == (None, False)
    assert agreed(tmp_path, [keras.callbacks.EarlyStopping()], alone) == (tmp_path, False)
    assert agreed(tmp_path, [keras.callbacks.EarlyStopping(), kt.GradualUnfreezing({1: None})], alone) == (tmp_path, True)
    train, _, _ = kt.data.photos(photo_folder, size=16)
    assert fingerprint_of(train, alone) == kt.data.info(train).fingerprint
    assert fingerprint_of(train.take(1), alone) is None and fingerprint_of(None, alone) is None


@pytest.mark.parametrize("callback", [keras.callbacks.EarlyStopping(), kt.GradualUnfreezing({1: None})])
def test_what_steers_must_be_given_to_the_chief_too(callback, monkeypatch):
    monkeypatch.setattr(distributing, "from_chief", lambda content, strategy: b"[null, []]")
    with pytest.raises(ValueError, match=f"Received here: {type(callback).__name__}, by the chief: none."):
        agreed(None, [callback], tf.distribute.get_strategy())


def test_arrays_are_told_apart_by_all_that_they_hold():
    x, y, weights = np.arange(12.0).reshape(4, 3), np.arange(4), np.ones(4)
    texts = np.array(["a", "b", "c", "d"], object)
    sets = [(x, y), (x + 1, y), (x, y + 1), (x.astype("float32"), y), (x, y, weights), (x, {"one": y, "two": y}), (texts, y)]
    found = [fingerprint_of(one, tf.distribute.get_strategy()) for one in sets]
    assert len(set(found)) == len(sets) and fingerprint_of((x.copy(), y.copy()), tf.distribute.get_strategy()) == found[0]


@pytest.mark.slow
def test_the_chief_alone_may_write_but_not_steer(photo_folder, tmp_path):
    """Both workers have copies of the photos whose times differ, as after an `unzip` on each machine."""
    for number in range(2):
        shutil.copytree(photo_folder, tmp_path / f"photos{number}")
        for file in (tmp_path / f"photos{number}").rglob("*.*"):
            os.utime(file, (1e9 + number, 1e9 + number))
    said = [worker["chief_alone"] for worker in replicas.run("workers", "chief_alone", arguments=[tmp_path], count=2)]
    for worker in said:
        assert worker["losses"] == said[0]["losses"] and worker["losses"][0] == worker["losses"][1] and len(worker["losses"][0]) == 2
        steering, directory = worker["told"]
        assert steering.startswith("Callbacks that steer training, such as EarlyStopping, must be given to all workers alike")
        assert directory.startswith("`directory` is given to other workers but not to the chief")
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3 and os.listdir(tmp_path / "run") == ["checkpoint.npz"]
