"""Backbones: networks from raw input to features, with their scaling inside."""
from .applications import Application
from .building import backbone
from .catalogue import table

__all__ = ["Application", "backbone", "table"]
