"""Weightings: losses and gradients of several tasks -> one step, a file for each method."""
from .dbmtl import DBMTL
from .dwa import DWA
from .equal import Equal
from .excessmtl import ExcessMTL
from .famo import FAMO
from .fixed import Fixed
from .gls import GLS
from .gradnorm import GradNorm
from .imtll import IMTLL
from .pcgrad import PCGrad
from .rlw import RLW
from .stch import STCH
from .uncertainty import Uncertainty
from .weighting import GradientCombination, LearnedWeighting, Weighting

__all__ = ["DBMTL", "DWA", "Equal", "ExcessMTL", "FAMO", "Fixed", "GLS", "GradNorm", "GradientCombination", "IMTLL",
           "LearnedWeighting", "PCGrad", "RLW", "STCH", "Uncertainty", "Weighting"]
