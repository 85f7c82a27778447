"""Everything that the package builds trains in half precision, by several steps at once and by gathered gradients."""

import contextlib

import keras
import numpy as np
import pytest

import keras_transfer as kt
import saved_models
from keras_transfer.multitask import sharing
from support import colour_task

STAGES = ["block_1", "block_2"]
HEADS = {
    "Classifier": lambda: kt.heads.Classifier(3),
    "Regressor": lambda: kt.heads.Regressor({"mean": 5.0, "std": 2.0}),
    "MultiLabel": lambda: kt.heads.MultiLabel(3),
    "Ordinal": lambda: kt.heads.Ordinal(4),
}
SHARING = {
    "all in common": lambda: None,
    "MMoE": lambda: kt.multitask.MMoE(3, 4),
    "CGC": lambda: kt.multitask.CGC(2, 1, 4),
    "PLE": lambda: kt.multitask.PLE(2, 1, 1, 4),
    "DSelectK": lambda: kt.multitask.DSelectK(4, 4),
    "FiLM": lambda: kt.multitask.FiLM(),
    "ResidualAdapter": lambda: kt.multitask.ResidualAdapter(3),
    "L2Sharing": lambda: kt.multitask.L2Sharing(0.01, 4),
    "TraceNormSharing": lambda: kt.multitask.TraceNormSharing(0.01, 4),
    "CrossStitch": lambda: kt.multitask.CrossStitch(STAGES),
    "NDDR": lambda: kt.multitask.NDDR(STAGES),
    "Sluice": lambda: kt.multitask.Sluice(STAGES),
    "MTAN": lambda: kt.multitask.MTAN(STAGES),
}
LEARNERS = {
    "PCGrad": (kt.multitask.PCGrad, None),
    "PCGrad at the features": (kt.multitask.PCGrad, "features"),
    "Uncertainty": (kt.multitask.Uncertainty, None),
}
MODELS = [f"{name} head" for name in HEADS] + [*SHARING, *LEARNERS, "SavedModel", "photos"]
QUICK = ("Classifier head", "Ordinal head", "MMoE", "SavedModel")
WAYS = {
    "bfloat16": {"policy": "mixed_bfloat16"},
    "float16": {"policy": "mixed_float16"},
    "several": {"steps_per_execution": 4},
    "gathered": {"gradient_accumulation_steps": 2},
}
EPOCHS, STEPS = 3, 8


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    return saved_models.reusable(tmp_path_factory.mktemp("saved") / "reusable")


def numbers(width=4, rows=8 * STEPS):
    """Rows, and for each kind of head what depends on them, with every fifth label missing."""
    x = np.random.default_rng(0).normal(size=(rows, width)).astype("float32")
    labels = {
        "Classifier": x[:, :3].argmax(1).astype("int32"),
        "Regressor": 5 + 2 * (x[:, 0] - x[:, 1]),
        "MultiLabel": (x[:, :3] > 0).astype("float32"),
        "Ordinal": np.digitize(x[:, 0] + x[:, 1], [-1, 0, 1]).astype("int32"),
    }
    for y in labels.values():
        y[::5] = np.nan if y.dtype.kind == "f" else -1
    return x, labels


def dense_backbone():
    x = inputs = keras.Input((4,), name="numbers")
    for i in (1, 2):
        x = keras.layers.Dense(6, activation="tanh", name=f"block_{i}")(x)
    return keras.Model(inputs, x, name="dense")


def built(name, small_backbone, saved_model):
    """Returns the model, what trains it (a learner, or the model itself), and data for it."""
    kind = name.removesuffix(" head")
    if kind in HEADS:
        x, labels = numbers()
        model = kt.attach(dense_backbone(), HEADS[kind]())
        return model, model, x, labels[kind]
    if name == "photos":
        model = kt.attach(small_backbone(), kt.heads.Classifier(3))
        return model, model, *colour_task(8 * STEPS)
    x, labels = numbers(6 if name == "SavedModel" else 4)
    tasks = ("Classifier", "Regressor", "Ordinal") if kind in LEARNERS else ("MultiLabel", "Regressor")
    heads, labels = ({task: of[task] for task in tasks} for of in ({t: HEADS[t]() for t in tasks}, labels))
    if name == "SavedModel":
        model = kt.attach(kt.backbone(f"hub:{saved_model}"), heads)
    else:
        model = kt.attach(dense_backbone(), heads, sharing=SHARING[kind]() if kind in SHARING else None)
    if kind not in LEARNERS:
        return model, model, x, labels
    make, at = LEARNERS[kind]
    return model, kt.MultiTask(model, make(), at=at), x, labels


@contextlib.contextmanager
def of_policy(policy):
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


def check_training(name, small_backbone, saved_model, policy="float32", steps_per_execution=1, gradient_accumulation_steps=None):
    with of_policy(policy):
        model, trained, x, labels = built(name, small_backbone, saved_model)
        kt.unfreeze(model)
        optimizer = keras.optimizers.Adam(0.02, gradient_accumulation_steps=gradient_accumulation_steps)
        trained.compile(optimizer=optimizer, steps_per_execution=steps_per_execution, **kt.objectives(model))
        before = [w.numpy() for w in model.trainable_weights]
        losses = trained.fit(x, labels, batch_size=8, epochs=EPOCHS, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    moved = [np.any(w.numpy() != start) for w, start in zip(model.trainable_weights, before)]
    assert all(moved), [w.path for w, has in zip(model.trainable_weights, moved) if not has]
    taken, optimizer = EPOCHS * STEPS // (gradient_accumulation_steps or 1), trained.optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    assert policy == "mixed_float16" or int(optimizer.iterations.numpy()) == taken  # where nothing can overflow
    check_dtypes(model, x, labels, policy.removeprefix("mixed_"), halved=name != "SavedModel")


def check_dtypes(model, x, labels, computed, halved):
    """Heads, their losses and all weights are in float32, and the backbone is not, unless its graph was traced so."""
    said = model(x[:5])
    said, losses = ({"": said}, {"": kt.objectives(model)["loss"]}) if not isinstance(said, dict) else (
        said, kt.objectives(model)["loss"])
    for task, outputs in said.items():
        loss = losses[task](labels[task][:5] if task else labels[:5], outputs)
        assert (outputs.dtype, loss.dtype) == ("float32", "float32") and np.isfinite(loss), task
    assert {w.dtype for w in model.weights if "float" in w.dtype} == {"float32"}
    kinds = (keras.layers.Dense, keras.layers.Conv2D)
    below = [layer for layer in model.get_layer("backbone")._flatten_layers() if isinstance(layer, kinds)]
    assert {layer.compute_dtype for layer in below} == ({computed} if halved else set())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", QUICK)
def test_what_is_built_trains_in_this_way(name, way, small_backbone, saved_model):
    check_training(name, small_backbone, saved_model, **WAYS[way])


@pytest.mark.slow
@pytest.mark.parametrize("ways", [("bfloat16", "several"), ("float16", "gathered")], ids="-".join)
@pytest.mark.parametrize("name", [name for name in MODELS if name not in QUICK])
def test_all_else_that_is_built_trains_in_two_of_them_at_once(name, ways, small_backbone, saved_model):
    check_training(name, small_backbone, saved_model, **WAYS[ways[0]], **WAYS[ways[1]])


@pytest.mark.slow
def test_a_learner_trains_in_three_of_them_at_once(small_backbone, saved_model):
    check_training("PCGrad", small_backbone, saved_model, **WAYS["float16"], **WAYS["several"], **WAYS["gathered"])


def test_every_head_and_way_of_sharing_is_among_them():
    assert set(HEADS) == set(kt.heads.__all__) - {"Head"}
    assert set(SHARING) - {"all in common"} == set(sharing.__all__) - {"Sharing", "SoftSharing"}
