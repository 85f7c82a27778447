"""Heads on a backbone: names, outputs, objectives, errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.assembling import heads_of
from keras_transfer.network import Network
from support import colour_task, pixels

HEADS = {
    "colour": lambda: kt.heads.Classifier(["red", "green", "blue"]),
    "light": lambda: kt.heads.Regressor(loss_weight=0.5),
}


def several(**heads):
    return {name: make() for name, make in (heads or HEADS).items()}


def test_the_backbone_is_shared_and_named(small_backbone):
    backbone = small_backbone("mine")
    model = kt.attach(backbone, several())
    assert model.get_layer("backbone") is backbone and isinstance(model, Network)
    assert [layer.name for layer in model.layers] == ["pixels", "backbone", "features", "colour", "light"]
    x = pixels(3)
    assert np.array_equal(keras.Model(model.input, model.get_layer("features").output)(x), backbone(x))


def test_one_head_gives_a_tensor_and_a_dict_gives_a_dict(small_backbone):
    x = pixels(3)
    assert kt.attach(small_backbone(), HEADS["colour"]()).predict(x, verbose=0).shape == (3, 3)
    alone = kt.attach(small_backbone(), several(colour=HEADS["colour"]))
    assert {k: v.shape for k, v in alone.predict(x, verbose=0).items()} == {"colour": (3, 3)}
    model = kt.attach(small_backbone(), several())
    assert {k: v.shape for k, v in model.predict(x, verbose=0).items()} == {"colour": (3, 3), "light": (3, 1)}


def test_one_name_in_outputs_losses_and_metrics(small_backbone):
    x, y = colour_task(8)
    model = kt.attach(small_backbone(), several())
    model.compile(optimizer="adam", **kt.objectives(model))
    logs = model.fit(x, {"colour": y, "light": x.mean((1, 2, 3))}, verbose=0).history
    assert set(logs) == {"loss", "colour_loss", "colour_accuracy", "light_loss", "light_mae"}
    assert logs["loss"][0] == pytest.approx(logs["colour_loss"][0] + 0.5 * logs["light_loss"][0], rel=1e-5)


def test_maps_are_averaged_and_sequential_models_taken():
    backbone = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(5, 3)])
    model = kt.attach(backbone, kt.heads.Classifier(2))
    x = pixels(2, size=8)
    joint = keras.Model(model.inputs[0], model.get_layer("features").output)(x)
    assert np.allclose(joint, np.asarray(backbone(x)).mean((1, 2)), rtol=1e-5)


def test_sharing_gives_each_head_its_own_features(small_backbone):
    def sharing(features):
        return {"colour": keras.layers.Dense(4, name="tower")(features), "light": features}

    model = kt.attach(small_backbone(), several(), sharing=sharing)
    assert model.get_layer("colour").input.shape == (None, 4) and model.get_layer("light").input.shape == (None, 12)


def test_sharing_must_give_each_head_its_features(small_backbone):
    error = "must give a dict with features for each head: colour, light. Received: "
    with pytest.raises(ValueError, match=error + "colour, lihgt"):
        kt.attach(small_backbone(), several(), sharing=lambda x: {"colour": x, "lihgt": x})
    with pytest.raises(ValueError, match=error + "list"):
        kt.attach(small_backbone(), several(), sharing=lambda x: [x, x])
    for wrong in (keras.layers.Dense, "MMoE"):
        with pytest.raises(TypeError, match="`sharing` must be a layer, a function or one of kt.multitask"):
            kt.attach(small_backbone(), several(), sharing=wrong)


def test_sharing_is_told_the_heads_or_makes_the_backbone_itself(small_backbone):
    class Told:
        def for_tasks(self, names):
            self.names = names

        def __call__(self, features):
            return dict.fromkeys(self.names, features)

    class Inside:
        def over(self, backbone, inputs, tasks):
            return dict.fromkeys(tasks, backbone(inputs))

    told = Told()
    kt.attach(small_backbone(), several(), sharing=told)
    assert told.names == ["colour", "light"]
    backbone = small_backbone("mine")
    model = kt.attach(backbone, several(), sharing=Inside())
    assert [layer.name for layer in model.layers][2:4] == ["features_colour", "features_light"]
    assert backbone.name == "mine"  # what the method does with it is its own affair


def test_objectives_are_new_objects_and_equal_after_save_and_load(small_backbone, tmp_path):
    x, y = colour_task(16)
    labels = {"colour": y, "light": np.full(16, np.nan, "float32")}
    model = kt.attach(small_backbone(), several())
    first, second = kt.objectives(model), kt.objectives(model)
    assert first["loss"]["colour"] is not second["loss"]["colour"]
    assert first["loss_weights"] == {"colour": 1.0, "light": 0.5}
    model.save(tmp_path / "m.keras")
    again = kt.load(tmp_path / "m.keras")
    logs = []
    for m in (model, again):
        m.compile(optimizer="sgd", **kt.objectives(m))
        logs.append(m.evaluate(x, labels, verbose=0, return_dict=True))
    assert logs[0] == logs[1] and logs[0]["light_loss"] == 0.0 and logs[0]["colour_loss"] > 0
    assert heads_of(again)["colour"].class_names == ["red", "green", "blue"]


def test_single_objectives_fit_plain_compile(small_backbone):
    model = kt.attach(small_backbone(), kt.heads.Classifier(3, loss_weight=2.0))
    parts = kt.objectives(model)
    assert (
        isinstance(parts["loss"], kt.Masked) and parts["loss_weights"] == 2.0 and parts["metrics"][0].name == "accuracy"
    )
    x, y = colour_task(8)
    model.compile(optimizer="sgd", **parts)
    single = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    assert single == pytest.approx(2 * float(parts["loss"](y, model.predict(x, verbose=0))), rel=1e-5)


def test_missing_labels_in_any_pattern_equal_the_labelled_rows(small_backbone):
    """One step of both heads with gaps, against one step on each head's own rows, gradients added."""
    x, y = colour_task(12)
    light = x.mean((1, 2, 3)) / 255
    seen = {"colour": np.arange(12) % 2 == 0, "light": np.arange(12) % 3 == 0}
    holed = {"colour": np.where(seen["colour"], y, -1), "light": np.where(seen["light"], light, np.nan).astype("f4")}
    backbone = small_backbone()
    model = kt.attach(backbone, several())
    kt.freeze(model)
    model.compile(optimizer=keras.optimizers.SGD(0.1), **kt.objectives(model))
    start = model.get_weights()
    model.train_on_batch(x, holed)
    together = model.get_weights()
    for name, labels in (("colour", y), ("light", light)):
        model.set_weights(start)
        other = "light" if name == "colour" else "colour"
        rows = {name: labels[seen[name]], other: np.full(seen[name].sum(), -1 if other == "colour" else np.nan)}
        model.train_on_batch(x[seen[name]], rows)
        head = [w.path.startswith(name) for w in model.weights]
        assert all(np.allclose(a, b, atol=1e-6) for a, b, mine in zip(together, model.get_weights(), head) if mine)
        assert any(not np.allclose(a, b, atol=1e-6) for a, b, mine in zip(start, together, head) if mine)


@pytest.mark.parametrize(
    "heads, kind, error",
    [
        (
            {"features": kt.heads.Classifier},
            ValueError,
            "can't be named 'features': .*'backbone' and 'features' and 'sharing' are taken",
        ),
        ({"backbone": kt.heads.Classifier}, ValueError, "can't be named 'backbone'"),
        ({"a/b": kt.heads.Classifier}, ValueError, "can't be named 'a/b'"),
        ({}, TypeError, "with at least one"),
        ({"a": keras.layers.Dense}, TypeError, "Head 'a' must be one of kt.heads. Received: Dense"),
    ],
)
def test_bad_heads(small_backbone, heads, kind, error):
    with pytest.raises(kind, match=error):
        kt.attach(small_backbone(), {name: make(3) for name, make in heads.items()})


def test_a_head_can_be_in_one_place_only(small_backbone):
    head = kt.heads.Classifier(3)
    with pytest.raises(ValueError, match="given under two names"):
        kt.attach(small_backbone(), {"a": head, "b": head})
    kt.attach(small_backbone(), {"a": head})
    with pytest.raises(ValueError, match="Head 'c' is already in a model under the name 'a'"):
        kt.attach(small_backbone(), {"c": head})


def test_bad_backbones():
    with pytest.raises(TypeError, match="`backbone` must be a keras.Model, .*Received: str"):
        kt.attach("MobileNetV2", kt.heads.Classifier(2))
    with pytest.raises(ValueError, match="has no graph, so nothing can be attached"):
        kt.attach(keras.Sequential([keras.layers.Dense(2)]), kt.heads.Classifier(2))
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="must have one output. Received 2"):
        kt.attach(keras.Model(inputs, [inputs * 2, inputs * 3]), kt.heads.Classifier(2))
    with pytest.raises(ValueError, match=r"must give features .*Received: \(None, 4, 5\)"):
        kt.attach(
            keras.Model(inputs, keras.layers.RepeatVector(4)(keras.layers.Dense(5)(inputs))), kt.heads.Classifier(2)
        )


def test_objectives_need_heads_of_ours(small_backbone):
    with pytest.raises(ValueError, match="doesn't come from a head of kt.heads"):
        kt.objectives(small_backbone())


@pytest.mark.parametrize(
    "name, plain", [("my breed", "my_breed"), ("größe (cm)", "gr_e_cm"), ("犬", "target"), ("a/b", "a_b")]
)
def test_names_that_tensorflow_does_not_take(small_backbone, name, plain):
    with pytest.raises(ValueError, match=f"A head can't be named .*Call it '{plain}', for instance"):
        kt.attach(small_backbone(), {name: kt.heads.Classifier(3)})
    with tf.Graph().as_default(), pytest.raises(ValueError):  # the control: it's TensorFlow that doesn't
        tf.name_scope(name + "_loss" if "/" not in name else f"({name})").__enter__()


def test_names_that_it_does_take(small_backbone):
    x, y = colour_task(8)
    model = kt.attach(small_backbone(), {"a-b.c_2": kt.heads.Classifier(3), "Gr2": kt.heads.Regressor()})
    model.compile(optimizer="adam", **kt.objectives(model))
    assert "a-b.c_2_accuracy" in model.fit(x, {"a-b.c_2": y, "Gr2": x.mean((1, 2, 3))}, verbose=0).history


def test_a_model_without_our_heads_is_refused():
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="Sequential .* has no heads of kt.heads"):
        heads_of(plain)
