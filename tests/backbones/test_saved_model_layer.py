"""Every kind of SavedModel as a layer: its weights, training, and life in a `.keras` file."""

import shutil

import keras
import numpy as np
import pytest
import saved_models
import tensorflow as tf
from support import run_python, values

import keras_transfer as kt
from keras_transfer.backbones.saved_model_layer import SavedModelLayer
from keras_transfer.saved_model import reading

KINDS = {  # name: (maker, options, trainable, other, losses, do statistics move in `fit`)
    "reusable": (saved_models.reusable, {}, 3, 2, 1, True),
    "reusable by signature": (saved_models.reusable, {"signature": "serving_default"}, 3, 2, 1, False),
    "tf.Module": (saved_models.plain, {}, 2, 0, 0, False),
    "signature only": (saved_models.signature_only, {}, 1, 0, 0, False),
    "Keras export": (saved_models.keras_export, {}, 4, 2, 0, False),
    "Keras export for training": (lambda path: saved_models.keras_export(path, training=True), {}, 4, 2, 0, True),
}


def data(count=48):
    x = np.random.default_rng(5).normal(size=(count, 6)).astype("float32")
    return x, (x.sum(1) > 0).astype("int32")


def model_of(path, trainable=True, **options):
    backbone = kt.backbone(kt.backbones.Hub(str(path), **options), trainable=trainable)
    model = kt.attach(backbone, kt.heads.Classifier(2))
    model.compile(optimizer=keras.optimizers.Adam(1e-2), **kt.objectives(model))
    return model, backbone.get_layer("saved_model")


@pytest.fixture(params=KINDS, scope="module")
def kind(request, tmp_path_factory):
    maker, options, *rest = KINDS[request.param]
    return maker(tmp_path_factory.mktemp("kind") / "model"), options, rest


def test_it_trains(kind):
    path, options, (trainable, other, losses, moves) = kind
    model, layer = model_of(path, **options)
    assert (len(layer.trainable_weights), len(layer.non_trainable_weights)) == (trainable, other)
    before = values(layer)
    model.fit(*data(), epochs=1, batch_size=16, verbose=0)
    changed = [not np.array_equal(a, b) for a, b in zip(before, values(layer))]
    assert sum(changed[:trainable]) == trainable
    assert sum(changed[trainable:]) == (other if moves else 0)
    assert len(layer.losses) == losses


def test_frozen_stays(kind):
    path, options, _ = kind
    model, layer = model_of(path, trainable=False, **options)
    before = values(layer)
    model.fit(*data(), epochs=1, batch_size=16, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, values(layer)))
    assert layer.losses == []
    kt.unfreeze(model)
    with pytest.raises(ValueError, match="compile"):
        model.fit(*data(), verbose=0)


def test_a_file_is_self_contained(kind, tmp_path):
    path, options, _ = kind
    copy = shutil.copytree(path, tmp_path / "copy")
    model, _ = model_of(copy, **options)
    x, y = data()
    model.fit(x, y, epochs=1, batch_size=16, shuffle=False, verbose=0)
    shutil.rmtree(copy)
    model.save(tmp_path / "model.keras")
    again = kt.load(tmp_path / "model.keras", safe_mode=False)
    np.testing.assert_array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))
    for one in (model, again):
        one.fit(x, y, epochs=2, batch_size=16, shuffle=False, verbose=0)
    for a, b in zip(values(model), values(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_fresh_process_loads_it(tmp_path):
    model, _ = model_of(saved_models.reusable(tmp_path / "model"))
    model.save(tmp_path / "model.keras")
    x, _ = data(4)
    shutil.rmtree(tmp_path / "model")
    np.save(tmp_path / "x.npy", x)
    run_python(
        "import sys, numpy as np, keras, keras_transfer\n"
        "m = keras.models.load_model(sys.argv[1] + '/model.keras', safe_mode=False)\n"
        "np.save(sys.argv[1] + '/y.npy', m.predict(np.load(sys.argv[1] + '/x.npy'), verbose=0))",
        tmp_path,
    )
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model.predict(x, verbose=0))


def test_safe_mode_refuses(tmp_path):
    model, _ = model_of(saved_models.plain(tmp_path / "model"))
    model.save(tmp_path / "model.keras")
    with pytest.raises(Exception, match="SavedModel, which is a program.*safe_mode=False"):
        kt.load(tmp_path / "model.keras")


def test_clones_have_their_own_weights(tmp_path):
    model = kt.backbone("hub:" + str(saved_models.plain(tmp_path / "model")))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    x, _ = data(4)
    np.testing.assert_array_equal(clone.predict(x, verbose=0), model.predict(x, verbose=0))
    clone.set_weights([w + 1 for w in clone.get_weights()])
    assert not np.allclose(clone.predict(x, verbose=0), model.predict(x, verbose=0))


def test_the_weights_are_the_variables_themselves(tmp_path):
    layer = SavedModelLayer(saved_models.plain(tmp_path / "model"))
    x, _ = data(4)
    layer.weights[1].assign([10.0, 10.0, 10.0])
    kernel = layer.weights[0].numpy()
    np.testing.assert_allclose(layer(x), np.tanh(x @ kernel + 10), rtol=1e-5)


def test_frozen_statistics_are_used_under_training(tmp_path):
    layer = SavedModelLayer(saved_models.reusable(tmp_path / "model"), trainable=False)
    x, _ = data()
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    layer.trainable = True
    assert np.abs(layer(x, training=True) - layer(x, training=False)).max() > 0.1


def test_dicts_in_and_out(tmp_path):
    path = saved_models.dicts(tmp_path / "model")
    layer = SavedModelLayer(path)
    given = {"a": np.ones((3, 2), "float32"), "b": np.full((3, 2), 4)}
    said = layer(given)
    np.testing.assert_array_equal(said["sum"], np.full((3, 2), 10.0))
    np.testing.assert_array_equal(said["difference"], np.full((3, 2), -3.0))
    backbone = kt.backbone(kt.backbones.Hub(path, output_key="sum"), trainable=True)
    np.testing.assert_array_equal(backbone.predict(given, verbose=0), np.full((3, 2), 10.0))
    model = kt.attach(backbone, kt.heads.Regressor(1))
    model.compile(optimizer="adam", **kt.objectives(model))
    model.fit(given, np.ones(3, "float32"), epochs=1, verbose=0)
    assert backbone.get_layer("saved_model").weights[0].numpy() != 2.0


def test_text_and_a_table(tmp_path):
    path = saved_models.words(tmp_path / "model", tmp_path)
    backbone = kt.backbone(f"hub:{path}", trainable=True)
    words = np.array(["dog", "cat", "stone"], dtype=object)
    embedding = backbone.weights[0].numpy()
    shutil.rmtree(path)
    (tmp_path / "words.txt").unlink()
    model = kt.attach(backbone, kt.heads.Classifier(["yes", "no"]))
    model.save(tmp_path / "model.keras")
    again = kt.load(tmp_path / "model.keras", safe_mode=False).get_layer("backbone")

    np.testing.assert_array_equal(again(tf.constant(words)), embedding[[2, 1, 0]])


def test_tf1_is_for_inference(tmp_path):
    path = saved_models.tf1_hub(tmp_path / "model")
    backbone = kt.backbone(f"hub:{path}")
    x, _ = data(4)
    np.testing.assert_allclose(backbone.predict(x, verbose=0), 3 * x[:, :2], rtol=1e-6)
    assert len(backbone.trainable_variables) == 0 and len(backbone.weights) == 1
    with pytest.raises(ValueError, match="TF1 hub format.*inference only"):
        kt.backbone(f"hub:{path}", trainable=True)


def test_old_keras(tmp_path):
    tf_keras = pytest.importorskip("tf_keras")
    old = tf_keras.Sequential(
        [
            tf_keras.layers.Dense(5, kernel_regularizer=tf_keras.regularizers.L2(0.01), input_shape=(6,)),
            tf_keras.layers.BatchNormalization(momentum=0.5),
        ]
    )
    old.save(str(tmp_path / "model"), save_format="tf")
    model, layer = model_of(tmp_path / "model")
    assert (len(layer.trainable_weights), len(layer.non_trainable_weights)) == (4, 2)
    x, y = data()
    backbone = model.get_layer("backbone")
    np.testing.assert_allclose(backbone.predict(x, verbose=0), old.predict(x, verbose=0), atol=1e-6)
    before = values(layer)
    model.fit(x, y, batch_size=16, verbose=0)
    assert len(layer.losses) == 1
    assert all(not np.array_equal(a, b) for a, b in zip(before, values(layer)))


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_equal_to_hub_keras_layer(optimizer, trainable, tmp_path):
    """Three epochs beside hub.KerasLayer on the old Keras give the same bits."""
    tf_keras = pytest.importorskip("tf_keras")
    hub = pytest.importorskip("tensorflow_hub")
    path = str(saved_models.reusable(tmp_path / "model"))
    x, y = data()
    kernel = np.random.default_rng(1).normal(size=(4, 1)).astype("float32")
    weights = {}
    for name, k, layer in (
        ("old", tf_keras, hub.KerasLayer(path, trainable=trainable)),
        ("new", keras, SavedModelLayer(path, trainable=trainable)),
    ):
        head = k.layers.Dense(1, use_bias=False, kernel_initializer=k.initializers.Constant(kernel))
        model = k.Sequential([k.layers.Input((6,)), layer, head])
        model.compile(optimizer=getattr(k.optimizers, optimizer)(learning_rate=0.01), loss="mse", jit_compile=False)
        model.fit(x, y.astype("float32"), epochs=3, batch_size=16, shuffle=False, verbose=0)
        weights[name] = [w.numpy() for w in [*layer.trainable_weights, *layer.non_trainable_weights, *head.weights]]
    # Without a bias in the head, whose gradient the two Keras sum up in another order. A layer that isn't trainable
    # lists its weights otherwise.
    key = lambda array: (array.shape, *np.round(array, 3).reshape(-1))  # noqa: E731
    pairs = list(zip(sorted(weights["old"], key=key), sorted(weights["new"], key=key), strict=True))
    assert max(np.abs(a - b).max() for a, b in pairs) == 0.0
    first = SavedModelLayer(path)
    moved = max(np.abs(a - b).max() for a, b in zip(values(first), weights["new"]))
    assert (moved > 1e-3) == trainable


def test_keyword_spotter(real_data):
    """The foreign model of the shared data: 38 variables train, 5 regularization losses."""
    model, layer = model_of(real_data / "models/kws_ds_cnn_savedmodel")
    assert len(layer.trainable_weights) == 38 and len(layer.weights) == 56
    before = values(layer)
    random = np.random.default_rng(0)
    model.fit(random.normal(size=(16, 49, 10, 1)).astype("float32"), random.integers(0, 2, 16), verbose=0)
    assert len(layer.losses) == 5
    assert all(not np.array_equal(a, b) for a, b in zip(before, values(layer)))


def test_music(real_data):
    """The foreign model of the shared data: 18 variables train, a dict of three outputs."""
    source = real_data / "models/basic_pitch_savedmodel"
    backbone = kt.backbone(f"hub:{source}", trainable=True)
    assert len(backbone.trainable_weights) == 18
    assert set(backbone.output) == {"note", "onset", "contour"}
    t = np.arange(43844) / 22050
    tone = (0.4 * sum(np.sin(2 * np.pi * 440 * k * t) / k for k in range(1, 6))).astype("float32")[None, :, None]
    notes = backbone.predict(tone, verbose=0)["note"]
    assert 21 + int(notes[0].mean(0).argmax()) == 69  # A4
    pooled = kt.backbone(kt.backbones.Hub(source, output_key="note"))
    np.testing.assert_allclose(pooled.predict(tone, verbose=0), notes.mean(1), rtol=1e-5)


def test_objects_of_other_kinds_than_they_should_be(tmp_path):
    """As a damaged file has them: `signatures` that is a function, `variables` that is a table."""
    module = tf.Module()
    module.serve_it = tf.function(lambda x: 2 * x, input_signature=[saved_models.FEATURES])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"one": module.serve_it})
    message = reading.read(tmp_path / "model").message
    for child in message.meta_graphs[0].object_graph_def.nodes[0].children:
        if child.local_name == "serve_it":
            child.local_name = "signatures"
        elif child.local_name == "signatures":
            child.local_name = "others"
    (tmp_path / "model" / "saved_model.pb").write_bytes(message.SerializeToString())
    with pytest.raises(ValueError, match="(is damaged|can't load|can't be called)"):
        kt.backbone(f"hub:{tmp_path / 'model'}")
