"""Weightings: losses and gradients of several tasks -> one step, a file for each method."""
from .alignedmtl import AlignedMTL
from .cagrad import CAGrad
from .dbmtl import DBMTL
from .dwa import DWA
from .equal import Equal
from .excessmtl import ExcessMTL
from .fairgrad import FairGrad
from .famo import FAMO
from .fixed import Fixed
from .gls import GLS
from .graddrop import GradDrop
from .gradnorm import GradNorm
from .gradvac import GradVac
from .imtlg import IMTLG
from .imtll import IMTLL
from .mgda import MGDA
from .moco import MoCo
from .nashmtl import NashMTL
from .pcgrad import PCGrad
from .rlw import RLW
from .sdmgrad import SDMGrad
from .stch import STCH
from .uncertainty import Uncertainty
from .upgrad import UPGrad
from .weighting import GradientCombination, LearnedWeighting, Weighting

__all__ = ["AlignedMTL", "CAGrad", "DBMTL", "DWA", "Equal", "ExcessMTL", "FAMO", "FairGrad", "Fixed", "GLS", "GradDrop",
           "GradNorm", "GradVac", "GradientCombination", "IMTLG", "IMTLL", "LearnedWeighting", "MGDA", "MoCo", "NashMTL",
           "PCGrad", "RLW", "SDMGrad", "STCH", "UPGrad", "Uncertainty", "Weighting"]
