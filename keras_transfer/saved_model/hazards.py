"""Operations of a graph that reach outside of it: files, connections, Python, hidden programs."""

import re
from typing import NamedTuple

# The names are those of TensorFlow's registry; a test goes through all of them.
KINDS = {
    "reads files": r"ReadFile|Restore(Slice|V2)?|MatchingFiles|LoadAndRemapMatrix|GenerateVocabRemapping|RecordInput"
    r"|InitializeTableFromTextFile(V2)?|Skipgram|ListSnapshotChunksDataset"
    r"|Snapshot(Chunk)?Dataset(V2|Reader)?|SnapshotNestedDatasetReader"
    r"|(Experimental)?(CSV|FixedLengthRecord|LMDB|Load|MatchingFiles|SSTable|Sql|TFRecord|TextLine)"
    r"Dataset(V2)?|(FixedLengthRecord|LMDB|TFRecord|TextLine|WholeFile)Reader(V2)?",
    "writes files": r"WriteFile|Save(Slices|V2)?|SaveDataset(V2)?|DistributedSave|MergeV2Checkpoints"
    r"|Sharded(Filename|Filespec)|(Experimental)?DatasetToTFRecord|CacheDataset(V2)?"
    r"|CreateSummary(Db|File)Writer|SummaryWriter|Write\w*Summary|ImportEvent"
    r"|StatsAggregatorSetSummaryWriter|Debug(Identity|NanCount|NumericSummary)(V2|V3)?|Copy|CopyHost"
    r"|FileSystemSetConfiguration",
    "runs Python": r"PyFunc|PyFuncStateless|EagerPyFunc",
    "opens connections": r"(Host)?(Send|Recv)|Collective\w+|Nccl\w+|DataServiceDataset(V\d)?|RegisterDataset(V2)?"
    r"|Remote\w+|Rpc\w*|TryRpc|Gcs\w+|BigQuery\w+|Bigtable\w+|Kafka\w*|WorkerHeartbeat"
    r"|(Configure|Shutdown)\w*TPU\w*|Grpc\w+|Zmq\w+|Pubsub\w+",
    "runs a hidden program": r"DatasetFromGraph|TRTEngineOp|Xla(CallModule|CustomCall\w*|HostCompute|LaunchV2)"
    r"|TPU(Compile|Execute)\w*|TfLite\w+|DelegateGraph\w*|LoadLibrary\w*",
}
_KIND_OF = {kind: re.compile(pattern) for kind, pattern in KINDS.items()}
# Operations that are harmless but for one attribute.
_ATTRIBUTES = {
    "PrintV2": ("output_stream", rb"|stderr|stdout|log\(\w+\)", "writes files"),
    "DecodeProtoV2": ("descriptor_source", rb"|local://|bytes://.*", "reads files"),
    "EncodeProto": ("descriptor_source", rb"|local://|bytes://.*", "reads files"),
    "FixedUnigramCandidateSampler": ("vocab_file", rb"", "reads files"),
}
_SAVERS = ("SaveV2", "MergeV2Checkpoints", "ShardedFilename")
_FROM_FILE = ("InitializeTableFromTextFile", "InitializeTableFromTextFileV2")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_HOOKS = ("saved_model_main_op", "legacy_init_op", "table_initializer", "init_op")


class Hazard(NamedTuple):
    """One operation that reaches outside: its type, what it does, its node's name and the function it stands in."""

    operation: str
    does: str
    node: str
    function: str

    def __str__(self):
        return f"{self.operation} ({self.does}), node {self.node!r}" + (f" in {self.function}" if self.function else "")


def hazards(model):
    """Returns the `Hazard`s in all graphs of a `reading.SavedModel`, nested functions and control flow included.

    Left out is what every SavedModel has: the operations of its saver, where nothing but the saver reaches them, and
    tables that are filled from a file in its own `assets`.
    """
    return [hazard for graph in model.message.meta_graphs for hazard in _Graph(graph, model.path).hazards()]


def kind(node):
    """Returns what an operation does that reaches outside, or None."""
    if node.op in _ATTRIBUTES:
        name, harmless, does = _ATTRIBUTES[node.op]
        return None if re.fullmatch(harmless, node.attr[name].s, re.DOTALL) else does
    return next((kind for kind, names in _KIND_OF.items() if names.fullmatch(node.op.lstrip("_"))), None)


class _Graph:
    """One graph of a SavedModel: its nodes, its functions, and who calls them."""

    def __init__(self, graph, path):
        self.graph, self.path, self.objects = graph, path, graph.object_graph_def
        self.main = {node.name: node for node in graph.graph_def.node}
        self.functions = {f.signature.name: f for f in graph.graph_def.library.function}
        self.bodies = {name: {node.name: node for node in f.node_def} for name, f in self.functions.items()}
        self.callers = {}  # function -> [(function it's called in, or "", node)]
        for scope, node in self.nodes():
            for name in _called(node):
                self.callers.setdefault(name, []).append((scope, node))

    def nodes(self):
        yield from (("", node) for node in self.graph.graph_def.node)
        for name, function in self.functions.items():
            yield from ((name, node) for node in function.node_def)

    def hazards(self):
        excepted = self.saver_nodes()
        for scope, node in self.nodes():
            does = kind(node)
            if does and id(node) not in excepted and not (node.op in _FROM_FILE and self.reads_asset(scope, node)):
                yield Hazard(node.op, does, node.name, scope)

    # --- the saver

    def saver_nodes(self):
        """The ids of nodes that save and restore, where only the saver reaches them."""
        saver = self.graph.saver_def
        used = self.above(self.entries())
        found = set()
        for start, operations in ((saver.save_tensor_name, _SAVERS), (saver.restore_op_name, ("RestoreV2",))):
            for name in self.above([start]) - used:
                node = self.main[name]
                inside = [node] if node.op in operations else []
                for function in _called(node):
                    if self.is_only_called_by(function, node):
                        inside += [n for n in self.functions[function].node_def if n.op in operations]
                found.update(map(id, inside))
        if not self.objects.nodes:  # the loader of TF1 graphs runs the restoring part, with a file name of its own
            restoring = self.above([saver.restore_op_name])
            found -= {id(self.main[name]) for name in restoring if self.main[name].op in _SAVERS}
        return found

    def is_only_called_by(self, function, node):
        library = self.graph.graph_def.library
        elsewhere = {g.gradient_func for g in library.gradient} | {
            g.gradient_func for g in library.registered_gradients
        }
        elsewhere |= set(self.objects.concrete_functions)
        for one in self.objects.nodes:
            elsewhere |= {one.bare_concrete_function.concrete_function_name, *one.function.concrete_functions}
        calls = self.callers.get(function, [])
        return function in self.functions and function not in elsewhere and all(n is node for _, n in calls)

    def entries(self):
        """The names of tensors and operations of the main graph that a loader may run."""
        for signature in self.graph.signature_def.values():
            for info in (*signature.outputs.values(), *signature.inputs.values()):
                yield info.name
                yield from (
                    info.coo_sparse.values_tensor_name,
                    info.coo_sparse.indices_tensor_name,
                    info.coo_sparse.dense_shape_tensor_name,
                )
                yield from (component.name for component in info.composite_tensor.components)
        for name, collection in self.graph.collection_def.items():
            if name in _HOOKS:
                yield from collection.node_list.value

    def above(self, names):
        """The names of all nodes of the main graph that the given ones need, themselves included."""
        todo, seen = [_node_name(name) for name in names], set()
        while todo:
            name = todo.pop()
            if name in self.main and name not in seen:
                seen.add(name)
                todo += map(_node_name, self.main[name].input)
        return seen

    # --- tables

    def reads_asset(self, scope, node):
        """Whether the file that a table is filled from is always one of the model's own assets."""
        return len(node.input) > 1 and self.is_asset(scope, node.input[1], set())

    def is_asset(self, scope, tensor, seen):
        name = _node_name(tensor)
        if (scope, name) in seen:
            return True
        seen = seen | {(scope, name)}
        body = self.bodies[scope] if scope else self.main
        if name in body:
            if body[name].op == "Identity":
                return self.is_asset(scope, body[name].input[0], seen)
            if body[name].op == "ReadVariableOp" and not scope:
                return self.holds_asset(_node_name(body[name].input[0]), seen)
            return not scope and name in self.asset_tensors()
        arguments = [a.name for a in self.functions[scope].signature.input_arg] if scope else []
        return name in arguments and self.is_always_asset(scope, arguments.index(name), len(arguments), seen)

    def holds_asset(self, handle, seen):
        """Whether a variable of the main graph is set to an asset and nothing else: that's how the paths get there."""
        alike = (
            [
                n
                for _, n in self.nodes()
                if n.op == "VarHandleOp" and n.attr["shared_name"].s == self.main[handle].attr["shared_name"].s
            ]
            if handle in self.main
            else []
        )
        users = [n for n in self.main.values() if handle in map(_node_name, n.input)]
        sets = [n for n in users if n.op == "AssignVariableOp"]
        return (
            len(alike) == 1
            and self.main[handle].op == "VarHandleOp"
            and bool(sets)
            and all(n.op in ("AssignVariableOp", "ReadVariableOp", "VarIsInitializedOp") for n in users)
            and all(self.is_asset("", n.input[1], seen) for n in sets)
        )

    def is_always_asset(self, function, place, count, seen):
        """Whether every call of `function`, and every object that it's bound to, hands it an asset in that place."""
        calls = self.callers.get(function, [])
        if any(node.op not in _CALLS or place >= len(node.input) for _, node in calls):
            return False
        concrete = self.objects.concrete_functions
        bound = list(concrete[function].bound_inputs) if function in concrete else None
        if bound is not None:
            k = place - (count - len(bound))
            if k < 0 or not self.is_asset_object(bound[k]):
                return False
        return bool(calls or bound) and all(self.is_asset(scope, node.input[place], seen) for scope, node in calls)

    def is_asset_object(self, number):
        nodes = self.objects.nodes
        if not 0 <= number < len(nodes) or nodes[number].WhichOneof("kind") != "asset":
            return False
        index = nodes[number].asset.asset_file_def_index
        return 0 <= index < len(self.graph.asset_file_def) and _is_inside(
            self.path, self.graph.asset_file_def[index].filename
        )

    def asset_tensors(self):
        return {
            _node_name(asset.tensor_info.name)
            for asset in self.graph.asset_file_def
            if _is_inside(self.path, asset.filename)
        }


def _is_inside(path, filename):
    folder = (path / "assets").resolve()
    return filename != "" and (folder / filename).resolve().is_relative_to(folder)


def _called(node):
    """The names of the functions that a node calls, in whatever attribute."""
    for attribute in node.attr.values():
        kind = attribute.WhichOneof("value")
        if kind == "func":
            yield from _named(attribute.func)
        elif kind == "list":
            for function in attribute.list.func:
                yield from _named(function)
    yield node.op  # a function can be called by its name as well


def _named(function):
    yield function.name
    for attribute in function.attr.values():  # arguments of a function may be functions
        if attribute.WhichOneof("value") == "func":
            yield from _named(attribute.func)


def _node_name(tensor):
    return tensor.lstrip("^").split(":")[0]
