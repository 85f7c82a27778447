"""Did sharing help? Single tasks, sharing and weighting on real data, over seeds.

python benchmarks/multitask.py DATA [--parts census school yeast pets opposed] [--seeds 3] [--table]

DATA is a folder with adult_census, school, yeast_14_labels and pets. Results are kept in `multitask.json` beside this
script; `--table` writes the tables in README.md from that file.
"""

import argparse
import collections
import json
import os
import pathlib
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import multitask_data as data
import numpy as np
from sklearn.metrics import roc_auc_score

import keras_transfer as kt

HERE = pathlib.Path(__file__).parent
mt = kt.multitask


def dense(width, *hidden):
    """A backbone of dense layers on plain numbers; without any, the numbers themselves."""
    x = inputs = keras.Input((width,))
    for units in hidden:
        x = keras.layers.Dense(units, activation="relu")(x)
    return keras.Model(inputs, x if hidden else keras.layers.Identity()(x))


def trained(model, x, y, epochs, weighting=None, batch_size=256, rate=1e-3):
    """The model, trained by the weighting; without one by plain `fit`."""
    learner = model if weighting is None else kt.MultiTask(model, weighting)
    learner.compile(optimizer=keras.optimizers.Adam(rate), **{**kt.objectives(model), "metrics": None})
    learner.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=0)
    return model


def alone(backbone, heads, x, y, epochs, **options):
    """The outputs of a model for each task, each trained on its own; `backbone` makes a new one."""
    models = {name: kt.attach(backbone(), {name: make()}) for name, make in heads.items()}
    return lambda x_test: {
        name: trained(model, x, {name: y[name]}, epochs, **options).predict(x_test, batch_size=1024, verbose=0)[name]
        for name, model in models.items()}


def together(backbone, heads, x, y, epochs, sharing=None, weighting=None, **options):
    """The same for one model of all tasks."""
    model = kt.attach(backbone(), {name: make() for name, make in heads.items()}, sharing=sharing)
    return lambda x_test: trained(model, x, y, epochs, weighting, **options).predict(x_test, batch_size=1024, verbose=0)


def auc(outputs, y):
    """Area under the ROC curve of each task, from the logits of two classes."""
    found = {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}
    return {f"{name} AUC": roc_auc_score(y[name], found[name][:, 1] - found[name][:, 0]) for name in y}


def census(folder, seed):
    """Two binary tasks of 32,561 people."""
    x, y, x_test, y_test = data.census(folder)
    heads = {name: lambda: kt.heads.Classifier(2, hidden=[16]) for name in y}
    given = (lambda: dense(x.shape[1], 64, 32), heads, x, y, 10)
    settings = {
        "single-task": lambda: alone(*given),
        "hard sharing": lambda: together(*given),
        "hard sharing, uncertainty": lambda: together(*given, weighting=mt.Uncertainty()),
        "MMoE, 4 experts": lambda: together(*given, sharing=mt.MMoE(experts=4)),
        "PLE": lambda: together(*given, sharing=mt.PLE()),
    }
    for name, make in settings.items():
        keras.utils.set_random_seed(seed)
        yield name, auc(make()(x_test), y_test)


def school(folder, seed):
    """139 small regressions: explained variance and RMSE (in points) over all pupils for testing."""
    x, y, schools, test = data.school(folder, seed)
    names = [f"school_{k}" for k in range(schools.max() + 1)]
    labels = {name: np.where(schools[~test] == k, y[~test], np.nan).astype("float32") for k, name in enumerate(names)}

    def scores(predicted):
        residual = predicted - y[test]
        return {"explained variance": 1 - residual.var() / y[test].var(), "RMSE": float(np.sqrt((residual ** 2).mean())) * 12.7}

    def of_own_head(outputs):
        return scores(np.stack([outputs[name][:, 0] for name in names], 1)[np.arange(test.sum()), schools[test]])

    heads = {name: lambda: kt.heads.Regressor() for name in names}
    plain = {"batch_size": 256, "rate": 3e-3}
    settings = {
        "single-task": (dense(28), mt.L2Sharing(0.0, hidden=[8]), 20),
        "hard sharing": (dense(28, 16), None, 20),
        "soft sharing (L2)": (dense(28), mt.L2Sharing(1e-2, hidden=[8]), 20),
    }
    for name, (backbone, sharing, epochs) in settings.items():
        keras.utils.set_random_seed(seed)
        yield name, of_own_head(together(lambda: backbone, heads, x[~test], labels, epochs, sharing, **plain)(x[test]))
    keras.utils.set_random_seed(seed)
    pooled = alone(lambda: dense(28, 16), {"score": lambda: kt.heads.Regressor()}, x[~test], {"score": y[~test]}, 20, **plain)
    yield "pooled", scores(pooled(x[test])["score"][:, 0])


def yeast(folder, seed):
    """14 binary tasks of which half of the labels are taken away at random."""
    x, y, x_test, y_test = data.yeast(folder)
    random = np.random.default_rng(seed)
    gaps = {name: np.where(random.random(len(x)) < 0.5, -1, labels).astype("int32") for name, labels in y.items()}
    known = np.stack(list(gaps.values()), 1)
    whole = (known >= 0).sum(1) >= 14
    heads = {name: lambda: kt.heads.Classifier(2) for name in y}
    given = lambda labels, rows=slice(None): (  # noqa: E731
        lambda: dense(103, 64), heads, x[rows], {k: v[rows] for k, v in labels.items()}, 30)
    settings = {"all labels": given(y), "half of them, masked": given(gaps)}
    if whole.any():
        settings["half of them, rows with gaps dropped"] = given(gaps, whole)
    most = (known >= 0).sum(1) >= 10
    settings["half of them, rows with over 4 gaps dropped, the rest masked"] = given(gaps, most)
    for name, setting in settings.items():
        keras.utils.set_random_seed(seed)
        each = auc(together(*setting, batch_size=32)(x_test), y_test)
        rows = len(setting[2])
        yield name, {"mean AUC of 14": statistics.mean(each.values()), "lowest AUC": min(each.values()), "rows": rows}


def weightings():
    """All weightings of kt.multitask that work without arguments."""
    every = [getattr(mt, name) for name in sorted(dir(mt)) if isinstance(getattr(mt, name), type)]
    general = (mt.Weighting, mt.LearnedWeighting, mt.GradientCombination, mt.Fixed)
    return [one for one in every if issubclass(one, mt.Weighting) and one not in general]


def pets(folder, seed, kept={}):
    """Breed, species and head box of 148 photos, on features of EfficientNetLite0 and a shared layer of 128 units."""
    if folder not in kept:
        kept[folder] = data.pets(folder)
    x, y, x_test, y_test, labels = kept[folder]
    box = {"mean": y["box"].mean(0).tolist(), "std": y["box"].std(0).tolist()}
    heads = {"breed": lambda: kt.heads.Classifier(labels["breed"]), "species": lambda: kt.heads.Classifier(labels["species"]),
             "box": lambda: kt.heads.Regressor(box)}

    def scores(outputs):
        right = {k: float((outputs[k].argmax(-1) == y_test[k]).mean()) for k in ("breed", "species")}
        return {"breed accuracy": right["breed"], "species accuracy": right["species"],
                "box MAE, share of the side": float(np.abs(outputs["box"] - y_test["box"]).mean())}

    given = (lambda: dense(x.shape[1], 128), heads, x, y, 40)
    settings = {"single-task": lambda: alone(*given, batch_size=32)}
    for one in weightings():
        settings[one.__name__] = lambda one=one: together(*given, weighting=one(), batch_size=32)
    for name, make in settings.items():
        keras.utils.set_random_seed(seed)
        yield name, scores(make()(x_test))


def opposed(folder, seed):
    """Two real tasks that one shared unit can't serve both: age, and whether a person works over 40 hours a week."""
    x, _, x_test, _ = data.census(folder)
    hours = {"train": (x[:, 4] > 0.3).astype("int32"), "test": (x_test[:, 4] > 0.3).astype("int32")}
    age, age_test = x[:, 0].copy(), x_test[:, 0].copy()
    keep = [k for k in range(x.shape[1]) if k not in (0, 4)]
    heads = {"age": lambda: kt.heads.Regressor(), "long_hours": lambda: kt.heads.Classifier(2)}
    y = {"age": age, "long_hours": hours["train"]}
    given = (lambda: dense(len(keep), 1), heads, x[:, keep], y, 10)

    def scores(outputs):
        error = outputs["age"][:, 0] - age_test
        area = auc({"long_hours": outputs["long_hours"]}, {"long_hours": hours["test"]})
        return {"age explained variance": 1 - float(error.var() / age_test.var()), **area}

    settings = {"single-task": lambda: alone(*given), "one shared unit": lambda: together(*given),
                "one shared unit, PCGrad": lambda: together(*given, weighting=mt.PCGrad())}
    for name, make in settings.items():
        keras.utils.set_random_seed(seed)
        yield name, scores(make()(x_test[:, keep]))


PARTS = {"census": census, "school": school, "yeast": yeast, "pets": pets, "opposed": opposed}


def table(results):
    """One table a part: the mean over seeds, and the standard deviation."""
    lines = []
    for part, found in results.items():
        metrics = list(next(iter(found["rows"].values()))[0])
        lines += ["", f"**{part}**: {' '.join(PARTS[part].__doc__.split())} {found['seeds']} seeds, {found['date']}.", "",
                  f"| setting | {' | '.join(metrics)} |", "| --- |" + " --- |" * len(metrics)]
        for name, runs in found["rows"].items():
            cells = [[run[metric] for run in runs] for metric in metrics]
            lines.append(f"| {name} | " + " | ".join(
                f"{statistics.mean(c):.4g} ± {statistics.stdev(c) if len(c) > 1 else 0:.2g}" for c in cells) + " |")
        if part == "opposed":
            lines += ["", "What `kt.multitask.comparison` says of one shared unit, by the plain sum:", "", "```",
                      str(mt.comparison(*(_by_task(found["rows"][name]) for name in ("single-task", "one shared unit")))), "```"]
    return "\n".join(lines)


def _by_task(runs):
    return [{"age": {"r2": run["age explained variance"]}, "long_hours": {"auc": run["long_hours AUC"]}} for run in runs]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="write the tables in README.md")
    given, file = parser.parse_args(), HERE / "multitask.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for part in given.parts if given.data else ():
        rows, begun = collections.defaultdict(list), time.monotonic()
        for seed in range(given.seeds):
            for name, scores in PARTS[part](given.data, seed):
                rows[name].append(scores)
                print(part, seed, name, {k: round(float(v), 4) for k, v in scores.items()}, flush=True)
        results[part] = {"seeds": given.seeds, "date": time.strftime("%Y-%m-%d"), "rows": rows,
                         "seconds": round(time.monotonic() - begun)}
        file.write_text(json.dumps(results, indent=1, default=float) + "\n")
    if given.table:
        readme = HERE / "README.md"
        before, rest = readme.read_text().split("<!-- multitask -->")
        text = table(results)
        readme.write_text(f"{before}<!-- multitask -->\n{text}\n<!-- /multitask -->{rest.split('<!-- /multitask -->')[1]}")
        print(text)


if __name__ == "__main__":
    main()
