"""Streams are functions of (seed, epoch), whatever happened before and in whatever process."""

import hashlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.data import balance, info, photos
from keras_transfer.data.augmenting import Augmentation
from keras_transfer.data.streaming import Samples, ordered, shuffled, shuffled_rows
from keras_transfer.multitask import mix

PROGRAM = """
import sys, keras, tensorflow as tf
tf.config.experimental.enable_op_determinism()
keras.utils.set_random_seed(11)
sys.path.insert(0, sys.argv[1])
from test_streaming import digests
print(*digests(sys.argv[2]))
"""


@pytest.fixture
def samples(pets):
    names = [f"cat/{k}.png" for k in range(20)]
    return Samples([str(pets / name) for name in names], names, {"number": np.arange(20, dtype="int32")}, plain=True)


def epoch(dataset):
    xs, ys = zip(*[(x.numpy(), y.numpy()) for x, y in dataset])
    return np.concatenate(xs), np.concatenate(ys)


def augmentation():
    return Augmentation([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1)], (8, 8))


def test_ordered_yields_photos_in_order_with_the_last_batch_kept(samples):
    dataset = ordered(samples, (8, 6), "stretch", 6)
    assert dataset.cardinality() == 4 and dataset.element_spec[0].shape == (None, 8, 6, 3)
    x, y = epoch(dataset)
    np.testing.assert_array_equal(y, np.arange(20))
    np.testing.assert_allclose(x[:, 0, 0, 0], np.arange(1, 21), atol=1e-4)


def test_several_targets_are_a_dict(samples):
    both = Samples(samples.files, samples.names, {**samples.targets, "tags": np.eye(20, dtype="float32")}, plain=False)
    _, y = next(iter(ordered(both.where(np.arange(20) >= 15), (4, 4), "stretch", 8)))
    np.testing.assert_array_equal(y["number"], np.arange(15, 20))
    np.testing.assert_array_equal(y["tags"], np.eye(20)[15:])


def test_every_epoch_is_another_permutation_with_its_own_labels(samples):
    dataset, number = shuffled(samples, (8, 8), "stretch", 6, seed=0)
    assert dataset.cardinality() == 4
    epochs = [epoch(dataset) for _ in range(3)]
    assert number.numpy() == 3
    for x, y in epochs:
        assert sorted(y) == list(range(20))
        np.testing.assert_allclose(x[:, 0, 0, 0], y + 1, atol=1e-3)
    assert len({tuple(y) for _, y in epochs}) == 3


@pytest.mark.parametrize("make", [lambda: None, augmentation])
def test_an_epoch_can_be_repeated_whatever_was_read_before(samples, make):
    dataset, number = shuffled(samples, (8, 8), "stretch", 3, seed=1, augmentation=make())
    number.assign(7)
    expected = epoch(dataset)
    started = iter(dataset)
    next(started)  # an abandoned iteration, whose prefetching goes on
    for _ in range(2):
        number.assign(7)
        for one, other in zip(epoch(dataset), expected):
            np.testing.assert_array_equal(one, other)
    again, number = shuffled(samples, (8, 8), "stretch", 3, seed=1, augmentation=make())
    number.assign(7)
    np.testing.assert_array_equal(epoch(again)[0], expected[0])
    assert not np.array_equal(epoch(again)[0], expected[0]), "epoch 8 is another one"
    other, number = shuffled(samples, (8, 8), "stretch", 3, seed=2, augmentation=make())
    number.assign(7)
    assert not np.array_equal(epoch(other)[1], expected[1])


def test_augmentation_differs_between_batches_and_epochs(samples):
    same = Samples(samples.files[:1] * 8, samples.names[:1] * 8, {"number": np.zeros(8, "int32")}, plain=True)

    def noise(epochs):
        layer = Augmentation(keras.layers.GaussianNoise(0.9), (8, 8))
        dataset, _ = shuffled(same, (8, 8), "stretch", 4, seed=0, augmentation=layer)
        return [x.numpy() for _ in range(epochs) for x, _ in dataset]

    batches = noise(2)
    assert len({batch.tobytes() for batch in batches}) == 4
    for one, other in zip(batches, noise(2)):
        np.testing.assert_array_equal(one, other)


def test_fit_reshuffles_and_can_be_resumed_at_an_epoch(samples):
    seen = []

    class Watching(keras.Model):
        def call(self, x):
            return tf.reduce_mean(x, (1, 2, 3))[:, None]

        def train_step(self, data):
            tf.py_function(lambda y: seen.append(y.numpy()), [data[1]], [])
            return {"loss": 0.0}

    dataset, number = shuffled(samples, (8, 8), "stretch", 8, seed=0)
    model = Watching()
    model.compile(run_eagerly=True)
    setting = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: number.assign(epoch))
    model.fit(dataset, epochs=3, verbose=0, callbacks=[setting])
    whole = np.concatenate(seen[-9:])
    model.fit(dataset, epochs=3, initial_epoch=2, verbose=0, callbacks=[setting])
    np.testing.assert_array_equal(np.concatenate(seen[-3:]), whole[40:])
    assert not np.array_equal(whole[:20], whole[20:40])


def test_two_replicas_read_the_same_stream(samples):
    # a variable made within a strategy's scope is a mirrored one, and must still work within the pipeline
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        dataset, number = shuffled(samples, (8, 8), "stretch", 6, seed=0)
    plain, _ = shuffled(samples, (8, 8), "stretch", 6, seed=0)
    for expected, got in zip(plain, strategy.experimental_distribute_dataset(dataset)):
        np.testing.assert_array_equal(expected[1], got[1])
    assert number.numpy() == 1


def digests(folder):
    """The fingerprint of a training set, and a hash of the content of its epoch 3."""
    layers = [keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1), keras.layers.RandomContrast(0.3)]
    train, _, _ = photos(folder, size=8, batch_size=4, seed=5, augment=layers)
    info(train).epoch.assign(3)
    return info(train).fingerprint, hashlib.sha256(b"".join(array.tobytes() for array in epoch(train))).hexdigest()


@pytest.mark.slow
def test_the_same_in_a_fresh_process_that_is_deterministic_and_seeded_otherwise(pets):
    command = [sys.executable, "-c", PROGRAM, os.path.dirname(__file__), str(pets)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True).stdout
    assert tuple(output.split()) == digests(pets)


def test_no_pass_waits_for_the_thread_of_autotuning(samples, pets):
    train, valid, _ = photos(pets, size=8, validation=0.3)
    made = [train, valid, balance(train), ordered(samples, (8, 8), "stretch", 2), shuffled_rows(np.arange(6), 2, 0)[0],
            photos(pets, size=8, validation=0, augment=[keras.layers.RandomFlip()])[0], info(train).reader(np.arange(2), 2),
            mix({"a": (np.ones((4, 3)), np.ones(4))}, batch_size=2)]
    assert [dataset.options().autotune.enabled for dataset in made] == [False] * len(made)
