"""No two methods do the same: a wrong import, or a method that falls back to another, would show here.

They are compared by the directions of their steps, so that a method that is another one times a number shows too.
Over three steps all directions differ; at the first one some are the same by definition, and only lengths may differ.
"""

import functools
import importlib
import inspect
import itertools
import pkgutil

import numpy as np
import pytest

from keras_transfer.multitask import weighting as package
from multitask.weighting import laws

ABSTRACT = {"Weighting", "LearnedWeighting", "GradientCombination"}
GIVEN = {"Fixed": {"weights": [1.0, 0.5, 2.0]}, **dict.fromkeys(["GradDrop", "GradVac", "PCGrad", "RLW"], {"seed": 0})}
SAME_AT_FIRST = [
    {"DWA", "Equal", "ExcessMTL", "GradNorm", "IMTLL", "Uncertainty"},  # begin as the plain sum
    {"FAMO", "GLS", "STCH"},  # weights as 1 / L
    {"GradVac", "PCGrad"},  # targets begin at 0; for the same draws
]


def methods():
    """All weightings that are exported, or defined in a module of the folder."""
    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    found = {}
    for module in [package, *modules]:
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, package.Weighting) and name not in ABSTRACT:
                found[name] = value
    return found


METHODS = methods()


@functools.cache
def steps(name):
    """The gradients of three steps of a method on tasks in conflict."""
    return laws.run(laws.built(functools.partial(METHODS[name], **GIVEN.get(name, {}))), laws.batches())[0]


def apart(one, other):
    """How far the directions of two methods are from each other at each of the steps."""
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other))
    return np.linalg.norm(one - other, axis=1)


PAIRS = list(itertools.combinations(sorted(METHODS), 2))


@pytest.mark.parametrize("one, other", PAIRS)
def test_two_methods_differ_in_direction(one, other):
    assert np.max(apart(steps(one), steps(other))) > 5e-4


@pytest.mark.parametrize("one, other", PAIRS)
def test_two_methods_differ_in_direction_from_the_first_step_on_but_for_those_that_begin_alike(one, other):
    first = apart(steps(one), steps(other))[0]
    assert first < 2e-5 if any({one, other} <= group for group in SAME_AT_FIRST) else first > 0.01


def test_all_methods_are_compared():
    assert len(METHODS) == 24 and len(PAIRS) == 276 and set(GIVEN) | set.union(*SAME_AT_FIRST) <= set(METHODS)
    assert np.ptp(GIVEN["Fixed"]["weights"]) > 0


def test_the_tasks_are_in_conflict():
    for batch in laws.batches():
        assert min(np.min(g.reshape(3, -1) @ g.reshape(3, -1).T) for g in batch.gradients) < 0
        assert np.min(sum(g.reshape(3, -1) @ g.reshape(3, -1).T for g in batch.gradients)) < 0


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_has_its_file_and_a_name_in_the_folder(name):
    assert METHODS[name].__module__ == f"{package.__name__}.{name.lower()}"
    assert getattr(package, name) is METHODS[name]


def test_the_comparison_sees_equal_methods():
    again, _ = laws.run(laws.built(package.Equal), laws.batches())
    assert np.allclose(again, steps("Equal")) and np.max(apart(again, steps("Equal"))) < 1e-6


def test_the_comparison_sees_methods_that_differ_in_length_only():
    doubled, _ = laws.run(laws.built(lambda: package.Fixed([2.0, 2.0, 2.0])), laws.batches())
    assert np.max(apart(doubled, steps("Equal"))) < 2e-5 and not np.allclose(doubled, steps("Equal"))
