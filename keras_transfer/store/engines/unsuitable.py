"""The errors of an engine that can't run a network."""


class Unsuitable(ValueError):
    """The engine can't run this network; another one may."""


class Missing(Unsuitable, ImportError):
    """The engine's package can't be imported."""
