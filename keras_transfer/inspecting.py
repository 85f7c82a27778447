"""What a SavedModel holds and does, told without running it."""

import dataclasses
import math
import os

from .saved_model import fetching, hazards, reading


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `inspect` found; printed, it's a report.

    Attributes:
        source: the handle, folder or archive.
        tags: the tags of each graph.
        signatures: `{name: (inputs, outputs)}` of the graph to serve, both `{key: (dtype, shape)}`.
        variables: `{name: (dtype, shape)}` in the checkpoint.
        bytes: the size of all files together.
        hazards: operations that reach files, connections, Python or hidden programs.
    """

    source: str
    tags: list
    signatures: dict
    variables: dict
    bytes: int
    hazards: list

    @property
    def safe(self):
        """Whether nothing in it reaches outside."""
        return not self.hazards

    def __str__(self):
        lines = [f"{self.source}: SavedModel, {self.bytes:,} bytes, tags {' and '.join(map(str, self.tags))}"]
        for name, sides in self.signatures.items():
            lines.append(f"signature {name!r}")
            for word, side in zip(("in ", "out"), sides):
                lines += [f"  {word} {key}: {_tensor(*value)}" for key, value in side.items()]
        numbers = sum(math.prod(shape) for _, shape in self.variables.values())
        lines.append(f"{len(self.variables)} arrays with {numbers:,} numbers in the checkpoint")
        if self.safe:
            return "\n".join([*lines, "nothing in it reaches files, connections, Python or hidden programs"])
        return "\n".join(
            [*lines, f"UNSAFE, {len(self.hazards)} operations reach outside:", *(f"  {h}" for h in self.hazards)]
        )


def inspect(source):
    """Tells what a SavedModel takes, gives, holds and does, without running anything in it.

    A SavedModel is a program: it can read and write files when it's called, or already when it's loaded. Look before
    you load one that you didn't make. `kt.backbone` does, and refuses what is not safe.

    Args:
        source: a folder, a `.tar.gz` archive, a URL or a Kaggle handle, with or without "hub:" before it.

    Returns:
        An `Inspection`; `print` it.

    Raises:
        FileNotFoundError: there is nothing of that name.
        ValueError: it's no SavedModel or is damaged.
        ConnectionError: it can't be downloaded.

    Example:
        >>> print(kt.inspect("downloads/mobilenet.tar.gz"))   # doctest: +SKIP
    """
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"`source` must be a folder, an archive, a URL or a Kaggle handle. Received: {source!r}")
    text = os.fspath(source).removeprefix("hub:")
    path, keep = fetching.folder(text)
    model = reading.read(path)
    graph, _ = reading.chosen(model)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    found = Inspection(
        text, reading.tag_sets(model), reading.signatures(graph), reading.variables(path), size, hazards.hazards(model)
    )
    del keep  # an archive was unpacked for as long as we looked
    return found


def _tensor(dtype, shape):
    return (
        f"{dtype} of unknown shape"
        if shape is None
        else f"{dtype} {tuple('?' if s is None else s for s in shape)}".replace("'", "")
    )
