"""Backbones: networks from raw input to features, with their scaling inside."""
from .applications import Application
from .building import backbone
from .catalogue import table
from .hub import Hub

__all__ = ["Application", "Hub", "backbone", "table"]
