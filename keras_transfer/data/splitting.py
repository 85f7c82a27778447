"""A split that depends on the seed and the names of the files only: on no order, no machine and no library's version."""
import hashlib

import numpy as np


def split(keys, strata, validation, test, seed):
    """Assigns every sample to train, valid or test, with the same shares in every stratum.

    A stratum of two or more keeps at least one sample in train, then, as far as its count allows, gives at least one
    to valid and one to test; a stratum of one goes to train. Samples with the same key stay together.

    Args:
        keys: `(samples,)` strings that identify the samples, such as relative paths.
        strata: `(samples,)` hashable values, such as classes.
        validation: share of valid, 0 for none.
        test: share of test, 0 for none.
        seed: whole number; another one gives another split.

    Returns:
        NumPy array `(samples,)` of "train", "valid" and "test".
    """
    groups = {}
    for key, stratum in dict(zip(keys, strata)).items():
        groups.setdefault(stratum, []).append(key)
    parts = {}
    for members in groups.values():
        members.sort(key=lambda key: _rank(key, seed))
        valid, test_count = counts(len(members), validation, test)
        parts.update((key, "valid" if k < valid else "test" if k < valid + test_count else "train")
                     for k, key in enumerate(members))
    return np.array([parts[key] for key in keys], dtype="<U5")


def _rank(key, seed):
    return hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogateescape")).digest()


def counts(samples, validation, test):
    """Returns how many of a stratum's samples go to valid and to test."""
    valid = max(1, round(samples * validation)) if validation else 0
    tests = max(1, round(samples * test)) if test else 0
    while valid + tests > max(0, samples - 1):
        if valid > tests:
            valid -= 1
        else:
            tests -= 1
    return valid, tests
