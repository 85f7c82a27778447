"""Mutated SavedModels through `kt.inspect` and `kt.backbone`: how far each kind gets, and whether anything crashes.

python benchmarks/fuzz_saved_models.py [COUNT, by default 1000] [SEED]

Every case runs in a child process of its own. Half of the mutations are structural (a node, attribute, shape, input,
object or signature changed in the parsed model), the rest are changed bytes and truncations of any of its files.
"""

import collections
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

import saved_models
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.saved_model import reading

LIMIT = 120  # seconds a case
STAGES = {10: "refused by inspect", 11: "refused by backbone", 12: "refused when called", 0: "ran"}


def structural(path, random):
    """Changes one to three things in the parsed model."""
    message = reading.read(path).message
    graph = message.meta_graphs[0]
    for _ in range(random.randint(1, 3)):
        random.choice(EDITS)(graph, random)
    (path / "saved_model.pb").write_bytes(message.SerializeToString())


def any_node(graph, random):
    bodies = [graph.graph_def.node, *(f.node_def for f in graph.graph_def.library.function)]
    return random.choice(random.choice([body for body in bodies if len(body)]))


def change_operation(graph, random):
    any_node(graph, random).op = random.choice(
        [
            "MatMul",
            "Const",
            "Identity",
            "ReadVariableOp",
            "Placeholder",
            "NoOp",
            "Nothing",
            "While",
            "WriteFile",
            "Reshape",
        ]
    )


def change_input(graph, random):
    node = any_node(graph, random)
    if node.input:
        node.input[random.randrange(len(node.input))] = random.choice(
            [
                node.name,
                any_node(graph, random).name,
                any_node(graph, random).name + ":output:0",
                "absent",
                "^absent",
                "",
            ]
        )


def add_input(graph, random):
    any_node(graph, random).input.append(any_node(graph, random).name)


def remove_input(graph, random):
    node = any_node(graph, random)
    if node.input:
        del node.input[random.randrange(len(node.input))]


def remove_node(graph, random):
    bodies = [graph.graph_def.node, *(f.node_def for f in graph.graph_def.library.function)]
    body = random.choice([body for body in bodies if len(body)])
    del body[random.randrange(len(body))]


def copy_node(graph, random):
    graph.graph_def.node.add().CopyFrom(any_node(graph, random))


def change_attribute(graph, random):
    node = any_node(graph, random)
    if not node.attr:
        return
    name = random.choice(sorted(node.attr))
    change = random.randrange(5)
    if change == 0:
        del node.attr[name]
    elif change == 1:
        node.attr[name].type = random.choice([0, 1, 3, 7, 9, 20, 99])
    elif change == 2:
        shape = node.attr[name].shape
        shape.SetInParent()
        shape.dim.add(size=random.choice([-5, -1, 0, 1, 7, 2**31, 2**62]))
    elif change == 3:
        node.attr[name].i = random.choice([-1, 0, 3, 2**62])
    else:
        node.attr[name].func.name = random.choice(["absent", "", any_function(graph, random)])


def change_constant(graph, random):
    nodes = [n for f in graph.graph_def.library.function for n in f.node_def if n.op == "Const"]
    nodes += [n for n in graph.graph_def.node if n.op == "Const"]
    if nodes:
        tensor = random.choice(nodes).attr["value"].tensor
        tensor.dtype = random.choice([tensor.dtype, 1, 3, 7, 9])
        tensor.tensor_shape.dim.add(size=random.choice([-1, 0, 2, 2**40]))
        tensor.tensor_content = random.randbytes(random.randint(0, 40))


def any_function(graph, random):
    functions = graph.graph_def.library.function
    return random.choice(functions).signature.name if len(functions) else ""


def change_function(graph, random):
    if not len(graph.graph_def.library.function):
        return
    function = random.choice(graph.graph_def.library.function)
    change = random.randrange(4)
    if change == 0 and len(function.signature.input_arg):
        random.choice(function.signature.input_arg).type = random.choice([1, 3, 7, 20])
    elif change == 1 and len(function.signature.input_arg):
        del function.signature.input_arg[random.randrange(len(function.signature.input_arg))]
    elif change == 2 and function.ret:
        function.ret[random.choice(sorted(function.ret))] = "absent:0"
    else:
        function.signature.name = any_function(graph, random) + "x"


def change_object(graph, random):
    nodes = graph.object_graph_def.nodes
    if not len(nodes):
        return
    node = random.choice(nodes)
    change = random.randrange(6)
    if change == 0 and len(node.children):
        random.choice(node.children).node_id = random.choice([-1, 0, len(nodes), random.randrange(len(nodes)), 2**30])
    elif change == 1 and len(node.children):
        random.choice(node.children).local_name = random.choice(["", "__call__", "variables", "signatures", "x"])
    elif change == 2:
        node.variable.shape.dim.add(size=random.choice([-1, 0, 5, 2**40]))
    elif change == 3:
        node.variable.dtype = random.choice([1, 3, 7, 20, 99])
    elif change == 4:
        node.bare_concrete_function.concrete_function_name = any_function(graph, random)
    else:
        names = sorted(graph.object_graph_def.concrete_functions)
        if names:
            bound = graph.object_graph_def.concrete_functions[random.choice(names)].bound_inputs
            bound.append(random.choice([-1, 0, len(nodes), random.randrange(len(nodes))]))


def change_signature(graph, random):
    if not graph.signature_def:
        return
    signature = graph.signature_def[random.choice(sorted(graph.signature_def))]
    side = random.choice([signature.inputs, signature.outputs])
    if side:
        info = side[random.choice(sorted(side))]
        change = random.randrange(3)
        if change == 0:
            info.name = random.choice(["absent:0", "", any_node(graph, random).name])
        elif change == 1:
            info.dtype = random.choice([0, 1, 3, 7, 99])
        else:
            info.tensor_shape.dim.add(size=random.choice([-7, 0, 3, 2**62]))


def change_saver(graph, random):
    saver = graph.saver_def
    setattr(
        saver,
        random.choice(["save_tensor_name", "restore_op_name", "filename_tensor_name"]),
        random.choice(["", "absent:0", any_node(graph, random).name]),
    )


EDITS = [
    change_operation,
    change_input,
    add_input,
    remove_input,
    remove_node,
    copy_node,
    change_attribute,
    change_attribute,
    change_constant,
    change_function,
    change_object,
    change_object,
    change_signature,
    change_saver,
]


def flipped(path, random):
    """Changes up to 20 bytes of one file."""
    file = random.choice(sorted(p for p in path.rglob("*") if p.is_file() and p.stat().st_size))
    data = bytearray(file.read_bytes())
    for _ in range(random.randint(1, 20)):
        data[random.randrange(len(data))] = random.randrange(256)
    file.write_bytes(data)


def truncated(path, random):
    """Cuts the end of one file off."""
    file = random.choice(sorted(p for p in path.rglob("*") if p.is_file() and p.stat().st_size))
    file.write_bytes(file.read_bytes()[: random.randrange(file.stat().st_size)])


KINDS = [structural, structural, flipped, truncated]


def attempt(path):
    """Goes as far as it can with one model, in the child; returns the number of the stage that it ended in."""
    try:
        kt.inspect(path)
    except (ValueError, FileNotFoundError):
        return 10
    try:
        backbone = kt.backbone(f"hub:{path}")
    except (ValueError, FileNotFoundError):
        return 11
    try:
        shapes = [[2] + [side or 2 for side in tensor.shape[1:]] for tensor in backbone.inputs]
        given = [
            tf.constant("cat", shape=s) if t.dtype == "string" else tf.ones(s, t.dtype)
            for s, t in zip(shapes, backbone.inputs)
        ]
        tf.nest.map_structure(
            lambda t: t.numpy(),
            backbone(given[0] if len(given) == 1 else dict(zip([t.name for t in backbone.inputs], given))),
        )
    except Exception:  # a graph that can't run is refused by TensorFlow when it's called
        return 12
    return 0


def in_child(work, errors):
    """Calls `work`, which gives an exit code, in a forked process; returns its exit code, negative for a signal, or None after `LIMIT` s."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        code = 99
        try:
            code = work()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def sources(folder):
    """One model of each kind, made in a process of its own, since a forked TensorFlow must not have run before."""
    child = os.fork()
    if child == 0:
        for name in ("reusable", "plain", "signature_only", "keras_export", "tf1_hub", "dicts"):
            getattr(saved_models, name)(folder / name)
        saved_models.words(folder / "words", folder)
        os._exit(0)
    os.waitpid(child, 0)
    return sorted(p for p in folder.iterdir() if p.is_dir())


def main(count=1000, seed=0):
    kt.backbone, kt.inspect  # imported before the first fork
    chance, table, bad = random.Random(seed), collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        models = sources(pathlib.Path(folder))
        os.chdir(empty := tempfile.mkdtemp(dir=folder))
        assert all(in_child(lambda model=model: attempt(model), pathlib.Path(folder) / "errors.txt") == 0 for model in models), (
            "unchanged models run"
        )
        for number in range(count):
            mutate, model = KINDS[number % len(KINDS)], models[number % len(models)]
            path = pathlib.Path(folder) / "case"
            shutil.copytree(model, path)
            mutate(path, chance)
            before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
            code = in_child(lambda: attempt(path), pathlib.Path(folder) / "errors.txt")
            if code not in STAGES or os.listdir(empty) or before != {p: p.stat().st_mtime_ns for p in path.rglob("*")}:
                kept = pathlib.Path(tempfile.gettempdir()) / f"fuzz_{seed}_{number}"
                shutil.copytree(path, kept, dirs_exist_ok=True)
                last = (pathlib.Path(folder) / "errors.txt").read_text(errors="replace")[-400:]
                bad.append(
                    f"{kept} {model.name} {mutate.__name__} ended with {code}, files {os.listdir(empty)}: {last}"
                )
                print(bad[-1], flush=True)
            table[mutate.__name__, STAGES.get(code, "CRASHED, HUNG OR ANOTHER ERROR")] += 1
            shutil.rmtree(path)
        os.chdir("/")
    return told("SavedModels", count, seed, bad, table)


def told(what, count, seed, bad, table):
    """Prints how far each kind of mutation got, and returns how many cases were bad."""
    print(f"{count} mutated {what}, seed {seed}, {len(bad)} bad")
    for (kind, stage), number in sorted(table.items()):
        print(f"{kind:12} {stage:32} {number:5}")
    return len(bad)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(bool(main(*map(int, sys.argv[1:]))))
