"""What methods on several tasks cost: steps beside those written by hand, aggregation beside TorchJD, solvers' residuals.

python benchmarks/multitask_speed.py [--rows steps features plain aggregation solvers] [--torch PYTHON] [--pairs 9] [--table]

Every figure is a ratio of two times measured in turns in one process (TorchJD: two processes in turns). Results are kept
in `multitask_speed.json` beside this script; `--table` writes the table in README.md from that file.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from multitask import weightings
from speed import machine

import keras_transfer as kt
from keras_transfer.multitask.gradients import step_of
from keras_transfer.multitask.weighting.weighting import gramian_of

HERE = pathlib.Path(__file__).parent
mt = kt.multitask
BATCH = 32
PARAMETERS = 10_000_000
PEERS = ("PCGrad", "MGDA", "CAGrad", "UPGrad", "NashMTL", "AlignedMTL", "IMTLG", "GradDrop", "GradVac", "FairGrad")


def network(tasks, seed=0):
    """Convolutions whose forward pass takes 14 to 25 ms on two cores, with a head for each task."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((64, 64, 3))
    for width, stride in ((32, 1), (48, 2), (64, 1), (96, 2), (128, 1), (128, 2)):
        x = keras.layers.Conv2D(width, 3, stride, "same", activation="relu")(x)
    backbone = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    return kt.attach(backbone, {f"task_{k}": kt.heads.Classifier(10) for k in range(tasks)})


def batches(tasks):
    random = np.random.default_rng(0)
    x = random.normal(size=(BATCH, 64, 64, 3)).astype("float32")
    y = {f"task_{k}": random.integers(0, 10, BATCH).astype("int32") for k in range(tasks)}
    return tf.data.Dataset.from_tensors((x, y)).repeat()


def by_hand(model, tasks):
    """One forward pass, a backward pass for each task, their sum, an update: what no method can do without."""
    optimizer, losses = keras.optimizers.Adam(), {name: loss for name, loss in kt.objectives(model)["loss"].items()}
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(iterator):
        x, y = next(iterator)
        with tf.GradientTape(persistent=True) as tape:
            outputs = model(x, training=True)
            values = [losses[name](y[name], outputs[name]) for name in losses]
        found = [tape.gradient(value, model.trainable_variables) for value in values]
        summed = [tf.add_n([g for g in column if g is not None]) for column in zip(*found)]
        optimizer.apply(summed, model.trainable_variables)
        return tf.add_n(values)

    return step


def of_learner(model, weighting, at=None):
    """The training step of a learner, as `fit` calls it."""
    learner = kt.MultiTask(model, weighting, at=at)
    learner.compile(optimizer="adam", **kt.objectives(model))
    learner.optimizer.build(learner.trainable_variables)
    iterator = iter(batches(len(learner.tasks)))
    learner.train_on_batch(*next(iterator))  # builds the losses' trackers, and the step's function
    return learner.train_function


def ratios(first, second, data, pairs, steps=1):
    """Seconds of `first` by those of `second`, measured in turns."""
    found = []
    for number in range(pairs + 1):
        seconds = {}
        for work in (first, second)[::1 if number % 2 else -1]:
            begun = time.perf_counter()
            for _ in range(steps):
                tf.nest.map_structure(np.asarray, work(data))
            seconds[work] = (time.perf_counter() - begun) / steps
        if number:
            found.append((seconds[first], seconds[second]))
    return {"ratios": [a / b for a, b in found], "seconds": statistics.median(a for a, _ in found)}


def gradient_methods():
    return [one for one in weightings() if one.needs_gramian or issubclass(one, mt.GradientCombination)]


def steps(pairs):
    """Yields (row, result) of each gradient method beside one forward and T backward passes by hand."""
    for tasks in (2, 4, 8):
        for one in gradient_methods():
            model = network(tasks)
            data = iter(batches(tasks))
            found = ratios(of_learner(model, one()), by_hand(network(tasks), tasks), data, pairs)
            yield f"step of {one.__name__}, T = {tasks} / by hand", "<= 1.15", found


def features(pairs):
    """Yields (row, result) of gradients at the features only beside the plain sum."""
    for one in gradient_methods():
        if not one.keeps_gradients and one.parts == 1:
            found = ratios(of_learner(network(8), one(), "features"), of_learner(network(8), None), iter(batches(8)), pairs)
            yield f"step of {one.__name__} at the features, T = 8 / plain sum", "<= 1.5", found


def plain(pairs):
    model = network(4)
    model.compile(optimizer="adam", **kt.objectives(model))
    x, y = next(iter(batches(4)))
    model.train_on_batch(x, y)
    for name, weighting in (("no weighting", None), ("Equal", mt.Equal())):
        found = ratios(of_learner(network(4), weighting), model.train_function, iter(batches(4)), pairs, steps=3)
        yield f"step of the plain sum through MultiTask ({name}), T = 4 / model.fit", "<= 1.05", found


def aggregation(pairs, python):
    """Yields (row, result): TorchJD's seconds by ours, on the same matrix, in processes in turns."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "matrix.npy")
        random = np.random.default_rng(0)
        np.save(file, (random.normal(size=(8, PARAMETERS)) + 0.1 * random.normal(size=PARAMETERS)).astype("float32"))
        mine, peers = {}, {}
        for _ in range(3):
            script = [python, HERE / "peers" / "torchjd_aggregate.py", file, str(pairs), *PEERS]
            for kept, command in ((peers, script), (mine, [sys.executable, __file__, "--aggregate", file, "--pairs", str(pairs)])):
                done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
                for name, seconds in json.loads(done.stdout.splitlines()[-1]).items():
                    kept.setdefault(name, []).append(statistics.median(seconds))
        for name in PEERS:
            if name in peers:
                found = {"ratios": [a / b for a, b in zip(peers[name], mine[name])], "seconds": statistics.median(mine[name])}
                yield f"{name}, T = 8 and {PARAMETERS:,} parameters: TorchJD / ours", ">= 1", found


def aggregate(file, pairs):
    """Our seconds for each of the methods that TorchJD has."""
    matrix, seconds = tf.constant(np.load(file)), {}
    losses, present = tf.ones(8), tf.ones(8, tf.bool)
    for name in PEERS:
        weighting = getattr(mt, name)()
        weighting.build(8, [(PARAMETERS,)])
        run = tf.function(lambda matrix: step_of(weighting, [matrix], losses, gramian_of([matrix]), present)[0])
        for number in range(pairs + 1):
            begun = time.perf_counter()
            run(matrix)[0][0].numpy()
            if number:
                seconds.setdefault(name, []).append(time.perf_counter() - begun)
    return seconds


def solvers(pairs):
    """Yields (row, result) of the residuals of the optimality conditions, and the milliseconds of a solution."""
    for name, residual in (("NashMTL", nash_residual), ("UPGrad", upgrad_residual)):
        for tasks in (2, 4, 8, 16):
            weighting = getattr(mt, name)()
            weighting.build(tasks)
            run = tf.function(lambda gramian: weighting.call(tf.ones(tasks), gramian, tf.ones(tasks, tf.bool)))
            worst, seconds = 0.0, []
            for seed in range(50):
                random = np.random.default_rng(seed)
                gradients = random.normal(size=(tasks, 40)) * random.lognormal(0, 1, (tasks, 1)) + random.normal(size=40)
                gramian = (gradients @ gradients.T).astype("float32")
                begun = time.perf_counter()
                weights = run(gramian).numpy()
                seconds += [time.perf_counter() - begun] if seed else []
                worst = max(worst, residual(gramian.astype("float64"), weights.astype("float64")))
            found = {"ratios": [worst], "seconds": statistics.median(seconds)}
            yield f"{name}, T = {tasks}: largest residual of 50 problems", "<= 1e-5", found


def nash_residual(gramian, weights):
    """|a G a - 1|, largest of the tasks, whatever the method scales its weights by."""
    products = weights * (gramian @ weights)
    return float(np.abs(products / products.mean() - 1).max())


def upgrad_residual(gramian, weights):
    """How far the mean of the exact projections lies from what the method found, by the length of the mean gradient."""
    from scipy.optimize import nnls

    values, vectors = np.linalg.eigh(gramian)
    root = (vectors * np.sqrt(np.maximum(values, 0))).T
    exact = np.mean([np.eye(len(gramian))[k] + nnls(root, -root[:, k])[0] for k in range(len(gramian))], 0)
    scale = weights.sum() / exact.sum()
    off = weights / scale - exact
    mean = np.ones(len(gramian)) / len(gramian)
    return float(np.sqrt(max(off @ gramian @ off, 0) / (mean @ gramian @ mean)))


def table(results):
    lines = ["| what | target | median (lowest to highest) | pairs | our seconds |", "| --- | --- | --- | --- | --- |"]
    for name, found in results["rows"].items():
        r = found["ratios"]
        lines.append(f"| {name} | {found['target']} | {statistics.median(r):.3g} ({min(r):.3g} to {max(r):.3g}) | {len(r)} | "
                     f"{found['seconds']:.2g} |")
    return "\n".join([*lines, "", *sorted({found["stamp"] for found in results["rows"].values()})])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rows = ["steps", "features", "plain", "aggregation", "solvers"]
    parser.add_argument("--rows", nargs="+", default=rows, choices=[*rows, "none"])
    parser.add_argument("--torch", help="the Python of an environment with torchjd; without it its rows are left out")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--aggregate", help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true", help="write the table in README.md")
    given, file = parser.parse_args(), HERE / "multitask_speed.json"
    if given.aggregate:
        print(json.dumps(aggregate(given.aggregate, given.pairs)))
        return
    results = json.loads(file.read_text()) if file.exists() else {"rows": {}}
    for row in given.rows:
        if row == "none" or row == "aggregation" and not given.torch:
            continue
        options = {"python": given.torch} if row == "aggregation" else {}
        for name, target, found in globals()[row](given.pairs, **options):
            here = machine()
            stamp = f"{here['machine']}; {here['versions']}; {time.strftime('%Y-%m-%d')}"
            results["rows"][name] = {"target": target, "stamp": stamp, **found}
            print(f"{name}: {statistics.median(found['ratios']):.3g}", flush=True)
            file.write_text(json.dumps(results, indent=1) + "\n")
    if given.table:
        readme = HERE / "README.md"
        before, rest = readme.read_text().split("<!-- multitask speed -->")
        text = table(results)
        after = rest.split("<!-- /multitask speed -->")[1]
        readme.write_text(f"{before}<!-- multitask speed -->\n{text}\n<!-- /multitask speed -->{after}")
        print(text)


if __name__ == "__main__":
    main()
