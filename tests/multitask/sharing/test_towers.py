import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.multitask.sharing.crossstitch import CrossStitch
from keras_transfer.multitask.sharing.nddr import NDDR
from keras_transfer.multitask.sharing.sluice import Sluice
from keras_transfer.multitask.sharing.towers import Towers, Unit
from multitask.sharing.laws import calibrated, dense_backbone, heads, missing, numbers, rise, trained
from support import pixels

WAYS = [CrossStitch, NDDR, Sluice]


def features(model, x):
    """The features of each task."""
    return keras.Model(model.input, {k: model.get_layer(f"features_{k}").output for k in ("colour", "light")})(x)


@pytest.mark.parametrize("way", WAYS)
def test_at_the_start_every_task_has_the_features_of_the_backbone(way, small_backbone):
    for backbone, at, x in [
        (dense_backbone(), ["block_1", "block_3"], numbers()[0]),
        (small_backbone(), ["block_1_conv", "block_2", "pool"], pixels(4)),
    ]:
        model = kt.attach(backbone, heads(), sharing=way(at))
        said = backbone(x)
        assert np.std(said) > 0.01
        assert all(np.allclose(y, said, rtol=1e-4, atol=1e-5) for y in features(model, x).values())
        rise(model)
        assert not any(np.allclose(y, said, rtol=1e-2) for y in features(model, x).values())


def test_a_large_network_with_maps_and_vectors():
    """MobileNetV2: two copies of 154 layers with every name unique, its features kept and its blocks spoken of."""
    x = pixels(24, size=32)
    backbone = calibrated(kt.backbone("MobileNetV2", weights=None, input_shape=(32, 32, 3)), x)
    model = kt.attach(backbone, heads(), sharing=CrossStitch(["block_3", "block_6", "avg_pool"]))
    said = np.asarray(backbone(x[:4]))
    assert said.std() > 0.1
    assert all(np.allclose(y, said, rtol=1e-2, atol=1e-3) for y in features(model, x[:4]).values())
    kt.unfreeze(model, last="block_16")
    trains = {layer.name for layer in model.get_layer("backbone").layers if layer.trainable and layer.trainable_weights}
    assert {"block_16_project_colour", "block_16_project_light", "Conv_1_light", "avg_pool_stitch"} <= trains
    assert not {"block_15_project_colour", "block_3_stitch"} & trains


@pytest.mark.parametrize("way", WAYS)
def test_with_identity_units_the_networks_are_independent(way):
    x, labels = numbers()
    only_colour = {**missing(labels), "colour": labels["colour"]}
    for own, apart in [(1.0, True), (0.9, False)]:
        options = {"orthogonality": 0.0} if way is Sluice else {}
        model = kt.attach(dense_backbone(), heads(), sharing=way(["block_1", "block_2"], own=own, **options))
        kt.unfreeze(model)
        moved = {path for path in trained(model, x, only_colour) if path.startswith("block")}
        assert any("_colour" in path for path in moved) and any("_light" in path for path in moved) != apart


@pytest.mark.parametrize("way", WAYS)
def test_every_weight_of_every_copy_and_unit_trains(way):
    model = kt.attach(dense_backbone(), heads(), sharing=way(["block_1", "block_2", "block_3"]))
    kt.unfreeze(model)
    moved = trained(model, *numbers())
    units = {w.path for w in model.weights if w.path.endswith(("alpha", "stitch/kernel", "nddr/kernel"))}
    assert len(units) == 3 and moved == {w.path for w in model.trainable_weights}


def test_freeze_and_unfreeze_take_all_copies(small_backbone):
    model = kt.attach(small_backbone(), heads(), sharing=CrossStitch(["block_1", "block_2"]))
    kt.freeze(model)
    assert {w.path.split("/")[0] for w in model.trainable_weights} == {"colour", "light"}
    kt.unfreeze(model, last="block_3")
    assert {w.path.split("/")[0] for w in model.trainable_weights} == {
        "block_3_conv_colour", "block_3_conv_light", "colour", "light"}  # fmt: skip
    kt.unfreeze(model, last="block_2", norms=True)
    assert {"block_2_bn_colour", "block_2_bn_light", "block_2_stitch"} <= {
        w.path.split("/")[0] for w in model.trainable_weights}  # fmt: skip
    kt.freeze(model, until="block_2")
    assert not {"block_1_stitch", "block_2_stitch"} & {w.path.split("/")[0] for w in model.trainable_weights}
    model.compile(optimizer="sgd", **kt.objectives(model))
    kt.unfreeze(model)
    with pytest.raises(ValueError, match="What trains has changed since `compile`"):
        model.fit(pixels(4), {"colour": np.zeros(4), "light": np.zeros(4)}, verbose=0)


@pytest.mark.parametrize("way", WAYS)
def test_the_recipe_runs_over_both_phases_and_the_cache_gives_the_same(way):
    x, labels = numbers(16)
    logs = {}
    for cache in (True, False):
        keras.utils.set_random_seed(0)
        model = kt.attach(dense_backbone(), heads(), sharing=way(["block_1", "block_3"]))
        history = kt.fine_tune(
            model, (x, labels), head_epochs=1, epochs=1, last="block_3", seed=1, cache=cache, verbose=0
        )
        logs[cache] = history.history["loss"]
        assert history.history["phase"] == ["head", "tune"]
    assert np.allclose(logs[True], logs[False], rtol=1e-3) and logs[True][1] != logs[True][0]


def test_the_given_backbone_is_left_as_it_was():
    backbone, x = dense_backbone(), numbers()[0]
    before = [w.numpy() for w in backbone.weights]
    model = kt.attach(backbone, heads(), sharing=CrossStitch("block_2"))
    kt.unfreeze(model)
    trained(model, *numbers())
    assert backbone.name == "dense" and all(np.array_equal(a, b.numpy()) for a, b in zip(before, backbone.weights))
    assert model.get_layer("backbone") is not backbone


def test_two_models_from_one_backbone_share_nothing():
    backbone = dense_backbone()
    first, second = (kt.attach(backbone, heads(), sharing=CrossStitch("block_2")) for _ in range(2))
    assert not {id(w) for w in first.weights} & {id(w) for w in second.weights}
    names = [[w.path for w in model.weights] for model in (first, second)]
    assert names[0] == names[1]


@pytest.mark.parametrize("way", WAYS)
def test_errors_come_before_anything_is_built(way):
    for own in (0, 1.5, "much"):
        with pytest.raises(ValueError, match="`own` must be a number over 0 and at most 1"):
            way(["block_1"], own=own)
    with pytest.raises(TypeError, match="`at` must be the name of a layer or block"):
        way([])
    with pytest.raises(ValueError, match="names no layer or block of the backbone: 'blok_1'. Did you mean 'block_1'"):
        kt.attach(dense_backbone(), heads(), sharing=way(["blok_1"]))


def test_rows_at_the_start_sum_to_one():
    assert np.allclose(Unit(0.9).mixture(2), [[0.9, 0.1], [0.1, 0.9]])
    assert np.allclose(Unit(0.7).mixture(4), 0.1 + 0.6 * np.eye(4)) and Unit(1).mixture(2) == [[1, 0], [0, 1]]


def test_a_way_of_ones_own_needs_a_unit():
    with pytest.raises(NotImplementedError, match="Towers defines no `unit`"):
        kt.attach(dense_backbone(), heads(), sharing=Towers(["block_1"]))
