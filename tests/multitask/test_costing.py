import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask.costing import Cost, cost, passes_of, peak_bytes, size
from keras_transfer.multitask.probing import made_up_batch
from multitask import small


def wide(tasks=4, width=256, blocks=3):
    """A network whose passes take far longer than the calls around them."""
    x = inputs = keras.Input((width,))
    for i in range(1, blocks + 1):
        x = keras.layers.Dense(width, activation="tanh", name=f"block_{i}_dense")(x)
    return kt.attach(keras.Model(inputs, x), {f"task_{k}": kt.heads.Regressor() for k in range(tasks)})


def wide_rows(model, count=512):
    random = np.random.default_rng(0)
    x = random.normal(size=(count, model.inputs[0].shape[1])).astype("float32")
    return x, {name: random.normal(size=count).astype("float32") for name in model.output}


class Halves(kt.multitask.Equal):
    needs_gramian, parts = True, 2


@pytest.mark.parametrize(
    "weighting, at, passes",
    [
        (None, None, (1, 0)),
        (kt.multitask.Equal(), None, (1, 0)),
        (kt.multitask.Uncertainty(), "features", (1, 0)),
        (kt.multitask.PCGrad(), None, (4, 0)),
        (kt.multitask.PCGrad(), "features", (1, 4)),
        (Halves(), None, (4, 0)),
    ],
)
def test_passes_by_hand(weighting, at, passes):
    assert passes_of(weighting, 4, at) == passes


@pytest.fixture(scope="module")
def measured():
    model = wide()
    data = tuple(wide_rows(model))
    arrays = tf.data.Dataset.from_tensor_slices(data).batch(512)
    before = [v.numpy() for v in model.variables]
    options = {"equal": (kt.multitask.Equal(), None), "surgery": (kt.multitask.PCGrad(), None),
               "features": (kt.multitask.PCGrad(), "features")}
    found = {name: cost(model, weighting, arrays, at=at, repeats=3) for name, (weighting, at) in options.items()}
    return model, before, found


def test_surgery_with_four_tasks_takes_longer_than_the_plain_sum(measured):
    _, _, found = measured
    assert found["surgery"].factor > 1.3 and found["surgery"].factor > found["equal"].factor
    assert found["features"].factor < found["surgery"].factor
    assert all(0 < each.seconds < 10 and 0 < each.plain_seconds < 10 for each in found.values())


def test_all_variables_are_as_before_to_the_bit(measured):
    model, before, _ = measured
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, model.variables, strict=True))
    assert not model.compiled


counted = pytest.mark.skipif(np.isnan(peak_bytes(lambda: None)), reason="TensorFlow counts no memory on this processor")


@counted
def test_memory_by_hand():
    """Measured: a gradient of each task for all that is shared is held at once; the allocator rounds up."""
    shared = 4 * 4 * (1024 * 1024 + 1024)
    found = {}
    for tasks, at in [(2, None), (8, None), (8, "features")]:
        found[tasks, at] = cost(wide(tasks, width=1024, blocks=4), kt.multitask.PCGrad(), at=at, repeats=1)
    # the order in which TensorFlow runs what doesn't depend on each other varies, and with it how much is copied at once
    assert all(0.1 * shared < each.plain_bytes < 4 * shared for each in found.values())
    assert 2 * shared < found[2, None].bytes < 6 * shared  # a gradient of each task, and the step
    assert 5 * shared < found[8, None].bytes - found[2, None].bytes < 16 * shared
    assert found[8, "features"].bytes < 4 * shared


@counted
def test_state_of_the_weighting_counts():
    model = wide(2, width=512)
    shared, without = 4 * 3 * (512 * 512 + 512), cost(model, kt.multitask.PCGrad(), repeats=1).bytes
    assert cost(model, kt.multitask.MoCo(), repeats=1).bytes > without + 1.9 * shared


def test_where_tensorflow_counts_no_memory_the_rest_is_told(monkeypatch):
    def refuse(device):
        raise ValueError("Cannot reset memory stats for device 'CPU:0'")

    monkeypatch.setattr(tf.config.experimental, "reset_memory_stats", refuse)
    found = cost(wide(2, width=16), kt.multitask.PCGrad(), repeats=1)
    assert np.isnan(found.plain_bytes) and np.isnan(found.bytes) and found.seconds > 0
    assert str(found).count("not counted") == 2


@counted
def test_peak_by_hand():
    a = tf.ones((1000, 1000))
    assert peak_bytes(lambda: [tf.square(a) for _ in range(3)]) == pytest.approx(3 * 4e6, rel=0.4)  # a chunk may be larger than asked for
    assert peak_bytes(lambda: tf.square(a)) == pytest.approx(4e6, rel=0.4)


class Sorter(kt.heads.Classifier):
    """Takes the labels of a classifier."""


def test_without_data_numbers_are_drawn_that_inputs_and_heads_want():
    ids, photos = keras.Input((7,), dtype="int32", name="ids"), keras.Input((8, 8, 3), name="photos")
    flat = keras.layers.Flatten()
    features = keras.layers.Concatenate()([flat(keras.layers.Embedding(10, 3)(ids)), flat(photos)])
    model = kt.attach(keras.Model([ids, photos], features), {
        "kind": kt.heads.Classifier(5), "tags": kt.heads.MultiLabel(3), "grade": Sorter(4),
        "age": kt.heads.Regressor({"mean": 40.0, "std": 10.0}), "rank": kt.heads.Ordinal(4)})
    x, y, _ = made_up_batch(model, 6)
    assert [(tuple(t.shape), t.dtype.name) for t in x] == [((6, 7), "int32"), ((6, 8, 8, 3), "float32")]
    assert {name: tuple(t.shape) for name, t in y.items()} == {
        "kind": (6,), "tags": (6, 3), "grade": (6,), "age": (6, 1), "rank": (6,)}
    assert set(np.unique(y["kind"])) <= set(range(5)) and len(np.unique(y["kind"])) > 1
    found = cost(model, kt.multitask.PCGrad(), repeats=1, batch_size=6)
    assert found.passes == 5 and found.seconds > 0


class Own(kt.heads.Head):
    def default_loss(self):
        return keras.losses.MeanSquaredError()


@pytest.mark.parametrize("shape, dtype, head, error", [
    ((None, 3), "float32", kt.heads.Classifier(2), "The input 'given' of shape (None, 3) and type float32 doesn't tell what to "
     "draw for it. Give a `dataset`."),
    ((3,), "float32", Own(2), "The head 'one' is a Own, which doesn't tell what labels to draw for it. Give a `dataset`."),
])
def test_without_data_what_cannot_be_drawn_is_named(shape, dtype, head, error):
    inputs = keras.Input(shape, dtype=dtype, name="given")
    out = keras.layers.Dense(2)(inputs)
    out = keras.layers.GlobalAveragePooling1D()(out) if len(shape) > 1 else out
    model = kt.attach(keras.Model(inputs, out), {"one": head, "other": kt.heads.Classifier(2)})
    with pytest.raises(ValueError) as raised:
        cost(model, kt.multitask.PCGrad())
    assert error in str(raised.value)


def test_state_of_dropout_and_norms_and_of_the_weighting_stays():
    model, weighting = small.network(dropout=0.3, norms=True), kt.multitask.Uncertainty()
    model.compile(optimizer=keras.optimizers.Adam(0.5), **kt.objectives(model))
    weighting.build(3)
    before = [v.numpy() for v in [*model.variables, *weighting.variables]]
    cost(model, weighting, small.data(), repeats=1)
    after = [v.numpy() for v in [*model.variables, *weighting.variables]]
    assert all(np.array_equal(a, b) for a, b in zip(before, after))
    assert not model.optimizer.built or model.optimizer.iterations.numpy() == 0


def test_it_reads_well():
    found = Cost("PCGrad", "features", 1, 4, 0.0102, 0.0204, 999_999, 2_500_000)
    assert found.factor == 2 and repr(found) == str(found)
    assert str(found).splitlines() == [
        "weighting  backward passes      ms a step  factor  memory",
        "plain sum  1                         10.2       1  < 1 MB",
        "PCGrad     1 + 4 from features       20.4       2  2.5 MB",
    ]


def test_sizes():
    assert [size(n) for n in (0, 999, 1000, 12_300_000, 5e9)] == ["0 B", "999 B", "1 kB", "12.3 MB", "5 GB"]


@pytest.mark.parametrize(
    "options, error",
    [
        ({"repeats": 0}, "`repeats` must be a whole number of at least 1. Received: 0"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1. Received: 0"),
        ({"at": "feature"}, "Unknown layer for `at` 'feature'. Did you mean 'features'?"),
    ],
)
def test_wrong_arguments(options, error):
    with pytest.raises(ValueError) as raised:
        cost(small.network(), kt.multitask.PCGrad(), small.data(), **options)
    assert error in str(raised.value)
