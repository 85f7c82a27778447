"""Weightings: losses and gradients of several tasks -> one step, a file for each method."""
from .equal import Equal
from .pcgrad import PCGrad
from .weighting import GradientCombination, LearnedWeighting, Weighting

__all__ = ["Equal", "GradientCombination", "LearnedWeighting", "PCGrad", "Weighting"]
