"""Several tasks at once: parts that they share, and how their losses become one step."""
from .learner import MultiTask
from .weighting import *  # noqa: F403
