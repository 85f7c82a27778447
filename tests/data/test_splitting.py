"""Properties of the split, over many sizes and shares."""

import collections
import itertools

import numpy as np
import pytest

from keras_transfer.data.splitting import counts, split

KEYS = [f"{name}/{k}.jpg" for name, count in (("a", 50), ("b", 20), ("c", 3), ("d", 2), ("e", 1)) for k in range(count)]
STRATA = [key[0] for key in KEYS]


def test_shares_hold_in_every_stratum():
    counted = collections.Counter(zip(STRATA, split(KEYS, STRATA, 0.2, 0.1, 0)))
    assert counted == {
        ("a", "valid"): 10,
        ("a", "test"): 5,
        ("a", "train"): 35,
        ("b", "valid"): 4,
        ("b", "test"): 2,
        ("b", "train"): 14,
        ("c", "valid"): 1,
        ("c", "test"): 1,
        ("c", "train"): 1,
        ("d", "valid"): 1,
        ("d", "train"): 1,
        ("e", "train"): 1,
    }


def test_the_same_whatever_the_order():
    parts = dict(zip(KEYS, split(KEYS, STRATA, 0.2, 0.1, 0)))
    order = np.random.default_rng(0).permutation(len(KEYS))
    again = split([KEYS[k] for k in order], [STRATA[k] for k in order], 0.2, 0.1, 0)
    assert dict(zip([KEYS[k] for k in order], again)) == parts


def test_fixed_for_ever():
    # written down once: a new version that splits otherwise would mix old test photos into training
    parts = split([f"{k}.jpg" for k in range(12)], [0] * 12, 0.25, 0.25, 7)
    assert "".join(part[0] if part != "train" else "." for part in parts) == "..tv.t.t..vv"


def test_seeds_differ():
    assert (split(KEYS, STRATA, 0.3, 0, 0) != split(KEYS, STRATA, 0.3, 0, 1)).any()


def test_other_strata_dont_matter():
    alone = [key for key in KEYS if key[0] == "b"]
    parts = dict(zip(KEYS, split(KEYS, STRATA, 0.2, 0.1, 0)))
    assert dict(zip(alone, split(alone, ["b"] * 20, 0.2, 0.1, 0))) == {key: parts[key] for key in alone}


def test_the_same_key_is_in_one_part():
    keys = [f"{k % 10}.jpg" for k in range(40)]
    parts = split(keys, [0] * 40, 0.3, 0.2, 0)
    assert len(set(zip(keys, parts))) == 10 and collections.Counter(parts) == {"valid": 12, "test": 8, "train": 20}


def test_nothing_held_out():
    assert set(split(KEYS, STRATA, 0, 0, 0)) == {"train"}


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 4, 5, 10, 99])
def test_counts_keep_one_for_train_then_valid_then_test(samples):
    for validation, test in itertools.product([0, 0.01, 0.2, 0.5, 0.9], [0, 0.05, 0.09]):
        valid, tests = counts(samples, validation, test)
        assert valid >= 0 and tests >= 0 and (samples - valid - tests >= min(1, samples))
        assert bool(valid) == bool(validation and samples >= 2)
        assert bool(tests) == bool(test and samples >= 2 + bool(validation))
        if samples == 99:
            assert abs(valid - 99 * validation) <= 0.95 and abs(tests - 99 * test) <= 0.95
