"""The names of the tasks, and every way of sharing in a file that a fresh process loads."""

import json

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.multitask.sharing import sharing
from keras_transfer.multitask.sharing.cgc import CGC
from keras_transfer.multitask.sharing.crossstitch import CrossStitch
from keras_transfer.multitask.sharing.dselectk import DSelectK
from keras_transfer.multitask.sharing.film import FiLM
from keras_transfer.multitask.sharing.mmoe import MMoE
from keras_transfer.multitask.sharing.mtan import MTAN
from keras_transfer.multitask.sharing.nddr import NDDR
from keras_transfer.multitask.sharing.ple import PLE
from keras_transfer.multitask.sharing.residualadapter import ResidualAdapter
from keras_transfer.multitask.sharing.sluice import Sluice
from keras_transfer.multitask.sharing.soft import L2Sharing, TraceNormSharing
from multitask.sharing.laws import FEATURES, TASKS, dense_backbone, heads, numbers, rise
from support import run_python

LAYERS = [
    lambda **o: MMoE(3, 4, **o),
    lambda **o: CGC(2, 1, 4, **o),
    lambda **o: PLE(2, 1, 2, 4, **o),
    lambda **o: DSelectK(4, 4, **o),
    lambda **o: FiLM(**o),
    lambda **o: ResidualAdapter(2, **o),
    lambda **o: L2Sharing(0.1, [4, 3], **o),
    lambda **o: TraceNormSharing(0.1, 4, **o),
]
INSIDE = [lambda at: CrossStitch(at), lambda at: NDDR(at), lambda at: Sluice(at), lambda at: MTAN(at)]


@pytest.mark.parametrize("make", LAYERS)
def test_the_heads_give_the_tasks_their_names(make):
    model = kt.attach(dense_backbone(), heads(), sharing=make())
    layer = model.get_layer("sharing")
    assert layer.tasks == ("colour", "light") and layer.get_config()["tasks"] == TASKS
    assert kt.attach(dense_backbone(), heads(), sharing=make(tasks=["light", "colour"])).get_layer("sharing").tasks == (
        "light",
        "colour",
    )


@pytest.mark.parametrize("make", LAYERS)
def test_other_tasks_than_the_heads_are_refused(make):
    error = r"`sharing` \(\w+\) is for the tasks colour, age, and the heads are colour, light. Make a new one for them"
    with pytest.raises(ValueError, match=error):
        kt.attach(dense_backbone(), heads(), sharing=make(tasks=["colour", "age"]))
    used = make()
    kt.attach(dense_backbone(), {"colour": kt.heads.Classifier(3), "age": kt.heads.Regressor()}, sharing=used)
    with pytest.raises(ValueError, match=error):
        kt.attach(dense_backbone(), heads(), sharing=used)


@pytest.mark.parametrize("make", [*LAYERS, *(lambda m=m: m(["block_1"]) for m in INSIDE)])
def test_one_task_shares_with_nobody(make):
    error = "needs at least two tasks with different names. Received: colour. With one head leave `sharing` out."
    with pytest.raises(ValueError, match=error):
        kt.attach(dense_backbone(), {"colour": kt.heads.Classifier(3)}, sharing=make())


@pytest.mark.parametrize("make", LAYERS)
def test_a_layer_without_tasks_says_so(make):
    with pytest.raises(ValueError, match="doesn't know its tasks yet. Give it to `kt.attach` as `sharing`, or say"):
        make()(FEATURES)
    assert set(make(tasks=TASKS)(FEATURES)) == set(TASKS)


def test_names_of_tasks():
    assert sharing.several(iter("ab")) == ("a", "b")
    for few, told in [("ab", "ab"), ([], "none"), (["a", "a"], "a, a")]:
        with pytest.raises(ValueError, match=f"two tasks with different names. Received: {told}"):
            sharing.several(few)


def test_widths_of_hidden_layers():
    assert (sharing.widths(3), sharing.widths((4, 2))) == ([3], [4, 2])
    with pytest.raises(ValueError, match="`hidden` must name the width of at least one layer"):
        sharing.widths([])
    with pytest.raises(ValueError, match="`hidden` must be a whole number of at least 1. Received: 0"):
        sharing.widths([4, 0])


@pytest.mark.parametrize("make", LAYERS)
def test_half_precision_gives_nearly_the_same(make):
    full = make(tasks=TASKS)
    full(FEATURES)
    half = make(tasks=TASKS, dtype="mixed_bfloat16")
    said = half(FEATURES)
    half.set_weights(full.get_weights())
    assert {keras.backend.standardize_dtype(y.dtype) for y in said.values()} == {"bfloat16"}
    assert all(w.dtype == "float32" for w in half.weights)
    for task, exact in full(FEATURES).items():
        assert np.allclose(keras.ops.cast(half(FEATURES)[task], "float32"), exact, atol=0.05)


@pytest.mark.slow
def test_every_way_of_sharing_is_loaded_by_a_fresh_process(tmp_path):
    """Files of all of them, with weights that have moved, against a process that only imports."""
    x, _ = numbers()
    for i, make in enumerate([*LAYERS, *(lambda m=m: m(["block_1", "block_2"]) for m in INSIDE)]):
        model = kt.attach(dense_backbone(), heads(), sharing=make())
        rise(model)
        model.save(tmp_path / f"{i}.keras")
        np.savez(tmp_path / f"{i}.npz", **model(x))
    code = """
import importlib, json, pathlib, pkgutil, sys
import keras, keras_transfer, numpy as np
folder = pathlib.Path(keras_transfer.__file__).parent / "multitask" / "sharing"
for module in pkgutil.iter_modules([str(folder)]):
    importlib.import_module(f"keras_transfer.multitask.sharing.{module.name}")
x, differences = np.load(sys.argv[2]), []
for i in range(len(list(pathlib.Path(sys.argv[1]).glob("*.keras")))):
    said = keras.models.load_model(f"{sys.argv[1]}/{i}.keras")(x)
    wanted = np.load(f"{sys.argv[1]}/{i}.npz")
    differences.append(max(float(np.abs(said[k].numpy() - v).max()) for k, v in wanted.items()))
print(json.dumps(differences))
"""
    np.save(tmp_path / "x.npy", x)
    differences = json.loads(run_python(code, tmp_path, tmp_path / "x.npy").stdout.splitlines()[-1])
    assert len(differences) == 12 and max(differences) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("make", [*LAYERS, *(lambda m=m: m(["block_1", "block_3"]) for m in INSIDE)])
def test_every_way_of_sharing_is_exported(make, small_backbone, tmp_path):
    model = kt.attach(small_backbone(), heads(), sharing=make())
    rise(model, 0.02)
    differences = kt.export(model, tmp_path / "1")
    assert max(differences.values()) < 1e-5
    one_layer_of_features = {"features"} if make in LAYERS else set()
    assert set(differences) == {"serving_default", "pixels", "pixels_uint8", *one_layer_of_features}
