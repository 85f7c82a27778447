"""No two methods do the same: a wrong import, or a method that falls back to another, would show here."""

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
NEEDS_ARGUMENTS = {"Fixed"}


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
    return laws.run(laws.built(METHODS[name]), laws.batches())[0]


@pytest.mark.parametrize("one, other", itertools.combinations(sorted(set(METHODS) - NEEDS_ARGUMENTS), 2))
def test_two_methods_differ(one, other):
    assert not np.allclose(steps(one), steps(other), rtol=1e-3, atol=1e-4)


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
    assert np.allclose(again, steps("Equal")) and {"Equal", "PCGrad"} <= set(METHODS)
