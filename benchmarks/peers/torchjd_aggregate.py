"""TorchJD's aggregators on a matrix of gradients, one row a task.

python benchmarks/peers/torchjd_aggregate.py MATRIX.npy REPEATS NAME ...     (in an environment with torchjd)

Prints one line of JSON: `{name: [seconds, ...]}`, the first call of each left out.
"""

import json
import sys
import time

import numpy as np
import torch
from torchjd import aggregation

matrix, repeats = torch.from_numpy(np.load(sys.argv[1])), int(sys.argv[2])
seconds = {}
for name in sys.argv[3:]:
    arguments = {"CAGrad": {"c": 0.4}, "FairGrad": {"alpha": 2.0}, "NashMTL": {"n_tasks": len(matrix)}}.get(name, {})
    try:
        aggregator = getattr(aggregation, name)(**arguments)
        for number in range(repeats + 1):
            begun = time.perf_counter()
            with torch.inference_mode():
                aggregator(matrix)
            if number:
                seconds.setdefault(name, []).append(time.perf_counter() - begun)
    except (ImportError, ModuleNotFoundError) as error:
        print(f"{name}: {error}", file=sys.stderr)
print(json.dumps(seconds))
