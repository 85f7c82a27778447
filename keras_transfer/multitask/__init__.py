"""Several tasks at once: parts that they share, how their losses become one step, and whether it helped."""
from .learner import MultiTask
from .sharing import *  # noqa: F403
from .weighting import *  # noqa: F403
