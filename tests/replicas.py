"""The same training on one device, on two replicas or on two workers, in processes of their own.

python replicas.py HOW WHAT ... runs functions of this module by name and prints what they return as one line of JSON.
HOW: "one"; "two", a `MirroredStrategy` over two processors; "found", the same by `kt.strategy`, which takes them for GPUs;
"workers", what `TF_CONFIG` says.
"""

import contextlib
import io
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

TESTS = pathlib.Path(__file__).parent
RATE = 0.01


# --- for tests


def run(how, *what, arguments=(), count=1, timeout=600):
    """Runs functions of this module in `count` fresh processes; returns what each printed last, as dicts by function."""
    started = start([sys.executable, str(TESTS / "replicas.py"), how, *what, *map(str, arguments)], count)
    return [json.loads(said.splitlines()[-1]) for said in finish(started, timeout)]


def start(command, count=1, **environment):
    """Starts a command in `count` processes, which `TF_CONFIG` makes the workers of a cluster if there are several."""
    env = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "PYTHONUNBUFFERED": "1", **environment}
    workers = [f"127.0.0.1:{port}" for port in free_ports(count)]
    started = []
    for index in range(count):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        own = {**env, "TF_CONFIG": json.dumps(task)} if count > 1 else env
        errors = tempfile.TemporaryFile("w+")
        process = subprocess.Popen(command, env=own, cwd=TESTS.parent, text=True, stdout=subprocess.PIPE, stderr=errors)
        process.errors = errors
        started.append(process)
    return started


def finish(started, timeout=600, check=True):
    """Waits for processes and returns what they printed; all are killed if one fails or time is over."""
    until, said = time.monotonic() + timeout, []
    try:
        for process in started:
            said.append(process.communicate(timeout=max(1, until - time.monotonic()))[0])
            if check and process.returncode:
                raise AssertionError(f"exit {process.returncode}: {errors_of(process)[-3000:]}")
    finally:
        for process in started:
            process.kill()
            process.wait()
    return said


def read_until(process, word, times):
    """Reads what a process prints until `word` has come that many times."""
    while times:
        line = process.stdout.readline()
        assert line, errors_of(process)[-3000:]
        times -= word in line


def errors_of(process):
    """What an ended process wrote to its standard error."""
    process.errors.seek(0)
    return process.errors.read()


def free_ports(count):
    """Ports of this machine that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


# --- what is run, in the scope of the strategy


def gaps(_=None):
    """Labels missing more on one replica than on the other, and batches that leave a replica without rows."""
    model, x, y = trained_from("block_2"), *task(90)
    y[::4], y[:8] = -1, -1
    logs = model.fit(x, y, batch_size=16, epochs=2, validation_data=(x[:33], y[:33]), shuffle=False, verbose=0).history
    logs["evaluate"] = model.evaluate(x[:49], y[:49], batch_size=16, verbose=0)
    logs["predict"] = model.predict(x[:33], batch_size=16, verbose=0).ravel().tolist()
    logs["on_batch"] = [float(v) for v in model.train_on_batch(x[20:27], y[20:27])]
    return {**logs, "weights": flat(model), "iterations": int(model.optimizer.iterations.numpy())}


def gaps_by_replica(_=None):
    """The control: the mean over the labels of each replica by itself, as Keras has it."""
    from keras_transfer import masking

    with patched(masking, "over_replicas", lambda total, count: masking.ops.divide_no_nan(total, count) / 2):
        return gaps()


def norms(_=None, synchronized=False, count=45, batch_size=15):
    """Batch norms that train; what their statistics are on each replica."""
    import tensorflow as tf

    # no Adam: the gradients of biases below norms are rounding errors, which it would make as large as any
    model, x, y = trained_from(None, norms=True, synchronized=synchronized, optimizer="SGD"), *task(count)
    logs = model.fit(x, y, batch_size=batch_size, epochs=2, shuffle=False, verbose=0).history
    statistic = model.get_layer("backbone").get_layer("block_2_bn").moving_mean.value
    parts = tf.distribute.get_strategy().experimental_local_results(statistic)
    return {**logs, "parts": [part.numpy().tolist() for part in parts], "weights": flat(model)}


def norms_together(_=None):
    return norms(synchronized=True)


def norms_with_empty_shares(_=None):
    """The last batch is one row, on one of the replicas."""
    return norms(synchronized=True, count=33, batch_size=16)


def norms_apart(_=None):
    """The control: statistics as Keras leaves them."""
    from keras_transfer import _compat

    with patched(_compat, "average_changes", lambda *_, **__: None):
        return norms()


def regularized(_=None):
    import keras

    model, x, y = trained_from("block_3"), *task(40)
    model.get_layer("backbone").get_layer("block_3_conv").kernel.regularizer = keras.regularizers.L2(0.1)
    return fitted(model, x, y)


def many_steps(_=None):
    return fitted(trained_from("block_3", steps_per_execution=4), *task(90), validate=True)


def accumulated(_=None):
    return fitted(trained_from("block_3", gradient_accumulation_steps=2), *task(64))


def accumulated_and_looked_at(_=None):
    """The learning rate is looked for in the middle of an update: three batches are trained on, and two make one."""
    import keras_transfer as kt

    model = trained_from("block_3", gradient_accumulation_steps=2)
    fitted(model, *task(48), epochs=1)
    found = kt.find_learning_rate(model, dataset(33, 8), steps=10)
    return {"losses": found.losses.tolist(), **fitted(model, *task(48), epochs=1)}


def accumulated_and_resumed(_=None):
    """A run that was stopped in the middle of an update; and how far it ends from one that wasn't."""
    import keras

    import keras_transfer as kt

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def run(directory, *callbacks):
        model = attached()
        model.compile(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), **kt.objectives(model))
        options = {"head_epochs": 2, "epochs": 1, "last": "block_3", "seed": 7, "cache": False, "verbose": 0}
        logs = kt.fine_tune(model, dataset(48, 16), directory=directory, callbacks=callbacks, **options).history
        return {"loss": logs["loss"], "weights": flat(model)}

    with tempfile.TemporaryDirectory() as folder:
        whole = run(f"{folder}/whole")
        with contextlib.suppress(KeyboardInterrupt):
            run(f"{folder}/stopped", Stop())
        resumed = run(f"{folder}/stopped")
    apart = max(abs(a - b) for a, b in zip(whole["weights"], resumed["weights"]))
    return {**resumed, "apart": [apart]}


def decayed(_=None):
    """Weight decay that differs from block to block."""
    model, (x, y) = trained_from("block_2", weight_decay=0.5), task(40)
    return {**fitted(model, x, y), "decay": [model.optimizer.weight_decay]}


def clipped(_=None):
    return fitted(trained_from("block_2", optimizer="SGD", global_clipnorm=1e-2), *task(40))


def penalized(_=None):
    """Layers that add to the loss: hidden layers that are drawn together."""
    import keras

    import keras_transfer as kt

    model = two_heads(kt.multitask.L2Sharing(strength=10.0, hidden=4))
    kt.freeze(model)
    model.compile(optimizer=keras.optimizers.SGD(0.005), **kt.objectives(model))
    logs = model.fit(*numbers(40), batch_size=9, shuffle=False, verbose=0).history
    return {**logs, "weights": flat(model)}


def added(_=None):
    """Losses that layers add of the rows that they see, in batches of 9 and at last of one: shares of 5 and 4, and of none."""
    import keras

    import keras_transfer as kt

    found, (x, y) = {}, numbers(28)
    for kind, weighting in {"plain": None, "Equal": kt.multitask.Equal(), "PCGrad": kt.multitask.PCGrad()}.items():
        model = two_heads(kt.multitask.DSelectK(experts=3, units=4, k=2, entropy=0.5), activity_regularizer="l2")
        kt.unfreeze(model)
        trained = model if weighting is None else kt.MultiTask(model, weighting)
        trained.compile(optimizer=keras.optimizers.SGD(0.05), **kt.objectives(model))
        logs = trained.fit(x, y, batch_size=9, epochs=2, shuffle=False, verbose=0).history
        logs |= {"evaluate": trained.evaluate(x, y, batch_size=9, verbose=0), "weights": flat(model)}
        found |= {f"{kind} {name}": logged for name, logged in logs.items()}
    return found


def averaged(_=None):
    """Averages of the weights, which take their place now and then, also where gradients are accumulated."""
    found = {}
    for often, steps in ((3, None), (None, 2), (3, 2)):
        model = trained_from("block_3", use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=often,
                             gradient_accumulation_steps=steps)
        found |= {f"{often} {steps} {name}": logged for name, logged in fitted(model, *task(80)).items()}
    return found


def measured(_=None):
    """What is said of arrays, of which the last batch leaves a replica without rows."""
    from keras_transfer import evaluating

    model, (x, y) = trained_from("block_3"), task(33)
    truth, outputs = evaluating.answers(model, (x, y))["classifier"]
    return {"truth": truth.tolist(), "outputs": outputs.ravel().tolist()}


def learners_outside(_=None):
    """Learners of a model that was made in the scope, made and trained outside of it; and a look at its tasks within."""
    import keras_transfer as kt
    from keras_transfer.distributing import outside_scope

    def run(model):
        cost = kt.multitask.cost(model, kt.multitask.PCGrad())
        learner = kt.MultiTask(model, kt.multitask.Uncertainty())
        logs = kt.fine_tune(learner, numbers(33), head_epochs=1, epochs=1, last="block_2", seed=1, cache=False, verbose=0).history
        return {"loss": logs["loss"], "weights": flat(model), "steps": [float(cost.seconds > 0)]}

    model = two_heads()
    looked = {"cosines": kt.multitask.conflicts(model, numbers(32)).mean.ravel().tolist(),
              "affinities": kt.multitask.affinity(model, numbers(32)).matrix.ravel().tolist()}
    return {**looked, **outside_scope(run)(model)}


def overflowing(_=None):
    """Gradients in float16 that overflow on the second replica only: the step is left out on both."""
    import keras
    import numpy as np

    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, (x, y), weights = trained_from("block_3", optimizer="SGD"), task(16), np.ones(16, "float32")
        weights[12], before = 1e33, flat(model)
        model.fit(x, y, sample_weight=weights, batch_size=16, shuffle=False, verbose=0)
        left_out, scale = flat(model) == before, float(model.optimizer.dynamic_scale.numpy())
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
        return {"left_out": left_out, "scale": scale, "goes_on": flat(model) != before}
    finally:
        keras.config.set_dtype_policy("float32")


def halves(_=None):
    """Float16 with loss scaling, and accumulated gradients."""
    import keras

    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, (x, y) = trained_from("block_3", gradient_accumulation_steps=2), task(64)
        logs = fitted(model, x, y, epochs=4)
        return {"loss": logs["loss"], "optimizer": type(model.optimizer).__name__, "outputs": model(x[:2]).dtype.name}
    finally:
        keras.config.set_dtype_policy("float32")


def found_rate(_=None):
    import keras_transfer as kt

    found = kt.find_learning_rate(trained_from("block_3"), dataset(33, 8), steps=12)
    return {"losses": found.losses.tolist(), "suggestion": found.suggestion}


def gradual(_=None):
    """The optimizer that is compiled knows the last block only, so the callback makes another; outside of the scope."""
    import keras_transfer as kt
    from keras_transfer.distributing import outside_scope

    model, (x, y) = trained_from("block_3"), task(48)
    unfreezing = kt.GradualUnfreezing({1: "block_3", 2: "block_2"})
    return outside_scope(fitted)(model, x, y, epochs=3, callbacks=[unfreezing])


def outside(folder):
    """What is given a model that was made in a scope, and called outside of it."""
    import keras_transfer as kt
    from keras_transfer.distributing import outside_scope

    def run(model, data):
        kt.freeze(model)
        found = kt.find_learning_rate(model, data, steps=10)
        logs = kt.fine_tune(model, task(33), task(33), head_epochs=1, epochs=1, last="block_2", seed=7, verbose=0).history
        read = kt.predict(model, f"{folder}/red")
        return {"rates": found.losses.tolist(), "loss": logs["loss"], "evaluate": model.evaluate(data, verbose=0),
                "predict": [row["probability"] for row in read], "weights": flat(model)}

    return outside_scope(run)(attached(), dataset(33, 8))


def compiled_outside(_=None):
    """Metrics made outside of the scope: they count the rows of all replicas nevertheless, so that all end a phase alike."""
    import keras

    import keras_transfer as kt
    from keras_transfer.distributing import outside_scope

    def run(model):
        model.compile(optimizer=keras.optimizers.Adam(RATE), **kt.objectives(model))
        stop = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=1)
        options = {"head_epochs": 4, "epochs": 1, "last": "block_2", "seed": 7, "callbacks": [stop], "verbose": 0}
        logs = kt.fine_tune(model, dataset(40, 8), dataset(33, 8), **options).history
        return {**logs, "evaluate": model.evaluate(dataset(33, 8), verbose=0), "weights": flat(model)}

    return outside_scope(run)(attached())


def reloaded(_=None):
    """Saved and loaded, it trains on as it would have."""
    import keras_transfer as kt

    model, (x, y) = trained_from("block_3"), task(48)
    fitted(model, x, y)
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        again = kt.load(f"{folder}/model.keras")
    return {"loss": [*fitted(model, x, y)["loss"], *fitted(again, x, y)["loss"]], "weights": flat(again)}


def exported(folder):
    import keras_transfer as kt

    model = trained_from(None)
    fitted(model, *task(16))
    return {**kt.export(model, f"{folder}/served/1"), "written": os.path.isdir(f"{folder}/served/1")}


def tuned(folder, callbacks=()):
    """`fine_tune` on the photos in `folder`, without callbacks on features in memory."""
    import keras_transfer as kt

    train, valid, _ = kt.data.photos(folder, size=16, batch_size=8)
    model = attached()
    history = kt.fine_tune(model, train, valid, head_epochs=2, epochs=2, last="block_2", seed=7, verbose=0,
                           callbacks=callbacks)
    return {**history.history, "weights": flat(model), "evaluate": model.evaluate(valid, verbose=0)}


def tuned_whole(folder):
    import keras

    return tuned(folder, [keras.callbacks.Callback()])


def saved_model(folder):
    """The SavedModel `folder/norms` with a penalty and norms that train: its statistics on each replica."""
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_transfer as kt

    keras.utils.set_random_seed(0)
    model = kt.attach(kt.backbone(f"hub:{folder}/norms"), kt.heads.Classifier(3))
    kt.unfreeze(model)
    model.compile(optimizer=keras.optimizers.SGD(RATE), **kt.objectives(model))
    x, y = np.random.default_rng(0).normal(size=(40, 6)).astype("float32"), task(40)[1]
    logs = model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0).history
    layer, here = model.get_layer("backbone").get_layer("saved_model"), tf.distribute.get_strategy()
    parts = [[part.numpy().tolist() for part in here.experimental_local_results(v.value)] for v in layer.non_trainable_weights]
    predicted = model.predict(x[:5], verbose=0)
    exported = kt.export(model, f"{folder}/served")
    return {**logs, "parts": parts, "apart": float(abs(model(x[:5]).numpy() - predicted).max()), "exported": max(exported.values())}


def shared(folder):
    """Whether the workers see one folder, and what they are told of folders of their own; where the features were made."""
    import keras_transfer as kt
    from keras_transfer import distributing
    from keras_transfer.store import training

    here = strategy("workers")
    number, _ = distributing.position(here)
    blocked = f"{folder}/{'file' if number else 'third'}/sub"  # below a file nothing can be written
    found, place = [distributing.is_shared(path, here) for path in (f"{folder}/all", f"{folder}/own{number}", blocked)], []
    kept = training.kept
    noting = lambda prefix, part, directory, *rest: place.append(directory and directory.parent.name) or kept(prefix, part, directory, *rest)  # noqa: E731
    with patched(training, "kept", noting):
        for path in (f"{folder}/all", f"{folder}/own{number}"):
            with here.scope():
                model = attached()
            train, _, _ = kt.data.photos(f"{folder}/photos", size=16, batch_size=8)
            history = kt.fine_tune(model, train, head_epochs=2, epochs=0, directory=path, seed=1, verbose=0).history
    left = sorted(p.name for name in ("all", f"own{number}") for p in pathlib.Path(folder, name).iterdir())
    return {"found": found, "place": place, "left": left, "loss": history["loss"]}


def chief_alone(folder):
    """`fine_tune` with callbacks that write, and a folder, for the chief only; and what is said of others that it's not enough for."""
    import keras

    import keras_transfer as kt
    from keras_transfer import distributing

    here, told = strategy("workers"), []
    number, _ = distributing.position(here)
    train, _, _ = kt.data.photos(f"{folder}/photos{number}", size=16, batch_size=8)  # copies of other times

    def run(callbacks=(), directory=None):
        with here.scope():
            model = attached()
        return kt.fine_tune(model, train, head_epochs=1, epochs=1, last="block_2", directory=directory, seed=1,
                            callbacks=callbacks, verbose=0).history["loss"]

    mine = ([keras.callbacks.CSVLogger(f"{folder}/log.csv", append=True)], f"{folder}/run") if number == 0 else ([], None)
    losses = [run(*mine) for _ in range(2)]  # the second is restored at once
    for callbacks, directory in (([keras.callbacks.EarlyStopping("loss")], None), ([], f"{folder}/other")):
        try:
            run(callbacks if number else [], directory if number else None)
        except ValueError as error:
            told.append(str(error))
    return {"losses": losses, "told": told}


def reported(folder):
    """A run folder and a page, written to where only this worker looks; how many rows were counted, of photos and of arrays."""
    import tensorflow as tf

    import keras_transfer as kt
    from keras_transfer import distributing, evaluating, running

    number, _ = distributing.position(tf.distribute.get_strategy())

    def run(model):
        train, valid, labels = kt.data.photos(f"{folder}/photos", size=16, batch_size=8, validation=0.3)
        history = kt.fine_tune(model, train, valid, head_epochs=2, epochs=0, seed=1, verbose=0)
        running.write_run(f"{folder}/{number}/run", model, labels=labels, history=history,
                          config={**dict.fromkeys(running.NEEDED), "seed": 1})
        page = kt.report(model, valid, f"{folder}/{number}/report.html", history=history).path
        seen = [evaluating.scores(model, data)[0][0] for data in (valid, task(33))]
        return {"labels": [row["labels"] for row in seen], "value": [row["value"] for row in seen], "path": str(page),
                "loss": history.history["loss"], "predict": model.predict(task(5)[0], verbose=0).tolist()}

    return distributing.outside_scope(run)(attached())


def one_of_a_kind(_=None):
    """What `kt.strategy` gives in a process that is in its scope already."""
    import tensorflow as tf

    import keras_transfer as kt

    here = tf.distribute.get_strategy()
    return {"same": [kt.strategy(kind) is here for kind in ("auto", "mirrored", "auto")], "kind": type(here).__name__,
            "replicas": here.num_replicas_in_sync}


def spread(folder):
    """Features of photos in a cache of all workers, by engine: the files read for them, and the rows computed here."""
    import tensorflow as tf

    import keras_transfer as kt
    from keras_transfer import distributing

    read, file, several = [], tf.io.read_file, distributing.position(tf.distribute.get_strategy())[1]
    note = lambda path: read.append(os.path.basename(path.decode())) or path  # noqa: E731
    with patched(tf.io, "read_file", lambda path: file(tf.ensure_shape(tf.numpy_function(note, [path], tf.string), ()))):
        model, train, expected = photo_task(folder)
        found = {"before": read.copy(), "files": [os.path.basename(path) for path in kt.data.info(train).files]}
        for engine in ("tensorflow", "openvino"):
            read.clear()
            computed = []
            with patched(*counted(engine, computed)):
                features, _ = kt.cache_features(model, train, f"{folder}/{engine}{several}", store=kt.Store(engine=engine),
                                                verbose=0)
            found[engine] = {"read": read.copy(), "computed": computed, "apart": apart(features, expected)}
    return found


def at_once(folder):
    """Features that another process asks for in the same moment, by engine; who computes waits until the other is told."""
    import hashlib

    import keras_transfer as kt

    model, train, expected = photo_task(folder)
    found = {}
    for engine in ("tensorflow", "openvino"):
        place, computed = pathlib.Path(folder, engine), []
        place.mkdir(exist_ok=True)
        (place / f"ready{os.getpid()}").touch()
        assert until(lambda: len(list(place.glob("ready*"))) == 2), "there is no other process"
        wait = lambda told=place / "told": until(told.exists)  # noqa: E731
        with contextlib.redirect_stdout(Said(place / "told")) as said, patched(*counted(engine, computed, wait)):
            features, _ = kt.cache_features(model, train, f"{folder}/cache/{engine}", store=kt.Store(engine=engine), verbose=2)
        digest = hashlib.sha256(b"".join(x.tobytes() + y.tobytes() for x, y in features.as_numpy_iterator())).hexdigest()
        kt.data.info(features).epoch.assign(0)
        found[engine] = {"computed": computed, "said": said.getvalue(), "digest": digest, "apart": apart(features, expected)}
    return found


def weightings():
    """Of each kind of weighting one: how it's made, and at what layer it looks."""
    import keras_transfer as kt
    from multitask.test_faults import method

    return {"none": (lambda: None, None), "Equal": (kt.multitask.Equal, None), "PCGrad": (kt.multitask.PCGrad, None), "at features": (kt.multitask.PCGrad, "features"),
            "Uncertainty": (kt.multitask.Uncertainty, None), "MoCo": (lambda: method("MoCo"), None),
            "SDMGrad": (lambda: method("SDMGrad"), None), "FAMO": (lambda: method("FAMO"), None), "DWA": (kt.multitask.DWA, None)}


def every_weighting():
    import keras_transfer as kt

    bases = (kt.multitask.Weighting, kt.multitask.LearnedWeighting, kt.multitask.GradientCombination)
    classes = {name: getattr(kt.multitask, name) for name in dir(kt.multitask) if name[0].isupper()}
    made = {name: (make, None) for name, make in classes.items() if issubclass(make, bases) and make not in bases}
    return {**made, "Fixed": (lambda: kt.multitask.Fixed({"size": 0.5, "age": 2.0}), None)}


def every_task(_=None):
    return tasks(made=every_weighting())


def drawn(_=None):
    """Methods that draw, made outside of the scope: all replicas have to draw the same, and each step once."""
    import random

    import keras

    import keras_transfer as kt
    from keras_transfer.distributing import outside_scope
    from multitask import small

    def run(model, make):
        learner = kt.MultiTask(model, make())
        with model.distribute_strategy.scope():
            learner.compile(optimizer=keras.optimizers.SGD(0.1), **kt.objectives(model))
        logs = learner.fit(*small.data(48), batch_size=16, epochs=2, shuffle=False, verbose=0).history
        return {**logs, "weights": flat(model), "state": learner.weighting.generator.state.numpy().tolist()}

    found = {}
    for name in ("RLW", "GradDrop", "PCGrad", "GradVac"):
        method = getattr(kt.multitask, name)
        found[name] = outside_scope(run)(small.network(), lambda: method(seed=1))
    model = small.network()
    random.seed(os.getpid())  # Keras draws seeds there
    found["without a seed"] = outside_scope(run)(model, kt.multitask.RLW)
    return found


FEW = ("none", "PCGrad", "Uncertainty")
SPECIAL = ("none", "PCGrad", "at features", "MoCo", "SDMGrad")


def special_tasks(_=None):
    """Those that `every_task` hasn't, or not with these arguments, and one for the control."""
    return tasks(kinds=SPECIAL)


def few_tasks(_=None):
    """No weighting, one of gradients, and one of losses by learned weights."""
    return tasks(kinds=FEW)


def few_told(_=None):
    return told(kinds=FEW)


def tasks(_=None, kinds=None, made=None):
    """Several tasks with labels missing, in batches of which the last leaves a replica without rows."""
    from multitask import small

    found = {}
    for kind, (make, at) in (made or weightings()).items():
        if kinds is not None and kind not in kinds:
            continue
        two = ("size", "age")
        learner = small.learner(make(), model=small.network(tasks=two, penalty=0.01), at=at, eager=False)
        x, y = small.data(49, tasks=two)
        y = small.gaps(y, share=0.2)
        y["age"][:8] = float("nan")
        y["age"][48] = 40.0
        if learner.weighting is not None and learner.weighting.parts > 1:  # the halves of a batch are those of the replicas' parts
            x, y = in_halves(x, y, learner.replicas)
        logs = learner.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0).history
        kept = [] if learner.weighting is None else learner.weighting.weights
        state = [float(n) for v in kept if "float" in v.dtype for n in v.numpy().ravel()]
        found[kind] = {**logs, "weights": flat(learner.model), "state": state, "evaluate": learner.evaluate(x, y, verbose=0)}
    return found


def in_halves(x, y, replicas):
    """Three whole batches of 16; with one replica in the order that gives it the halves that two together have."""
    import numpy as np

    order = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15] if replicas == 1 else range(16)
    rows = np.concatenate([np.array(order) + start for start in (0, 16, 32)])
    return x[rows], {task: labels[rows] for task, labels in y.items()}


def told(_=None, kinds=None):
    """A label that is infinite, in the rows of the second replica: what is said, and whether any weight has changed."""
    from multitask import small

    found = {}
    for kind, (make, at) in weightings().items():
        if kinds is not None and kind not in kinds:
            continue
        learner = small.learner(make(), model=small.network(tasks=("size", "age")), at=at, eager=False)
        x, y = small.data(16, tasks=("size", "age"))
        y["age"][12] = float("inf")
        before = flat(learner.model)
        try:
            learner.fit(x, y, batch_size=16, shuffle=False, verbose=0)
        except ValueError as error:
            found[kind] = [str(error), before == flat(learner.model)]
    return found


def tasks_by_replica(_=None):
    """The control: gradients that are weighed on each replica by itself."""
    from keras_transfer.multitask import gradients

    with patched(gradients, "summed", lambda value, strategy: value):
        return tasks(kinds=["PCGrad"])["PCGrad"]


# --- parts of these


def attached(**options):
    """A model of the small backbone without dropout: replicas would drop other units."""
    import keras

    import conftest
    import keras_transfer as kt

    keras.utils.set_random_seed(0)
    model = kt.attach(conftest.small_backbone.__wrapped__()(), kt.heads.Classifier(3))
    for layer in model.get_layer("backbone").layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = options.get("synchronized", False)
    return model


def photo_task(folder):
    """A frozen model, the photos in `folder/photos`, and what features and labels are expected in their first epoch."""
    import keras_transfer as kt

    train, _, _ = kt.data.photos(f"{folder}/photos", size=16, validation=0.0)
    model = attached()
    kt.freeze(model)
    return model, train, [(model.get_layer("backbone")(x, training=False).numpy(), y) for x, y in train.as_numpy_iterator()]


def apart(features, expected):
    """How far features are from the expected ones, beside the same labels."""
    pairs = list(zip(features.as_numpy_iterator(), expected, strict=True))
    assert all((y == wanted).all() for (_, y), (_, wanted) in pairs)
    return max(float(abs(x - wanted).max()) for (x, _), (wanted, _) in pairs)


def counted(engine, rows, begun=lambda: None):
    """What to patch so that the numbers of all rows that an engine computes go to `rows`; `begun` is called after the first."""
    from keras_transfer.store.engines.choosing import ENGINES

    run = ENGINES[engine].run

    def noted(batches):
        for token, x in batches:
            yield token, x
            if not rows:
                begun()
            rows.extend(token[-1].tolist())

    return ENGINES[engine], "run", lambda self, batches, put: run(self, noted(batches), put)


class Said(io.StringIO):
    """What is printed; `file` is made when it tells of another run."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def write(self, text):
        if "Another run" in text:
            self.file.touch()
        return super().write(text)


def until(condition, seconds=60):
    """Waits for what another process does; whether it has come."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def trained_from(last, norms=False, synchronized=False, steps_per_execution=1, optimizer="Adam", **options):
    import keras

    import keras_transfer as kt

    model = attached(synchronized=synchronized)
    kt.unfreeze(model, last, norms=norms)
    model.compile(optimizer=kt.layerwise(getattr(keras.optimizers, optimizer)(RATE, **options), model),
                  steps_per_execution=steps_per_execution, **kt.objectives(model))
    return model


def fitted(model, x, y, validate=False, **options):
    logs = model.fit(x, y, batch_size=16, shuffle=False, verbose=0, validation_data=(x[:33], y[:33]) if validate else None,
                     **{"epochs": 2, **options}).history
    return {**logs, "weights": flat(model)}


def flat(model):
    return [float(number) for weight in model.weights if "float" in weight.dtype for number in weight.numpy().ravel()]


def two_heads(sharing=None, **options):
    import keras

    import keras_transfer as kt

    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(5, name="block_2", **options)(keras.layers.Dense(5, name="block_1")(inputs))
    heads = {name: kt.heads.Regressor() for name in ("a", "b")}
    return kt.attach(keras.Model(inputs, outputs), heads, sharing=sharing)


def numbers(count):
    """Rows, and what two heads should say of them."""
    import numpy as np

    x = np.random.default_rng(0).normal(size=(count, 4)).astype("float32")
    return x, {"a": x[:, 0], "b": x[:, 1] - x[:, 2]}


def task(count):
    from support import colour_task

    return colour_task(count)


def dataset(count, size):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(task(count)).batch(size)


@contextlib.contextmanager
def patched(owner, name, value):
    held = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, held)


def strategy(how):
    import keras_transfer as kt

    if how == "workers":
        return kt.strategy("auto")
    import tensorflow as tf

    if how == "one":
        return kt.strategy("auto")
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    if how == "found":
        take_processors_for_gpus()
        return kt.strategy("auto")
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def take_processors_for_gpus():
    """Patches where this package, and where `MirroredStrategy`, looks for devices."""
    import tensorflow as tf
    from tensorflow.python.framework import config

    found = config.list_logical_devices
    tf.config.list_logical_devices = config.list_logical_devices = lambda kind=None: found("CPU" if kind == "GPU" else kind)


def main(how, *what):
    """Runs functions by name; the last argument is their folder, if it is none of them."""
    names = [name for name in what if name in globals()]
    with strategy(how).scope():
        said = {name: globals()[name](what[-1]) for name in names}
    print(json.dumps(said))


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main(*sys.argv[1:])
