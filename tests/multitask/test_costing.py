import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask.costing import Cost, cost, passes_of, size
from multitask import small


def wide(tasks=4, width=256):
    """A network whose passes take far longer than the calls around them."""
    x = inputs = keras.Input((width,))
    for i in range(1, 4):
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


def test_memory_by_hand(measured):
    _, _, found = measured
    state = sum(v.numpy().nbytes for v in kt.multitask.PCGrad().variables)
    assert found["equal"].extra_bytes == 0
    assert found["surgery"].extra_bytes == 4 * 4 * 3 * (256 * 256 + 256) + state  # tasks x float32 x layers
    assert found["features"].extra_bytes == 4 * 4 * 512 * 256 + state             # tasks x float32 x rows x width


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
    found = Cost("PCGrad", "features", 1, 4, 0.0102, 0.0204, 2_500_000)
    assert found.factor == 2 and repr(found) == str(found)
    assert str(found).splitlines() == [
        "weighting  backward passes      ms a step  factor  extra memory",
        "plain sum  1                         10.2       1  0 B",
        "PCGrad     1 + 4 from features       20.4       2  2.5 MB",
    ]


def test_sizes():
    assert [size(n) for n in (0, 999, 1000, 12_300_000, 5e9)] == ["0 B", "999 B", "1 kB", "12.3 MB", "5 GB"]


@pytest.mark.parametrize(
    "options, error",
    [
        ({"repeats": 0}, "`repeats` must be a whole number of at least 1. Received: 0"),
        ({"at": "feature"}, "Unknown layer for `at` 'feature'. Did you mean 'features'?"),
    ],
)
def test_wrong_arguments(options, error):
    with pytest.raises(ValueError) as raised:
        cost(small.network(), kt.multitask.PCGrad(), small.data(), **options)
    assert error in str(raised.value)
