"""Weights that stay."""
import numbers

import keras
import tensorflow as tf

from ... import _check
from .weighting import Weighting, masked


@keras.saving.register_keras_serializable("keras_transfer")
class Fixed(Weighting):
    """Weighs each task with a number of its own, the same at every step: the sum of w_t L_t.

    For weights found by a search, or for a scalarization with known preferences. They multiply the loss weights of the heads.

    Args:
        weights: `{task name: number}` with every task in it, or a list of numbers in the order of the tasks.
        **options: see `Weighting`.

    Raises:
        ValueError: a weight is negative or no number; a name is unknown, or a task has no weight.

    Example:
        >>> learner = kt.MultiTask(model, kt.multitask.Fixed({"breed": 1.0, "age": 0.2}))
    """

    needs_gramian = False

    def __init__(self, weights, **options):
        super().__init__(**options)
        if isinstance(weights, str) or not hasattr(weights, "__iter__"):
            raise TypeError(f"`weights` must be a dict {{task: number}} or a list of numbers. Received: {weights!r}")
        named = dict(weights) if isinstance(weights, dict) else dict(enumerate(weights))
        for name, weight in named.items():
            if isinstance(weight, bool) or not isinstance(weight, numbers.Real) or not 0 <= weight < float("inf"):
                raise ValueError(f"The weight of task {name!r} must be a number of at least 0. Received: {weight!r}")
        self.by_name = {name: float(weight) for name, weight in named.items()} if isinstance(weights, dict) else None
        self.in_order = None if isinstance(weights, dict) else [float(weight) for weight in weights]

    def name_tasks(self, names):
        """Puts weights given by name into the order of `names`, which are those of all tasks."""
        if self.by_name is None:
            return
        for name in self.by_name:
            _check.one_of(name, list(names), "task in `Fixed`:")
        missing = [name for name in names if name not in self.by_name]
        if missing:
            raise ValueError(f"`Fixed` has no weight for {', '.join(map(repr, missing))}. Give one for each task; 0 takes a "
                             "task out.")
        self.in_order = [self.by_name[name] for name in names]

    def build(self, tasks, shapes=()):
        super().build(tasks, shapes)
        given = len(self.in_order if self.by_name is None else self.by_name)
        if given != self.tasks:
            raise ValueError(f"`Fixed` has {given} weights for {self.tasks} tasks. Give one for each task.")

    def call(self, losses, gramian, present):
        if self.in_order is None:
            raise ValueError("`Fixed` was given weights by name and not told the names of the tasks. "
                             "Call `name_tasks`, or give a list.")
        return masked(tf.constant(self.in_order), present)

    def get_config(self):
        weights = list(self.in_order) if self.by_name is None else dict(self.by_name)
        return {**super().get_config(), "weights": weights}
