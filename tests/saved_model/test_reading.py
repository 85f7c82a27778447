"""What is no SavedModel, or a damaged one, gets a clear error and nothing is run."""

import random
import shutil

import pytest
import saved_models

import keras_transfer as kt
from keras_transfer.saved_model import reading


@pytest.fixture
def path(tmp_path):
    return saved_models.plain(tmp_path / "model")


def test_what_it_holds(path):
    model = reading.read(path)
    assert reading.tag_sets(model) == [["serve"]]
    graph, tags = reading.chosen(model)
    assert tags == ["serve"]
    assert reading.signatures(graph) == {
        "serving_default": ({"x": ("float32", (None, 6))}, {"output_0": ("float32", (None, 3))})
    }
    assert sorted(shape for _, shape in reading.variables(path).values()) == [(3,), (6, 3)]


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or archive"):
        kt.backbone(f"hub:{tmp_path / 'absent'}")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        reading.read(tmp_path / "absent")


def test_no_saved_model(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match="is no SavedModel: it has no file saved_model.pb, but photo.jpg"):
        kt.backbone(f"hub:{tmp_path}")


@pytest.mark.parametrize("bytes", [random.Random(0).randbytes(5000), b"", b"\n"])
def test_random_bytes(path, bytes):
    (path / "saved_model.pb").write_bytes(bytes)
    with pytest.raises(ValueError, match="is damaged or no SavedModel"):
        kt.backbone(f"hub:{path}")


def test_truncated_graph(path):
    whole = (path / "saved_model.pb").read_bytes()
    (path / "saved_model.pb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is damaged or no SavedModel"):
        kt.inspect(path)


@pytest.mark.parametrize("file", ["variables.data-00000-of-00001", "variables.index"])
@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_truncated_variables(path, file, keep):
    whole = (path / "variables" / file).read_bytes()
    (path / "variables" / file).write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ValueError, match="(variables (in|of) .* are damaged|can't load the SavedModel).*"):
        kt.backbone(f"hub:{path}")


def test_missing_variables(path):
    shutil.rmtree(path / "variables")
    with pytest.raises(ValueError, match="can't load the SavedModel"):
        kt.backbone(f"hub:{path}")


def test_a_missing_tag(path):
    with pytest.raises(ValueError, match=r"has graphs with the tags \['serve'\], but none with \['train'\]"):
        kt.backbone(kt.backbones.Hub(path, tags=["train"]))


def test_tags_are_chosen(tmp_path):
    path = saved_models.tf1_hub(tmp_path / "model")
    model = reading.read(path)
    assert reading.chosen(model)[1] == []
    graph = model.message.meta_graphs.add()
    graph.CopyFrom(model.message.meta_graphs[0])
    graph.meta_info_def.tags.append("train")
    assert reading.chosen(model)[1] == []
    assert reading.chosen(model, ["train"])[1] == ["train"]
    model.message.meta_graphs[0].meta_info_def.tags.append("gpu")
    with pytest.raises(ValueError, match="none is tagged .'serve'. or ..*Name one of them in `tags`"):
        reading.chosen(model)


def test_chunks_are_refused(path):
    (path / "saved_model.cpb").write_bytes(b"")
    with pytest.raises(ValueError, match="in chunks .* can't be checked before it is loaded"):
        kt.backbone(f"hub:{path}")
