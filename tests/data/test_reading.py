"""The options that `photos` and `table` share."""

import keras
import numpy as np
import pytest

from keras_transfer.data import info, photos
from keras_transfer.data.reading import Reading


@pytest.mark.parametrize(
    "options, words",
    [
        ({"validation": 1.0}, "`validation` must be a share: at least 0 and less than 1. Received: 1.0"),
        ({"validation": -0.1}, "`validation` must be a share"),
        ({"validation": "0.2"}, "`validation` must be a share"),
        ({"test": 1.5}, "`test` must be a share"),
        ({"validation": 0.6, "test": 0.4}, "together less than 1. Received: validation=0.6, test=0.4"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1"),
        ({"seed": -1}, "`seed` must be a whole number of at least 0"),
        ({"seed": 0.5}, "`seed` must be a whole number"),
        ({"part": "tset"}, "Unknown part 'tset'. Did you mean 'test'?"),
        ({"part": "valid"}, "Unknown part 'valid'. There is: train, test"),
        ({"fit": "pads"}, "Unknown fit 'pads'. Did you mean 'pad'?"),
        ({"on_error": "ignore"}, "Unknown on_error 'ignore'. There is: raise, skip"),
        ({"size": 0}, "`size` must be a number of pixels"),
        ({"size": "big"}, "`size` must be a number of pixels"),
    ],
)
def test_bad_options_are_refused_before_any_file_is_read(options, words):
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        Reading(**options)
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        photos("no such folder", **options)


def test_parts_are_disjoint_complete_and_independent_of_other_options(pets):
    train, valid, _ = photos(pets, size=4, test=0.2, seed=3)
    test, labels = photos(pets, size=(6, 5), test=0.2, seed=3, part="test", batch_size=7)
    files = [set(info(one).files) for one in (train, valid, test)]
    assert [len(part) for part in files] == [18, 6, 6] and len(set.union(*files)) == 30 and labels == ["cat", "dog"]
    assert info(test).epoch is None and test.cardinality() == 1
    flipped, _, _ = photos(pets, size=4, test=0.2, seed=3, batch_size=5, augment=keras.layers.RandomFlip())
    assert set(info(flipped).files) == files[0]
    assert set(info(photos(pets, size=4, test=0.2, seed=4)[0]).files) != files[0]


def test_augmentation_belongs_to_training_and_to_the_fingerprint(pets):
    def known(**options):
        train, valid, _ = photos(pets, size=4, **options)
        return info(train), info(valid)

    (plain, held), (flip, held_too) = known(), known(augment=keras.layers.RandomFlip())
    assert (plain.random, flip.random, held_too.random) == (False, True, False)
    assert held.fingerprint == held_too.fingerprint
    marks = [
        plain,
        flip,
        known(augment=keras.layers.RandomFlip("vertical"))[0],
        known(augment=[keras.layers.Rescaling(0.5)])[0],
        known(augment=keras.layers.RandomFlip(), batch_size=5)[0],
    ]
    assert len({mark.fingerprint for mark in marks}) == 5 and not marks[3].random
    assert known(augment=keras.layers.RandomFlip())[0].fingerprint == flip.fingerprint
    assert known(augment=[])[0].fingerprint == plain.fingerprint


def test_validation_photos_are_never_augmented(pets):
    _, valid, _ = photos(pets, size=4, augment=keras.layers.Rescaling(0.0))
    train, _, _ = photos(pets, size=4, augment=keras.layers.Rescaling(0.0))
    assert max(float(np.max(x)) for x, _ in valid) > 99 and max(float(np.max(x)) for x, _ in train) == 0


def test_without_validation_there_is_none(pets):
    train, valid, _ = photos(pets, size=4, validation=0)
    assert valid is None and len(info(train).files) == 30


def test_an_empty_part_is_refused(pets):
    with pytest.raises(ValueError, match="There are no test photos: hold some out with test=0.1"):
        photos(pets, size=4, part="test")
