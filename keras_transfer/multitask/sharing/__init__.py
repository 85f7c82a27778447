"""Sharing: what tasks have in common and what is their own, a file for each way."""
from .cgc import CGC
from .crossstitch import CrossStitch
from .dselectk import DSelectK
from .film import FiLM
from .mmoe import MMoE
from .mtan import MTAN
from .nddr import NDDR
from .ple import PLE
from .residualadapter import ResidualAdapter
from .sharing import Sharing
from .sluice import Sluice
from .soft import L2Sharing, SoftSharing, TraceNormSharing

__all__ = ["CGC", "CrossStitch", "DSelectK", "FiLM", "L2Sharing", "MMoE", "MTAN", "NDDR", "PLE", "ResidualAdapter", "Sharing",
           "Sluice", "SoftSharing", "TraceNormSharing"]
