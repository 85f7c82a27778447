"""The TensorFlow engine: every batch, in order, on every device in turn."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer import _compat
from keras_transfer.store.engines.tensorflow import TensorFlowEngine
from support import pixels, run_python


def results(engine, batches):
    found = []
    engine.run(batches, lambda token, features: found.append((token, features)))
    return found


def test_each_batch_with_its_token_in_order(small_backbone):
    backbone = small_backbone()
    batches = [(k, pixels(n, seed=k)) for k, n in enumerate((4, 4, 1))]
    found = results(TensorFlowEngine(backbone), batches)
    assert [token for token, _ in found] == [0, 1, 2]
    for (_, x), (_, (features,)) in zip(batches, found):
        assert isinstance(features, np.ndarray)
        np.testing.assert_allclose(features, backbone(x, training=False), rtol=1e-4, atol=1e-5)
    assert not np.allclose(found[0][1][0], found[1][1][0], atol=1e-2)
    assert results(TensorFlowEngine(backbone), []) == []


def test_numbers_of_another_dtype_are_cast(small_backbone):
    x = pixels(2).astype("uint8")
    backbone = small_backbone()
    ((_, (features,)),) = results(TensorFlowEngine(backbone), [(0, x)])
    np.testing.assert_allclose(features, backbone(x.astype("float32"), training=False), rtol=1e-4, atol=1e-5)


def compiled_by_xla(function):
    return function.function_def.attr["_XlaMustCompile"].b


def test_without_a_gpu_nothing_is_compiled_by_xla(small_backbone):
    assert not tf.config.list_logical_devices("GPU")
    assert not compiled_by_xla(TensorFlowEngine(small_backbone()).function)
    model = kt.attach(small_backbone(), kt.heads.Classifier(3))
    model.compile(optimizer="sgd", **kt.objectives(model))
    assert not model.jit_compile


def test_with_a_gpu_it_is_compiled_by_xla_and_gives_the_same(small_backbone, monkeypatch):
    """As far as that can be seen without one: XLA compiles for the processor."""
    backbone, x = small_backbone(), pixels(4)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"])
    engine = TensorFlowEngine(backbone)
    assert compiled_by_xla(engine.function.get_concrete_function(tf.TensorSpec(x.shape)))
    ((_, (features,)),) = results(engine, [(0, x)])
    np.testing.assert_allclose(features, backbone(x, training=False), rtol=1e-4, atol=1e-5)


def test_what_xla_can_not_compile_stays_as_it_is(small_backbone, monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"])
    backbone, x = small_backbone(), pixels(4)
    monkeypatch.setattr(backbone.layers[-1], "supports_jit", False)
    assert not compiled_by_xla(TensorFlowEngine(backbone).function)
    monkeypatch.setattr(backbone.layers[-1], "supports_jit", True)
    monkeypatch.setattr(_compat, "is_deterministic", lambda: True)
    assert not compiled_by_xla(TensorFlowEngine(backbone).function)
    monkeypatch.setattr(_compat, "is_deterministic", lambda: False)
    assert compiled_by_xla(TensorFlowEngine(backbone).function.get_concrete_function(tf.TensorSpec(x.shape)))


def test_an_error_of_the_reader_comes_through(small_backbone):
    def broken():
        yield 0, pixels(2)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        results(TensorFlowEngine(small_backbone()), broken())


DEVICES = """
import json, keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0],
                                           [tf.config.LogicalDeviceConfiguration()] * 2)
import keras_transfer as kt
from keras_transfer.store.engines import tensorflow as module
seen, deliver = [], module._deliver

def noted(token, features, put):
    seen.append(features[0].device[-5:])
    deliver(token, features, put)

module._deliver = noted
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
x = np.random.default_rng(0).normal(size=(72, 3)).astype("float32")
y = (x[:, 0] > 0).astype("int32")
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)

def made():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    model = kt.attach(keras.Model(inputs, keras.layers.Dense(4, "tanh")(inputs)), kt.heads.Classifier(2))
    kt.freeze(model)
    return model

def read(model):
    features, _ = kt.cache_features(model, data, store=kt.Store(engine="tensorflow"), verbose=0)
    return np.concatenate([b[0] for b in features.as_numpy_iterator()])

with strategy.scope():
    model = made()
spread = read(model)
devices = list(seen)
del seen[:]
alone = read(made())
histories = []
for whole in (False, True):
    with strategy.scope():
        learner, train = made(), data
        if not whole:
            train, learner = kt.cache_features(learner, data, store=kt.Store(engine="tensorflow"), verbose=0)
        learner.compile(optimizer="sgd", **kt.objectives(learner))
    histories.append(learner.fit(train, epochs=3, verbose=0).history["loss"])
print("told", json.dumps([devices, seen[:9], bool(np.array_equal(spread, alone)), histories]))
"""


@pytest.mark.slow
def test_batches_are_spread_over_the_devices_of_a_strategy():
    devices, alone, equal, histories = json.loads(run_python(DEVICES).stdout.split("told")[1])
    assert devices == ["CPU:0", "CPU:1"] * 4 + ["CPU:0"] and set(alone) == {"CPU:0"} and equal
    assert histories[0] == pytest.approx(histories[1], rel=1e-5) and len(set(histories[0])) == 3


def test_the_name_is_that_of_the_option():
    assert TensorFlowEngine.name == "tensorflow" and issubclass(keras.Model, keras.layers.Layer)
