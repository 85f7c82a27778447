"""Single-task against multi-task, task by task: relative changes, and a table that says which task lost."""
import math
import numbers
import statistics

from .. import _check
from .._table import Table

_HIGHER = ("accuracy", "acc", "auc", "precision", "recall", "sensitivity", "specificity", "f1", "f1_score", "fbeta_score", "iou",
           "mean_io_u", "r2", "r2_score", "cosine_similarity")
_LOWER = ("loss", "error", "mae", "mse", "rmse", "mape", "msle", "crossentropy", "hinge", "poisson", "kl_divergence", "logcosh",
          "perplexity")
_MODES = dict.fromkeys(_HIGHER, "max") | dict.fromkeys(_LOWER, "min")


def mode_of(metric, modes=None):
    """Returns "max" for a metric that's better when higher, "min" for one that's better when lower.

    Args:
        metric: its name; the end counts, so that `root_mean_squared_error` is an error.
        modes: `{metric: "max" or "min"}` for names that aren't known.

    Raises:
        ValueError: the name isn't known.
    """
    if metric in (modes or {}):
        return _check.one_of(modes[metric], ("max", "min"), f"mode of metric {metric!r}")
    found = [mode for name, mode in _MODES.items() if metric == name or metric.endswith(f"_{name}")]
    if not found:
        raise ValueError(f"Nothing is known of the metric {metric!r}: whether higher is better, or lower. Say it, with "
                         f"modes={{{metric!r}: \"max\"}} or \"min\".")
    return found[0]


def changes(baselines, results, modes=None):
    """Returns what each task gained, `{task: share}`: the mean over its metrics of (-1)^l (M_m - M_b) / |M_b|.

    Args:
        baselines: M_b, `{task: {metric: value}}`; its tasks and metrics are those that count.
        results: M_m, the same.
        modes: as for `mode_of`; l is 1 where lower is better, else 0.

    Raises:
        ValueError: results lack a task or metric, a baseline is 0, or a metric isn't known.
    """
    found = {}
    for task, metrics in baselines.items():
        _check.one_of(task, results, "task of `baselines`")
        each = []
        for metric, before in metrics.items():
            _check.one_of(metric, results[task], f"metric of task {task!r} in `baselines`")
            each.append(_change(f"{metric} of task {task!r}", results[task][metric], before, mode_of(metric, modes)))
        found[task] = statistics.fmean(each)
    return found


def _change(what, value, before, mode):
    if before == 0:
        raise ValueError(f"The single-task {what} is 0, so no change relative to it can be told. Leave it out of `baselines`, or "
                         "take another metric.")
    return (value - before) / abs(before) * (1 if mode == "max" else -1)


def means(runs):
    """Returns the mean over runs of `{task: {metric: value}}`, given as a list of them or a single one."""
    runs = _listed(runs, "baselines")
    return {task: {metric: statistics.fmean(run[task][metric] for run in runs) for metric in metrics}
            for task, metrics in runs[0].items()}


def comparison(baselines, results, *, modes=None):
    """Returns a table of single-task against multi-task results, task by task, which says what lost.

    With several seeds it shows mean and standard deviation; a difference counts as within the spread where
    mean ± deviation of the two overlap.

    Args:
        baselines: what `kt.multitask.baselines` returned, `{task: {metric: value}}`; or a list of them, one a seed.
        results: the same of the multi-task model, such as `kt.multitask.gain(...).results`; or a list of them.
        modes: `{metric: "max" or "min"}` for metrics of which it isn't known whether higher is better.

    Returns:
        A `Comparison`.

    Raises:
        ValueError: tasks or metrics differ, a baseline is 0, or a metric isn't known.

    Example:
        >>> print(kt.multitask.comparison(baselines, [first.results, second.results]))
    """
    singles, multis = _listed(baselines, "baselines"), _listed(results, "results")
    before, after = means(singles), means(multis)
    gains = changes(before, after, modes)
    rows = [_row(task, metric, singles, multis, mode_of(metric, modes)) for task in before for metric in before[task]]
    return Comparison(rows, gains, after)


def _listed(given, argument):
    runs = [given] if isinstance(given, dict) else list(given) if isinstance(given, (list, tuple)) else []
    whole = [isinstance(run, dict) and run and all(isinstance(v, dict) and v for v in run.values()) for run in runs]
    if not runs or not all(whole):
        raise ValueError(f"`{argument}` must be {{task: {{metric: value}}}} with at least one of each, or a list of such, one a "
                         f"seed. Received: {given!r}")
    for value in (value for run in runs for metrics in run.values() for value in metrics.values()):
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"Each value of `{argument}` must be a number. Received: {value!r}")
    for task, metrics in runs[0].items():
        if any(set(metrics) - set(run.get(task, ())) for run in runs):
            raise ValueError(f"`{argument}` must have the same tasks and metrics for every seed. Some lack those of {task!r}.")
    return runs


def _row(task, metric, singles, multis, mode):
    before, after = ([run[task][metric] for run in runs] for runs in (singles, multis))
    single, multi = statistics.fmean(before), statistics.fmean(after)
    change = _change(metric, multi, single, mode)
    verdict = "better" if change > 0 else "worse" if change < 0 else "same" if change == 0 else "unknown"
    spreads = {}
    if len(singles) > 1 or len(multis) > 1:
        spreads = {f"± {name}": statistics.stdev(values) if len(values) > 1 else 0.0
                   for name, values in (("single", before), ("multi", after))}
        verdict += ", within the spread" * (abs(multi - single) <= sum(spreads.values()))
    return {"task": task, "metric": metric, "single-task": single, "multi-task": multi, **spreads, "change %": 100 * change,
            "verdict": verdict}


class Comparison(Table):
    """A table of single-task against multi-task results: a row a metric, "change %" positive where multi-task is better.

    Args:
        rows: dicts.
        by_task: see below.
        results: see below.

    Attributes:
        by_task: `{task: share}`, what each task gained over its single-task model: 0.02 is 2 %.
        mean: their mean, a share.
        lost: the tasks that lost, the worst one first.
        results: of the multi-task model, `{task: {metric: value}}`.
    """

    def __init__(self, rows, by_task, results):
        super().__init__(rows)
        self.by_task, self.results = by_task, results

    @property
    def mean(self):
        return statistics.fmean(self.by_task.values())

    @property
    def lost(self):
        return sorted((task for task, change in self.by_task.items() if change < 0), key=self.by_task.get)

    def as_dict(self):
        """Returns `rows`, `mean` and `by_task`, as a run's config and a report hold them."""
        return {"rows": list(self), "mean": self.mean, "by_task": self.by_task}

    def __str__(self):
        lost = ", ".join(f"{task} ({self.by_task[task]:+.1%})" for task in self.lost)
        told = "not all is known" if math.isnan(self.mean) else "no task lost"
        return f"{super().__str__()}\nMean gain: {self.mean:+.1%}; {f'negative transfer: {lost}' if lost else told}."

    __repr__ = __str__
