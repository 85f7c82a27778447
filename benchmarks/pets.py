"""Breed and species of pets: fine-tuned, and the frozen linear probe beside it, over seeds.

python benchmarks/pets.py labels.csv images/ [SEEDS, by default 3]
"""

import json
import pathlib
import statistics
import sys
import tempfile
import time

from keras_transfer import cli

labels, images, count = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3
rows = []
with tempfile.TemporaryDirectory() as folder:
    for seed in range(count):
        for name, options in (("probe", ["--epochs", "0"]), ("tuned", [])):
            run, started = pathlib.Path(folder) / f"{name}{seed}", time.monotonic()
            code = cli.main(
                [
                    "train",
                    labels,
                    "--images",
                    images,
                    "--targets",
                    "breed:class",
                    "species:class",
                    "--split",
                    "split",
                    "--seed",
                    str(seed),
                    "--output",
                    str(run),
                    *options,
                ]
            )
            if code:
                sys.exit(code)
            results = json.loads((run / "config.json").read_text())["results"]
            rows.append((name, seed, *(row["value"] for row in results), time.monotonic() - started))
print("what   seed  breed  species  seconds")
for name, seed, breed, species, seconds in rows:
    print(f"{name}  {seed:4}  {breed:.3f}    {species:.3f}  {seconds:7.0f}")
for name in ("probe", "tuned"):
    breed, species, seconds = (statistics.mean(column) for column in list(zip(*(r for r in rows if r[0] == name)))[2:])
    print(f"{name}  mean  {breed:.3f}    {species:.3f}  {seconds:7.0f}")
