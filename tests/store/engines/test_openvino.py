"""The OpenVINO engine: the same features, several batches at once, or a clear refusal."""

import keras
import numpy as np
import pytest
import saved_models

import keras_transfer as kt
from keras_transfer.store.engines import openvino as module
from keras_transfer.store.engines.openvino import OpenVINOEngine
from keras_transfer.store.engines.unsuitable import Unsuitable
from keras_transfer.store.shards import BFLOAT16
from support import pixels

openvino = pytest.importorskip("openvino")


def results(engine, batches):
    found = {}
    engine.run(batches, found.__setitem__)
    return found


def off(prefix, x, engine=None):
    """The largest difference from what Keras gives, as a share of the largest value, of each output."""
    found = results(engine or OpenVINOEngine(prefix), [(k, keras.tree.map_structure(lambda a: a[k : k + 3], x))
                                                       for k in range(0, len(keras.tree.flatten(x)[0]), 3)])
    shares = []
    for number, expected in enumerate(keras.tree.flatten(prefix(x, training=False))):
        expected = keras.ops.convert_to_numpy(keras.ops.cast(expected, "float32"))
        got = np.concatenate([found[k][number].astype("float32") for k in sorted(found)])
        assert np.abs(expected - expected[::-1]).max() > 1e-2 * np.abs(expected).max()  # rows differ
        shares.append(np.abs(got - expected).max() / np.abs(expected).max())
    return shares


def test_features_in_float32_are_close(small_backbone):
    assert off(small_backbone(), pixels(20))[0] < 1e-4


def test_the_precision_is_that_of_the_store_and_bfloat16_costs_little(small_backbone):
    backbone, capable = small_backbone(), "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    engine, whole = OpenVINOEngine(backbone, "bfloat16"), OpenVINOEngine(backbone)
    assert engine.precision == ("bf16" if capable else "f32") and whole.precision == "f32"
    for each in (engine, whole):  # the processor's default isn't asked
        told = each.compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        assert told == each.precision
    share = off(backbone, pixels(20), engine)[0]
    assert 1e-4 < share < 0.03 if capable else share < 1e-4


@pytest.fixture
def processor(monkeypatch):
    """Makes the processor say that it computes in these types; returns the precisions that networks are compiled for then."""

    def make(*types):
        asked = []

        class Core(openvino.Core):
            def get_property(self, *names):
                return list(types) if names[-1] == "OPTIMIZATION_CAPABILITIES" else super().get_property(*names)

            def compile_model(self, model, device, options):
                asked.append(options["INFERENCE_PRECISION_HINT"])
                return super().compile_model(model, device, options)

        monkeypatch.setattr(openvino, "Core", Core)
        return asked

    return make


@pytest.mark.parametrize("types, precision", [(["FP32", "INT8", "BIN"], "f32"), (["FP32", "BF16"], "bf16")])
def test_bfloat16_is_computed_in_where_the_processor_has_it(small_backbone, processor, types, precision):
    asked = processor(*types)
    engines = [OpenVINOEngine(small_backbone(), dtype) for dtype in ("bfloat16", "float32")]
    assert [engine.precision for engine in engines] == asked == [precision, "f32"]


def test_without_bfloat16_features_are_those_of_float32_rounded(small_backbone, processor):
    """To the bit. What a processor computes in bfloat16 is something else."""
    backbone, data = small_backbone(), (pixels(20), np.arange(20))
    halves = kt.Store("bfloat16", "openvino")
    computed, _ = kt.features(backbone, data, store=halves)
    capable = OpenVINOEngine(backbone, "bfloat16").precision == "bf16"
    asked = processor("FP32")
    (found, _), (exact, _) = (kt.features(backbone, data, store=store) for store in (halves, kt.Store(engine="openvino")))
    assert asked == ["f32", "f32"]
    assert np.array_equal(found, exact.astype(BFLOAT16).astype("float32")) and not np.array_equal(found, exact)
    assert np.array_equal(found, computed) != capable


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_input_in_half_precision(dtype):
    """As features are that a model in mixed precision goes on from."""
    inputs = keras.Input((8, 8, 3), dtype=dtype)
    prefix = keras.Model(inputs, keras.layers.Conv2D(4, 3, activation="relu", dtype=f"mixed_{dtype}")(inputs))
    assert off(prefix, keras.ops.convert_to_numpy(keras.ops.cast(pixels(20, size=8), dtype)))[0] < 0.03


def test_an_input_of_a_fixed_number_of_rows():
    inputs = keras.Input((8,), batch_size=4)
    prefix = keras.Model(inputs, keras.layers.Dense(5)(inputs))
    assert off(prefix, np.random.default_rng(0).normal(size=(11, 8)).astype("float32"))[0] < 1e-4


def test_what_takes_whole_batches_only_is_refused():
    inputs = keras.Input((8,), batch_size=4)
    prefix = keras.Model(inputs, keras.layers.Dense(5)(keras.ops.reshape(inputs, (4, 8))))
    with pytest.raises(Unsuitable, match='takes no single row, so .* Give engine="tensorflow"'):
        results(OpenVINOEngine(prefix), [(0, np.ones((4, 8), "float32"))])


def test_several_inputs_and_outputs_keep_their_order():
    b, a = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    first, second = keras.layers.Dense(5)(a), keras.layers.Dense(5)(b)
    outputs = [keras.layers.Subtract()([first, second]), second, first, keras.layers.ReLU()(second), b]
    prefix = keras.Model({"b": b, "a": a}, outputs)
    random = np.random.default_rng(0)
    x = {name: random.normal(size=(9, 3)).astype("float32") for name in ("a", "b")}
    assert max(off(prefix, x)) < 1e-5


def test_an_input_that_nothing_reads():
    a, b = keras.Input((3,)), keras.Input((3,))
    prefix = keras.Model([a, b], keras.layers.Dense(4)(b))
    random = np.random.default_rng(0)
    assert max(off(prefix, [random.normal(size=(9, 3)).astype("float32") for _ in range(2)])) < 1e-5


@pytest.mark.parametrize("axis", [1, None], ids=["a number a row", "a number"])
def test_what_a_layer_computes_and_nobody_reads_is_not_computed(axis):
    """As what it adds to the loss: OpenVINO would make an output of it."""

    class Idle(keras.layers.Layer):
        def call(self, x):
            keras.ops.mean(keras.ops.exp(x), axis)
            return x

    inputs = keras.Input((8,))
    prefix = keras.Model(inputs, keras.layers.Dense(5)(Idle()(inputs)))
    engine = OpenVINOEngine(prefix)
    assert [port.get_partial_shape().to_string() for port in engine.compiled.outputs] == ["[?,5]"]
    assert "Exp" not in [op.get_type_name() for op in module._converted(openvino.Core(), prefix)[0].get_ops()]
    assert off(prefix, np.random.default_rng(0).normal(size=(9, 8)).astype("float32"), engine)[0] < 1e-5


def test_a_network_that_gives_a_number_for_all_rows_is_not_computed_in_pieces():
    x = inputs = keras.Input((80, 80, 3))
    maps = keras.layers.Conv2D(32, 3, padding="same")(x)
    assert OpenVINOEngine(keras.Model(inputs, [keras.layers.MaxPooling2D(8)(maps), keras.ops.mean(maps)])).piece is None


@pytest.mark.parametrize("make", [saved_models.reusable, saved_models.plain])
def test_a_saved_model_inside(make, tmp_path):
    backbone = kt.backbone(f"hub:{make(tmp_path / 'hub')}")
    assert off(backbone, np.random.default_rng(0).normal(size=(9, 6)).astype("float32"))[0] < 1e-4


def test_tensors_from_outside_the_graph_become_constants():
    """As in EfficientNet, whose `Normalization` holds its statistics as tensors."""
    layer = keras.layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 1, 9])
    inputs = keras.Input((4, 4, 3))
    prefix = keras.Model(inputs, keras.layers.Conv2D(2, 3)(layer(inputs)))
    assert off(prefix, np.random.default_rng(0).normal(size=(9, 4, 4, 3)).astype("float32"))[0] < 1e-4


@pytest.fixture(scope="module")
def large_maps():
    """A network whose maps take 800 kB a row, with an output of maps and one of numbers."""
    inputs = keras.Input((80, 80, 3))
    maps = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(inputs)
    return keras.Model(inputs, [keras.layers.MaxPooling2D(8)(maps), keras.layers.GlobalAveragePooling2D()(maps)])


def test_large_maps_are_computed_in_pieces_of_a_batch(large_maps):
    engine = OpenVINOEngine(large_maps)
    assert engine.piece == module.PIECE == 4
    x = pixels(33, size=80) * np.linspace(0.1, 1, 33)[:, None, None, None].astype("float32")
    sizes = [1, 3, 4, 5, 8, 12]
    batches = np.split(x, np.cumsum(sizes)[:-1])
    found = results(engine, enumerate(batches))
    assert [len(found[k][0]) for k in range(6)] == [len(found[k][1]) for k in range(6)] == sizes
    for number, wanted in enumerate(large_maps(x, training=False)):
        got = np.concatenate([found[k][number] for k in range(6)])
        np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())


def test_small_maps_and_small_batches_are_computed_whole(large_maps, small_backbone):
    assert OpenVINOEngine(small_backbone()).piece is None
    engine = OpenVINOEngine(large_maps, rows=2)
    assert engine.piece is None
    ((maps, means),) = results(engine, [(0, pixels(2, size=80))]).values()
    assert maps.shape == (2, 10, 10, 32) and means.shape == (2, 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "EfficientNetB0", "ConvNeXtTiny", "DenseNet121", "VGG16"])
def test_real_networks(calibrated, name):
    backbone = calibrated(name).get_layer("backbone")
    x = pixels(12, seed=3, size=32)
    exact, half = off(backbone, x)[0], off(backbone, x, OpenVINOEngine(backbone, "bfloat16"))[0]
    print(f"{name}: float32 {exact:.1e}, bfloat16 {half:.1e} of the largest value")
    assert exact < 1e-4 and half < 0.2


def test_an_error_of_the_writer_comes_through(small_backbone):
    calls = []

    def put(token, features):
        calls.append(token)
        if len(calls) == 3:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        OpenVINOEngine(small_backbone()).run(((k, pixels(1)) for k in range(10**6)), put)
    assert len(calls) == 3


def test_an_engine_that_is_let_go_at_once_does_not_end_the_process(small_backbone):
    """With callbacks the last of OpenVINO's threads could free the network that it belongs to, and abort."""
    backbone = small_backbone()
    for _ in range(10):
        assert len(results(OpenVINOEngine(backbone), [(k, pixels(1)) for k in range(3)])) == 3


def test_all_is_delivered_before_it_returns(small_backbone):
    assert sorted(results(OpenVINOEngine(small_backbone()), ((k, pixels(2)) for k in range(50)))) == list(range(50))


def test_a_conversion_that_gives_something_else_is_refused(small_backbone, monkeypatch):
    first, second = small_backbone(), small_backbone()
    converted = module._converted
    monkeypatch.setattr(module, "_converted", lambda core, prefix: converted(core, second))
    with pytest.raises(Unsuitable, match='OpenVINO\'s features differ from Keras\'s by .* Give engine="tensorflow"'):
        results(OpenVINOEngine(first), [(0, pixels(2))])


def test_what_openvino_can_not_convert_is_refused(tmp_path):
    backbone = kt.backbone(f"hub:{saved_models.words(tmp_path / 'hub', tmp_path)}")
    with pytest.raises(Unsuitable, match='can\'t run the frozen part of this model .* Give engine="tensorflow"'):
        OpenVINOEngine(backbone)


def test_ids_that_no_row_of_an_embedding_has_are_refused():
    """OpenVINO would give zeros for them, and the first row alone is compared."""
    inputs = keras.Input((3,), dtype="int32")
    prefix = keras.Model(inputs, keras.layers.Embedding(100, 4, name="tokens")(inputs))
    right, wrong = (np.array([[1, 2, 3], [4, -1, last]]) for last in (99, 150))
    engine = OpenVINOEngine(prefix)
    np.testing.assert_allclose(results(engine, [(0, right)])[0][0], prefix(right), atol=1e-6)
    with pytest.raises(ValueError, match="hold the id 150, and the embedding 'tokens' has 100") as raised:
        results(engine, [(0, right), (1, wrong)])
    assert not isinstance(raised.value, Unsuitable)  # another engine refuses them as well


def failing(monkeypatch, after):
    """Lets OpenVINO fail from the call number `after` on."""
    given, calls = OpenVINOEngine._tensors, []

    def tensors(self, arrays):
        calls.append(1)
        if len(calls) > after:
            raise RuntimeError("no memory\nat all")
        return given(self, arrays)

    monkeypatch.setattr(OpenVINOEngine, "_tensors", tensors)


@pytest.mark.parametrize("after", [0, 1])
def test_what_fails_before_anything_was_handed_over_lets_another_engine_try(small_backbone, monkeypatch, after):
    failing(monkeypatch, after)
    with pytest.raises(Unsuitable, match=r'can\'t run the frozen part of this model \(at all\)\. Give engine="tensorflow"'):
        results(OpenVINOEngine(small_backbone()), [(k, pixels(2)) for k in range(3)])


def test_what_fails_later_is_an_error(small_backbone, monkeypatch):
    engine = OpenVINOEngine(small_backbone())
    results(engine, [(0, pixels(2))])
    failing(monkeypatch, 1)
    with pytest.raises(RuntimeError, match="no memory"):
        results(engine, [(k, pixels(2)) for k in range(3)])
