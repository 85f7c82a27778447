"""Which tasks to train together."""
import dataclasses
import functools

import numpy as np

from .. import _check
from .._table import Table
from ..distributing import outside_scope
from ..network import model_of
from .probing import Probe, first_batches, restored
from .reaching import shared_variables

_MOST = 12  # tasks; the search looks at 3^tasks pairs of sets


def affinity(model, dataset, *, steps=16, rate=0.01):
    """Returns how much a step for one task helps each other one, averaged over a short training; the weights are put back.

    Z_ij = 1 - L_j(X, s - rate dL_i/ds, h_j) / L_j(X, s, h_j), s being what tasks share and h_j the head of task j (Fifty et al.
    2021, arXiv:2109.04617). Above 0: what task i does to the shared weights lowers the loss of task j. After each look the
    model takes a step on the sum of all losses. `group` makes groups of it.

    It tells what happens now, near these weights: give it a model whose heads have been trained a little.

    Other than in the paper, which uses the optimizer of a whole training, the steps are plain gradient steps; and dropout and
    batch statistics are at rest, so that only the step makes a difference.

    Args:
        model: what `kt.attach` returned with a dict of heads, its flags set, or its learner.
        dataset: as for `fit`.
        steps: how many batches are looked at; a data set with fewer ends it.
        rate: the length of the gradient steps.

    Returns:
        `Affinities`, of which `matrix[i, j]` is Z_ij.

    Raises:
        ValueError: the tasks share nothing that trains, `rate` isn't over 0, or `steps` is below 1.

    Example:
        >>> found = kt.multitask.affinity(model, train)
        >>> kt.multitask.group(found, 2)
        [['age', 'height'], ['breed']]
    """
    _check.whole(steps, "steps", least=1)
    _check.over_zero(rate, "rate")
    network = model_of(model)
    shared = shared_variables(network)
    if not shared:
        raise ValueError("No variable that trains is shared by two tasks, so no step of one reaches another. Unfreeze a part of "
                         "the backbone.")
    places = {id(v): k for k, v in enumerate(network.trainable_variables)}
    variables = network.trainable_variables
    look = _Look(Probe(model, variables), variables, [places[id(v)] for v in shared], rate)
    with restored(network.variables):
        found = np.stack([look.taken(batch) for batch in first_batches(model, dataset, steps)])
    known = ~np.isnan(found)
    matrix = np.where(known.any(0), np.where(known, found, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
    return Affinities(look.probe.tasks, matrix)


@dataclasses.dataclass
class _Look:
    """Looks a step of each task ahead.

    Attributes:
        probe: of all variables.
        variables: those that train.
        shared: the places of shared ones among them.
        rate: of the steps.
    """

    probe: Probe
    variables: list
    shared: list
    rate: float

    @outside_scope
    def taken(self, batch):
        """Returns Z `(tasks, tasks)` for one batch, NaN for tasks without labels, and takes a step for all."""
        gradients, losses, present = self.probe.gradients(*batch)
        losses, known = losses.numpy(), present.numpy() & (losses.numpy() != 0)
        rows = []
        for i in range(len(self.probe.tasks)):
            with restored([self.variables[k] for k in self.shared]):
                self._step({k: gradients[k][i] for k in self.shared})
                ahead = self.probe.losses(*batch)[0].numpy()
            rows.append(1 - np.divide(ahead, losses, out=np.full_like(losses, np.nan), where=known))
        self._step({k: sum(column[i] for i in range(len(rows))) for k, column in enumerate(gradients)})
        return np.where(present.numpy()[:, None], np.stack(rows), np.nan)

    def _step(self, gradients):
        for k, gradient in gradients.items():
            self.variables[k].assign_sub(self.rate * np.asarray(gradient))


@dataclasses.dataclass(repr=False)
class Affinities:
    """What `affinity` found. It prints as a table: a row a task that takes a step, a column a task that feels it.

    Attributes:
        tasks: their names.
        matrix: Z, `(tasks, tasks)`; NaN where two tasks never had labels in one batch.
    """

    tasks: list
    matrix: np.ndarray

    def table(self):
        """Returns a `Table`."""
        return Table({"step of": task, **{f"on {other}": float(z) for other, z in zip(self.tasks, row)}}
                     for task, row in zip(self.tasks, self.matrix))

    def __str__(self):
        return str(self.table())

    __repr__ = __str__


def group(affinities, groups):
    """Returns the best way to part tasks into groups to be trained together, a list of lists of names.

    Best is the highest sum over tasks j of the mean of Z_ij over the others i in j's group (Fifty et al. 2021,
    arXiv:2109.04617). A task alone counts 0: nobody helps it, nobody harms it. The search is exact, so it takes 12 tasks at
    most.

    In the paper, a network may train with a task that another one serves, and none has a task alone; here each task is in
    one group.

    Args:
        affinities: what `affinity` returned.
        groups: how many groups there may be at most.

    Raises:
        ValueError: there are more than 12 tasks, `groups` is below 1, or an affinity isn't known.

    Example:
        >>> kt.multitask.group(kt.multitask.affinity(model, train), 2)
        [['age', 'height'], ['breed']]
    """
    if not isinstance(affinities, Affinities):
        raise TypeError(f"`affinities` must be what kt.multitask.affinity returned. Received: {affinities!r}")
    matrix, tasks = np.asarray(affinities.matrix, float), affinities.tasks
    _check.whole(groups, "groups", least=1)
    if len(tasks) > _MOST:
        raise ValueError(f"The search is exact and takes {_MOST} tasks at most. Received {len(tasks)}: leave some out, or take "
                         "tasks that surely belong together as one.")
    unknown = [(i, j) for i, j in np.argwhere(np.isnan(matrix)) if i != j]
    if unknown:
        i, j = unknown[0]
        raise ValueError(f"The affinity of {tasks[i]!r} to {tasks[j]!r} isn't known: they never had labels in one batch. Measure "
                         "more steps, or leave one out.")
    found = _best(matrix, groups)
    return [[tasks[i] for i in members] for members in sorted(found)]


def score(matrix, members):
    """Returns the sum over members j of the mean of Z_ij over the other members i; 0 for one alone."""
    others = np.where(np.eye(len(members), dtype=bool), 0, matrix[np.ix_(members, members)])
    return 0.0 if len(members) < 2 else float(others.sum() / (len(members) - 1))


def _best(matrix, groups):
    """The groups of the best partition, lists of numbers. Sets of tasks are the bits of a number."""
    members = lambda bits: [i for i in range(len(matrix)) if bits >> i & 1]  # noqa: E731
    worth = functools.cache(lambda bits: score(matrix, members(bits)))

    @functools.cache
    def part(rest, most):
        """(total, set of the lowest task) of the best partition of the tasks in `rest` into at most so many groups."""
        if not rest:
            return 0.0, 0
        if most == 1:
            return worth(rest), rest
        lowest, others = rest & -rest, rest & (rest - 1)
        best, chosen, subset = part(rest, 1)[0], rest, others
        while True:  # all subsets of the others, each with the lowest task
            subset = (subset - 1) & others
            total = worth(subset | lowest) + part(others & ~subset, most - 1)[0]
            if total > best:
                best, chosen = total, subset | lowest
            if not subset:
                return best, chosen

    rest, found = 2 ** len(matrix) - 1, []
    while rest:
        chosen = part(rest, groups - len(found))[1]
        found.append(members(chosen))
        rest &= ~chosen
    return found
