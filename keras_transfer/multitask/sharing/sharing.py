"""What all layers that share features between tasks have in common."""
import keras

from ... import _check


class Sharing(keras.layers.Layer):
    """A layer that gives each task features of its own: `(batch, width)` -> `{task: (batch, units)}`.

    `kt.attach(backbone, heads, sharing=layer)` tells it the names of the heads and calls it on the layer `features`; in the
    model its name is `sharing`. Subclass it with `build` and `call`; `self.tasks` holds the names by then.

    Args:
        tasks: the names of the tasks; None: the heads' (`attach` says them).
        **options: `dtype` and `trainable` of a Keras layer.
    """

    def __init__(self, *, tasks=None, **options):
        super().__init__(**{"name": "sharing", **options})
        self.tasks = None if tasks is None else several(tasks)

    def for_tasks(self, names):
        """Takes the names of the heads; refuses others than those that it has already."""
        names = several(names)
        if self.tasks is not None and set(self.tasks) != set(names):
            raise ValueError(f"`sharing` ({type(self).__name__}) is for the tasks {', '.join(self.tasks)}, and the heads are "
                             f"{', '.join(names)}. Make a new one for them, without `tasks`.")
        self.tasks = self.tasks or names

    def __call__(self, *args, **options):
        if self.tasks is None:
            raise ValueError(f"{type(self).__name__} doesn't know its tasks yet. Give it to `kt.attach` as `sharing`, or say "
                             "`tasks=[names]`.")
        return super().__call__(*args, **options)

    def by_task(self, tensors):
        """Returns `{task: tensor}` of tensors in the order of the tasks."""
        return dict(zip(self.tasks, tensors))

    def get_config(self):
        return {**super().get_config(), "tasks": None if self.tasks is None else list(self.tasks)}


def several(tasks):
    """Returns the names of `tasks` as a tuple; refuses fewer than two, and repeats."""
    names = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"Sharing needs at least two tasks with different names. Received: {', '.join(names) or 'none'}. "
                         "With one head leave `sharing` out.")
    return names


def widths(hidden):
    """Returns `hidden`, a width or a list of them, as a list; refuses an empty one."""
    found = [_check.whole(h, "hidden", least=1) for h in ([hidden] if isinstance(hidden, int) else hidden)]
    if not found:
        raise ValueError("`hidden` must name the width of at least one layer: without one there is nothing to share.")
    return found
