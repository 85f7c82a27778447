"""Several tasks at once: parts that they share, how their losses become one step, and whether it helped."""
from . import sharing as _sharing
from . import weighting as _weighting
from .comparing import comparison
from .conflicting import Conflicts, conflicts
from .costing import cost
from .gaining import Gain, baselines, gain, single_task
from .grouping import affinity, group
from .learner import MultiTask
from .mixing import mix
from .sharing import *  # noqa: F403
from .weighting import *  # noqa: F403

__all__ = sorted(["Conflicts", "Gain", "MultiTask", "affinity", "baselines", "comparison", "conflicts", "cost", "gain", "group",
                  "mix", "single_task", *_sharing.__all__, *_weighting.__all__])


def __dir__():
    return list(__all__)
