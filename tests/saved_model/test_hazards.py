"""What reaches outside is found wherever it stands; what every SavedModel has is not."""

import re
import shutil

import pytest
import saved_models
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.saved_model import hazards, reading


def found(path):
    return hazards.hazards(reading.read(path))


@pytest.mark.parametrize("where", ["call", "nested", "branch", "loop", "data"])
def test_a_writer_is_refused_and_writes_nothing(where, tmp_path):
    target = tmp_path / "written.txt"
    path = saved_models.writer(tmp_path / "model", target, where)
    target.unlink(missing_ok=True)
    names = {hazard.operation for hazard in found(path)}
    assert names == {"WriteFile"}
    with pytest.raises(ValueError, match="is refused.*WriteFile.*allow_unsafe=True"):
        kt.backbone(f"hub:{path}")
    assert not target.exists()
    # the control: the model does write, and the permission is what lets it
    backbone = kt.backbone(kt.backbones.Hub(path, allow_unsafe=True))
    backbone(tf.ones((1, 6)))
    assert target.read_text() == "written"


@pytest.mark.parametrize("maker", ["reusable", "plain", "signature_only", "keras_export", "tf1_hub", "dicts"])
def test_ordinary_models_are_safe(maker, tmp_path):
    path = getattr(saved_models, maker)(tmp_path / "model")
    assert found(path) == []
    text = (path / "saved_model.pb").read_bytes()
    assert b"SaveV2" in text and b"RestoreV2" in text  # the exception had something to except


def test_a_table_of_its_own_assets_is_safe(tmp_path):
    path = saved_models.words(tmp_path / "model", tmp_path)
    assert b"InitializeTableFromTextFileV2" in (path / "saved_model.pb").read_bytes()
    assert found(path) == []


@pytest.mark.parametrize("name", ["../../secret.txt", "/etc/passwd", ""])
def test_a_table_of_another_file_is_not(name, tmp_path):
    path = saved_models.words(tmp_path / "model", tmp_path)
    change(path, lambda graph: setattr(graph.asset_file_def[0], "filename", name))
    assert {hazard.operation for hazard in found(path)} == {"InitializeTableFromTextFileV2"}
    with pytest.raises(ValueError, match="InitializeTableFromTextFileV2"):
        kt.backbone(f"hub:{path}")


def test_an_asset_that_links_outside_is_not(tmp_path):
    path = saved_models.words(tmp_path / "model", tmp_path)
    secret = tmp_path / "secret.txt"
    secret.write_text("a\nb\nc\nd\n")
    (path / "assets" / "words.txt").unlink()
    (path / "assets" / "words.txt").symlink_to(secret)
    assert {hazard.operation for hazard in found(path)} == {"InitializeTableFromTextFileV2"}


def test_a_table_of_a_constant_name_is_not(tmp_path):
    class Reader(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, text):
            table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
            tf.raw_ops.InitializeTableFromTextFileV2(
                table_handle=table, filename="/etc/passwd", key_index=-2, value_index=-1
            )
            return tf.raw_ops.LookupTableFindV2(table_handle=table, keys=text, default_value=tf.constant(-1, tf.int64))

    tf.saved_model.save(Reader(), str(tmp_path / "model"))
    assert {hazard.operation for hazard in found(tmp_path / "model")} == {"InitializeTableFromTextFileV2"}


def test_the_saver_is_excepted_only_for_the_saver(tmp_path):
    """A signature that calls the function which saves would write wherever its caller says."""
    path = saved_models.plain(tmp_path / "model")
    graph = reading.read(path).message.meta_graphs[0]
    saving = next(
        f.signature.name for f in graph.graph_def.library.function if any(n.op == "SaveV2" for n in f.node_def)
    )

    def call_it(graph):
        function = next(f for f in graph.graph_def.library.function if not any(n.op == "SaveV2" for n in f.node_def))
        node = function.node_def.add(name="sneaky", op="StatefulPartitionedCall")
        node.attr["f"].func.name = saving

    change(path, call_it)
    assert {h.operation for h in found(path)} == {"SaveV2", "MergeV2Checkpoints", "ShardedFilename"}


def test_a_signature_that_is_the_saver_is_not_excepted(tmp_path):
    path = saved_models.plain(tmp_path / "model")

    def expose(graph):
        graph.signature_def["evil"].outputs["x"].name = graph.saver_def.save_tensor_name

    change(path, expose)
    assert {h.operation for h in found(path)} == {"SaveV2", "MergeV2Checkpoints", "ShardedFilename"}


def test_an_object_that_is_the_saver_is_not_excepted(tmp_path):
    path = saved_models.plain(tmp_path / "model")

    def expose(graph):
        saving = next(
            f.signature.name for f in graph.graph_def.library.function if any(n.op == "SaveV2" for n in f.node_def)
        )
        graph.object_graph_def.concrete_functions[saving].SetInParent()

    change(path, expose)
    assert {h.operation for h in found(path)} == {"SaveV2", "MergeV2Checkpoints", "ShardedFilename"}


def test_tf1_restoring_must_not_save(tmp_path):
    path = saved_models.tf1_hub(tmp_path / "model")

    def hang_on(graph):
        nodes = {node.name: node for node in graph.graph_def.node}
        saver = next(node for node in graph.graph_def.node if node.op == "SaveV2")
        nodes[graph.saver_def.restore_op_name].input.append(f"^{saver.name}")

    change(path, hang_on)
    assert "SaveV2" in {h.operation for h in found(path)}


@pytest.mark.parametrize("where", ["legacy_init_op", "signature"])
def test_the_init_operation_is_judged(where, tmp_path):
    path = saved_models.tf1_hub(tmp_path / "model")

    def begin_with_saving(graph):
        saver = next(node for node in graph.graph_def.node if node.op == "SaveV2")
        if where == "signature":
            graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = saver.name
        else:
            graph.collection_def["legacy_init_op"].node_list.value.append(saver.name)

    change(path, begin_with_saving)
    assert "SaveV2" in {h.operation for h in found(path)}


@pytest.mark.parametrize("stream, unsafe", [("file:///tmp/x", True), ("stderr", False), ("log(info)", False)])
def test_printing_to_a_file(stream, unsafe, tmp_path):
    class Printer(tf.Module):
        @tf.function(input_signature=[saved_models.FEATURES])
        def __call__(self, x):
            tf.raw_ops.PrintV2(input="hello", output_stream=stream)
            return x

    tf.saved_model.save(Printer(), str(tmp_path / "model"))
    assert [h.operation for h in found(tmp_path / "model")] == ["PrintV2"] * unsafe


def test_python_is_found(tmp_path):
    class Pythonic(tf.Module):
        @tf.function(input_signature=[saved_models.FEATURES])
        def __call__(self, x):
            return tf.ensure_shape(tf.numpy_function(lambda a: a, [x], tf.float32), (None, 6))

    tf.saved_model.save(Pythonic(), str(tmp_path / "model"))
    (hazard,) = found(tmp_path / "model")
    assert hazard.operation in ("PyFunc", "EagerPyFunc") and hazard.does == "runs Python"


def test_an_embedded_graph_is_judged_again(tmp_path):
    """A `.keras` file can't bring its own permission: the same graph is refused in another process."""
    from support import run_python

    target = tmp_path / "written.txt"
    path = saved_models.writer(tmp_path / "model", target)
    model = kt.backbone(kt.backbones.Hub(path, allow_unsafe=True))
    model.save(tmp_path / "model.keras")
    shutil.rmtree(path)
    target.unlink(missing_ok=True)
    kt.load(tmp_path / "model.keras", safe_mode=False)  # allowed: this process was told to
    done = run_python(
        "import sys, keras_transfer as kt\nkt.load(sys.argv[1], safe_mode=False)", tmp_path / "model.keras", check=False
    )
    assert done.returncode and re.search("is refused.*WriteFile", done.stderr) and not target.exists()


def test_every_stateful_operation_is_classified():
    """A guard for later versions: what has a state is either known to be harmless or refused."""
    names = [n for n in dir(tf.raw_ops) if not n.startswith("_")]
    node = tf.compat.v1.NodeDef
    refused = {n for n in names if hazards.kind(node(op=n))}
    suspicious = re.compile(
        r"File|Save|Restore|Snapshot|PyFunc|Record|Recv|Send|Collective|DataService|Remote|Sql|Csv|CSV"
        r"|LMDB|TextLine|SummaryWriter|WriteSummary|Debug(Identity|N)|Collective|Nccl"
    )
    harmless = {
        "BoostedTreesExampleDebugOutputs",
        "IteratorGetNextFromShard",
        "RandomShuffle",
        "DebugGradientIdentity",
        "DebugGradientRefIdentity",
        "ReaderRestoreState",
        "ReaderRestoreStateV2",
        "CloseSummaryWriter",
        "FlushSummaryWriter",
        "RecvTPUEmbeddingActivations",
        "SendTPUEmbeddingGradients",
        "InitializeTableFromDataset",
        "DecodeCSV",
        "Snapshot",
        "ReaderNumRecordsProduced",
        "ReaderNumRecordsProducedV2",
    }
    assert {n for n in names if suspicious.search(n)} - refused - harmless == set()
    assert len(refused) > 90


def change(path, edit):
    """Edits the first graph of the SavedModel in `path`."""
    message = reading.read(path).message
    edit(message.meta_graphs[0])
    (path / "saved_model.pb").write_bytes(message.SerializeToString())


@pytest.mark.slow
@pytest.mark.parametrize("script", ["fuzz_saved_models.py", "fuzz_images.py"])
def test_mutated_files_do_no_harm(script):
    """Some of what the benchmarks run by the thousand: nothing crashes, hangs or writes a file."""
    import pathlib
    import subprocess
    import sys

    path = pathlib.Path(__file__).parents[2] / "benchmarks" / script
    done = subprocess.run([sys.executable, str(path), "48", "5"], capture_output=True, text=True)
    assert done.returncode == 0 and "48 mutated" in done.stdout and "0 bad" in done.stdout, (
        done.stdout + done.stderr[-2000:]
    )
