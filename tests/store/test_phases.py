"""Two phases of training, one pass over the photos."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.data.describing import described
from keras_transfer.store.phases import Phases
from support import pixels

TENSORFLOW = kt.Store(engine="tensorflow")


def phases(model, flags, train, valid=None, **options):
    return Phases(model, flags, train, valid, **{"store": TENSORFLOW, "only_exact": True, "verbose": 0} | options)


def tuned(model):
    kt.unfreeze(model, "block_3")


@pytest.fixture
def model(small_backbone):
    return kt.attach(small_backbone(), kt.heads.Classifier(3))


@pytest.fixture
def counted(sets):
    """The sets, and a list of the numbers of rows that were read at once."""
    passes = []

    def counting(part):
        known = kt.data.info(part)
        reader = known.reader
        return described(part, dataclasses.replace(
            known, reader=lambda rows, size: passes.append(len(rows)) or reader(rows, size)))

    train, valid = map(counting, sets())
    return train, valid, passes


@pytest.mark.parametrize("kept", [False, True])
def test_photos_are_read_once_for_both_phases(model, counted, tmp_path, kept):
    train, valid, passes = counted
    both = phases(model, [kt.freeze, tuned], train, valid, directory=tmp_path if kept else None)
    for number, set_flags in enumerate([kt.freeze, tuned]):
        set_flags(model)
        tail, features, held = both.of(number)
        assert [v.path for v in tail.trainable_variables] == [v.path for v in model.trainable_variables]
        for part, of_part in ((train, features), (valid, held)):
            for of_whole in (part, of_part):
                if kt.data.info(of_whole).epoch is not None:
                    kt.data.info(of_whole).epoch.assign(3)
            for (x, y), (some, labels) in zip(part, of_part, strict=True):
                assert np.array_equal(y, labels)
                np.testing.assert_allclose(tail(some), model(x), rtol=1e-4, atol=1e-6)
    assert passes == [len(kt.data.info(train).files), len(kt.data.info(valid).files)]


def test_what_trains_in_the_first_phase_is_not_computed_for_the_second_one_before(model, counted):
    train, _, passes = counted
    dense = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4, name="below"), keras.layers.Dense(3)])
    whole = keras.Model(inputs := keras.Input(train.element_spec[0].shape[1:]), dense(inputs))
    below = dense.get_layer("below")

    def first(model):
        below.trainable = True

    def second(model):
        below.trainable = False

    first(whole)
    both = phases(whole, [first, second], train)
    assert both.of(0) is None  # nothing is frozen
    below.kernel.assign(below.kernel * 2)
    second(whole)
    tail, features, _ = both.of(1)
    for part in (train, features):
        kt.data.info(part).epoch.assign(0)
    np.testing.assert_allclose(tail(next(iter(features))[0]), whole(next(iter(train))[0]), rtol=1e-4)


def test_arrays_are_computed_once_too(model):
    x = pixels(20)
    both = phases(model, [kt.freeze, tuned], (x, np.zeros(20, "int32")))
    kt.freeze(model)
    tail, (features, _), _ = both.of(0)
    wide = both.held[1][1][0]
    assert wide.ndim == 4 and features.shape == (20, 12)
    np.testing.assert_allclose(tail(features), model(x), rtol=1e-4, atol=1e-6)


def test_features_without_room_are_asked_for_once(model, sets, monkeypatch, capsys):
    from keras_transfer.store import training

    train, valid = sets()
    monkeypatch.setattr(training, "room", lambda directory: 3000)  # the first phase's 42 x 12 numbers fit
    both = phases(model, [kt.freeze, tuned], train, valid, verbose=1)
    kt.freeze(model)
    assert both.of(0) is not None
    tuned(model)
    assert both.of(1) is None and capsys.readouterr().out.count("more than there is room for") == 1


@pytest.mark.parametrize("augmented", [True, False], ids=["features of neither phase", "no room for features"])
def test_a_plain_keras_model_stays_compiled_where_it_trains_without_features(augmented, monkeypatch):
    from keras_transfer.store import training

    monkeypatch.setattr(training, "IN_MEMORY", 100)
    x, y, found = pixels(20), np.arange(20) % 3, []
    for cache in ("auto", False):
        keras.utils.set_random_seed(0)
        image = keras.Input((16, 16, 3))
        maps = keras.layers.Conv2D(4, 3, name="block_1")(keras.layers.RandomFlip()(image) if augmented else image)
        maps = keras.layers.Conv2D(4, 3, name="block_2")(maps)
        ours = kt.attach(keras.Model(image, keras.layers.GlobalAveragePooling2D()(maps)), kt.heads.Classifier(3))
        plain = keras.Model(ours.input, ours.output)
        plain.compile("adam", loss="sparse_categorical_crossentropy")
        options = {"head_epochs": 1, "epochs": 1, "last": "block_2", "seed": 1, "verbose": 0}
        found.append(kt.fine_tune(plain, (x, y), cache=cache, **options).history["loss"])
    assert found[0] == found[1] and len(found[0]) == 2
