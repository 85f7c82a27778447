"""Run folders: a trained model with its labels, history, settings and the versions that made it."""
import csv
import importlib.metadata
import json
import pathlib
import platform

from . import distributing
from ._files import folder

NEEDED = ("image_size", "fit", "targets", "images", "split")  # of config.json, to read further photos
PACKAGES = ("keras-transfer", "tensorflow", "keras", "numpy")


def write_run(path, model, *, labels, history, config):
    """Writes a run folder: all of it, or nothing. Several workers all have to call it, and the chief leaves one.

    Args:
        path: the folder, which must not exist yet.
        model: the trained `keras.Model`; goes to `model.keras`.
        labels: what `kt.data.photos` or `kt.data.table` returned as labels; goes to `labels.json`.
        history: the `History` of `fine_tune`; goes to `history.csv`, a line for each epoch.
        config: a dict, everything needed to repeat the run; goes to `config.json`, with the versions used.

    Raises:
        FileExistsError: there is something at `path`.
        OSError: the disk is full or the folder can't be written; nothing is left behind.
    """
    chief = distributing.is_chief(model.distribute_strategy)
    with folder(free(path) if chief else distributing.scratch(), keep=chief) as beside:
        model.save(beside / "model.keras")
        _write_json(beside / "labels.json", labels)
        _write_json(beside / "config.json", {**config, "versions": versions()})
        with open(beside / "history.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["epoch", *history.history])
            writer.writerows(zip([epoch + 1 for epoch in history.epoch], *history.history.values()))


def read_run(path):
    """Returns `(config, labels)` of a run folder.

    Raises:
        FileNotFoundError: `path` is no run folder.
        ValueError: a file of it is damaged.
    """
    path = pathlib.Path(path)
    for name in ("config.json", "labels.json", "model.keras"):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{str(path)!r} is no run folder: it has no {name}. Give a folder that "
                                    "`keras-transfer train` has written.")
    config, labels = (_read_json(path / name) for name in ("config.json", "labels.json"))
    missing = [name for name in NEEDED if not isinstance(config, dict) or name not in config]
    if missing:
        raise ValueError(f"{str(path / 'config.json')!r} is damaged: it doesn't say {', '.join(missing)}. Train again, or "
                         "load model.keras itself.")
    return config, labels


def free(path):
    """Returns `path` as a Path; refuses one where something is."""
    path = pathlib.Path(path)
    if path.exists():
        raise FileExistsError(f"{str(path)!r} exists already, and nothing is overwritten. Give another folder.")
    return path


def versions():
    """Returns the versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged ({error}). Train again, or load model.keras itself.") from error


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
