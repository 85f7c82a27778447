"""The demo over seeds: accuracy on the held-out digits, and seconds in a fresh process each.

python benchmarks/digits.py [SEEDS, by default 3]
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

rows = []
for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "keras_transfer.cli", "demo", "--output", folder, "--seed", str(seed)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (result,) = json.loads((pathlib.Path(folder) / "run" / "config.json").read_text())["results"]
        rows.append((result["value"], time.monotonic() - started))
        print(f"seed {seed}: accuracy {rows[-1][0]:.4f}, {rows[-1][1]:.0f} s", flush=True)
print(f"mean: accuracy {statistics.mean(r[0] for r in rows):.4f}, {statistics.mean(r[1] for r in rows):.0f} s")
