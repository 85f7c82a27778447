"""Training on features is training the model: the same losses, epoch by epoch."""

import keras
import numpy as np
import pytest
import saved_models
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.store import filling, training
from keras_transfer.store.engines import choosing
from keras_transfer.store.training import on_features
from support import bare, colour_task, pixels, spoken_digits

NETWORKS = ["MobileNetV2", "ResNet50", "EfficientNetB0", "ConvNeXtTiny", "DenseNet121", "VGG16"]
FALL = {"VGG16": 1e-2}  # which has no norms: its batches pull in other directions, so that less comes of it
TENSORFLOW, OPENVINO = kt.Store(engine="tensorflow"), kt.Store(engine="openvino")


@pytest.fixture
def model(small_backbone):
    return kt.attach(small_backbone(), kt.heads.Classifier(3))


def frozen(model, share):
    """Freezes that share of the backbone's layers."""
    if share == 1.0:
        kt.freeze(model)
    else:
        kt.unfreeze(model, last=1 - share)


def losses(learner, train, valid, optimizer, epochs=3):
    for part in [part for part in (train, valid) if part is not None]:
        known = kt.data.info(part)
        if known is not None and known.epoch is not None:
            known.epoch.assign(0)
    learner.compile(optimizer=optimizer, **kt.objectives(learner))
    history = learner.fit(train, validation_data=valid, epochs=epochs, verbose=0, shuffle=False).history
    return np.array([history[name] for name in ("loss", "val_loss") if name in history])


def rate_for(model, train, fall, steps=8):
    """The rate of SGD at which the loss falls by that share in so many steps, to the first order."""
    x, y = (np.concatenate(column) for column in zip(*train.as_numpy_iterator()))
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=False))
    squares = sum(float(tf.reduce_sum(tf.cast(g, "float64") ** 2)) for g in tape.gradient(loss, model.trainable_variables))
    return fall * float(loss) / steps / squares


def unchanged(features):
    return features


def both(model, train, valid, optimizer, store=TENSORFLOW, change=unchanged):
    """The losses of the whole model, and of its tail on features, from the same weights and random states."""
    return compared(model, train, valid, optimizer, (store, change))


def compared(model, train, valid, optimizer, *ways):
    """The losses of the whole model, and for each (store, change of the features) those of its tail."""
    before = [v.numpy() for v in model.variables]

    def restore():
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)

    def cached(store, change):
        restore()
        features, tail = kt.cache_features(model, train, store=store, verbose=0)
        tested = None if valid is None else kt.cache_features(model, valid, store=store, verbose=0)[0]
        return losses(tail, change(features), tested, optimizer())

    found = [losses(model, train, valid, optimizer()), *(cached(*way) for way in ways)]
    restore()
    return found


def difference(whole, cached):
    assert np.isfinite(whole).all() and abs(whole[0, 0] - whole[0, -1]) > 1e-5 * whole[0, 0]  # it did train
    largest = np.abs(cached / whole - 1).max()
    print(f"largest difference of the losses: {largest:.1e}")
    return largest


def other_order(features):
    """The same batches with the rows of x in another order than those of y: a control."""
    return features.map(lambda x, y: (tf.nest.map_structure(lambda t: tf.reverse(t, [0]), x), y))


@pytest.mark.parametrize(
    "last, optimizer", [(0, keras.optimizers.SGD(0.05)), ("block_2", keras.optimizers.Adam(0.01))], ids=["all", "part"]
)
def test_cached_and_uncached_losses_are_equal(model, sets, last, optimizer):
    kt.unfreeze(model, last) if last else kt.freeze(model)
    train, valid = sets()

    def fresh():
        return type(optimizer).from_config(optimizer.get_config())

    assert difference(*both(model, train, valid, fresh)) < 1e-5
    if last:
        assert difference(*both(model, train, valid, fresh, change=other_order)) > 1e-3
        assert difference(*both(model, train, valid, fresh, OPENVINO)) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("weigh", [False, True])
def test_fine_tune_gives_the_same_history_with_and_without_features(small_backbone, sets, weigh):
    found = []
    for cache in (False, TENSORFLOW):
        keras.utils.set_random_seed(1)
        model = kt.attach(small_backbone(), kt.heads.Classifier(3))
        train, valid = sets()
        train = kt.data.balance(train, {0: 3.0, 1: 0.5}) if weigh else train
        options = {"head_epochs": 2, "epochs": 3, "last": "block_3", "seed": 4, "cache": cache, "verbose": 0}
        found.append(kt.fine_tune(model, train, valid, **options).history)
    assert found[0].keys() == found[1].keys()
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        assert found[1][name] == pytest.approx(found[0][name], rel=1e-5)
    assert len(set(found[0]["loss"])) == 5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_fine_tune_in_mixed_precision(small_backbone, sets, dtype):
    """The features of the second phase are made of those of the first, which are in half precision."""
    before, found = keras.config.dtype_policy(), []
    for cache in (False, TENSORFLOW, OPENVINO):
        keras.utils.set_random_seed(1)
        try:
            keras.config.set_dtype_policy(f"mixed_{dtype}")
            model = kt.attach(small_backbone(), kt.heads.Classifier(3))
        finally:
            keras.config.set_dtype_policy(before)
        train, valid = sets()
        model.compile(optimizer=keras.optimizers.Adam(0.01), **kt.objectives(model))
        options = {"head_epochs": 2, "epochs": 2, "last": "block_3", "seed": 4, "cache": cache, "verbose": 0}
        found.append(kt.fine_tune(model, train, valid, **options).history["loss"])
    whole, tensorflow, openvino = np.array(found)
    print(whole, tensorflow, openvino)
    assert whole[-1] < 0.95 * whole[0]
    assert np.abs(tensorflow / whole - 1).max() < 1e-3 and np.abs(openvino / whole - 1).max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_real_networks_have_equal_losses_at_every_share(calibrated, sets, name):
    model = calibrated(name)
    train, valid = sets(size=32)
    features = model.get_layer("backbone")(next(iter(train))[0], training=False).numpy()
    assert features.std() > 0.01
    model.compile(optimizer="sgd", **kt.objectives(model))
    for share in (1.0, 0.5, 0.8):
        frozen(model, share)
        rate = rate_for(model, train, FALL.get(name, 3e-3))
        tested = valid if share == 1.0 else None
        ways = [(TENSORFLOW, unchanged), (TENSORFLOW, other_order), (OPENVINO, unchanged)][:3 if share == 1.0 else 2]
        whole, cached, control, *fast = compared(model, train, tested, lambda: keras.optimizers.SGD(rate), *ways)
        change = whole[0, -1] / whole[0, 0] - 1
        print(f"{name}, {share:.0%} frozen, rate {rate:.1e}: the loss changes by {change:.1e}")
        assert abs(change) > 1e-3  # a hundred times what they may differ by; it may rise where live blocks drop their paths
        assert difference(whole, cached) < 1e-5 and difference(whole, control) > 1e-3
        assert all(difference(whole, each) < 1e-3 for each in fast)
    before, found = model.get_weights(), []
    for cache in (False, TENSORFLOW):
        train, valid = sets(size=32)
        model.set_weights(before)
        model.optimizer = None  # whose moments `fine_tune` would keep
        model.compile(optimizer=keras.optimizers.SGD(10 * rate), **kt.objectives(model))
        options = {"head_epochs": 0, "epochs": 2, "last": 0.2, "seed": 1, "cache": cache, "verbose": 0}
        found.append(np.array(kt.fine_tune(model, train, **options).history["loss"]))
    assert difference(*(np.array([losses]) for losses in found)) < 1e-5


def test_views_of_an_augmented_set_give_the_losses_of_as_many_epochs(model, sets):
    """Over both phases; the control keeps one view for all epochs."""
    before, found = model.get_weights(), []
    for cache in (False, kt.Store(engine="tensorflow", views=2), TENSORFLOW):
        model.set_weights(before)
        model.optimizer = None
        train, _ = sets(augment=keras.layers.RandomFlip("horizontal"), seed=2)
        model.compile(optimizer=keras.optimizers.SGD(0.05), **kt.objectives(model))
        options = {"head_epochs": 1, "epochs": 1, "last": "block_3", "seed": 4, "cache": cache, "verbose": 0}
        found.append(np.array(kt.fine_tune(model, train, **options).history["loss"]))
    whole, views, one = found
    assert views == pytest.approx(whole, rel=1e-5) and np.abs(one / whole - 1).max() > 1e-3


def test_a_hub_backbone_has_equal_losses(tmp_path):
    x = np.random.default_rng(0).normal(size=(45, 6)).astype("float32")
    exact, control, fast = differences_of_hub(saved_models.reusable(tmp_path / "hub"), x, x[:, 0] > 0)
    assert exact < 1e-5 and control > 1e-3 and fast < 1e-3


def test_a_real_hub_backbone_has_equal_losses(real_data):
    """The keyword spotter on spoken digits."""
    exact, control, fast = differences_of_hub(real_data / "models/kws_ds_cnn_savedmodel", *spoken_digits(real_data, 45))
    assert exact < 1e-5 and control > 1e-3 and fast < 1e-3


def differences_of_hub(source, x, y):
    """Of features by TensorFlow, of those of other rows, and of features by OpenVINO."""
    data = tf.data.Dataset.from_tensor_slices((x, y.astype("int32"))).batch(8)
    model = kt.attach(kt.backbone(f"hub:{source}"), kt.heads.Classifier(int(y.max()) + 1))
    ways = [(TENSORFLOW, unchanged), (TENSORFLOW, other_order), (OPENVINO, unchanged)]
    whole, *others = compared(model, data, data, lambda: keras.optimizers.Adam(0.03), *ways)
    return [difference(whole, each) for each in others]


@pytest.mark.parametrize("cache", ["auto", TENSORFLOW], ids=["auto", "store"])
def test_a_mask_that_layers_read_off_a_tensor_is_not_lost(cache):
    padded = np.random.default_rng(0).integers(1, 20, (64, 10)) * (np.arange(10) <= np.arange(64)[:, None] % 9)

    def losses_with(cache):
        keras.utils.set_random_seed(1)
        inputs, spread = keras.Input((10,), dtype="int32"), keras.initializers.RandomNormal(stddev=1.0)
        x = keras.layers.Embedding(20, 8, spread, mask_zero=True, name="block_1_table")(inputs)
        x = keras.layers.MultiHeadAttention(2, 4, name="block_2_attention")(x, x)
        model = kt.attach(keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(x)), kt.heads.Classifier(2))
        model.compile(optimizer=keras.optimizers.Adam(0.05), **kt.objectives(model))
        phases = {"head_epochs": 0, "epochs": 3, "last": "block_2", "seed": 1}
        return kt.fine_tune(model, (padded, padded[:, 0] % 2), cache=cache, verbose=0, **phases).history["loss"]

    np.testing.assert_allclose(losses_with(cache), losses_with(False), rtol=1e-5)


# --- what `fine_tune` asks for


def test_arrays_stay_arrays(model):
    kt.freeze(model)
    x, y = colour_task(20)
    tail, (features, labels), valid = on_features(model, (x, y), (x[:5], y[:5]), TENSORFLOW, True)
    assert isinstance(features, np.ndarray) and np.array_equal(labels, y) and len(valid[0]) == 5
    np.testing.assert_allclose(features, model.get_layer("backbone").predict(x, verbose=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(tail.predict(features, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
    assert on_features(model, (x, y), None, TENSORFLOW, True)[2] is None


def test_only_exact_leaves_out_what_is_not_known_to_be(model, sets):
    kt.freeze(model)
    train, valid = sets()
    random, _ = sets(augment=keras.layers.RandomFlip())
    other = tf.data.Dataset.from_tensor_slices(colour_task(8)).batch(4)
    assert on_features(model, train, valid, TENSORFLOW, True) is not None
    for pair in ((random, valid), (other, None), (train, other)):
        assert on_features(model, *pair, TENSORFLOW, True) is None
        assert on_features(model, *pair, TENSORFLOW, False) is not None
    kt.unfreeze(model, norms=True)
    assert on_features(model, train, valid, TENSORFLOW, False) is None


def test_only_exact_leaves_out_what_there_is_no_room_for(model, sets, monkeypatch, capsys):
    kt.freeze(model)
    train, valid = sets()
    monkeypatch.setattr(training, "room", lambda directory: 42 * 12 * 4 - 1)
    assert on_features(model, train, valid, TENSORFLOW, True, verbose=1) is None
    assert "The features would take 2.02 kB, more than there is room for" in capsys.readouterr().out
    monkeypatch.setattr(training, "room", lambda directory: 42 * 12 * 4)
    assert on_features(model, train, valid, TENSORFLOW, True) is not None
    arrays = colour_task(20)
    assert on_features(model, arrays, None, TENSORFLOW, True) is not None
    monkeypatch.setattr(training, "room", lambda directory: 100)  # where their temporary folder would be
    assert on_features(model, arrays, None, TENSORFLOW, True, verbose=1) is None
    assert "`directory`" not in capsys.readouterr().out
    monkeypatch.setattr(training, "room", lambda directory: 42 * 12 * 4)
    monkeypatch.setattr(training, "IN_MEMORY", 100)
    assert on_features(model, arrays, None, TENSORFLOW, True) is None


def test_features_that_are_there_need_no_more_room(model, sets, tmp_path, monkeypatch):
    """A run that was killed and goes on finds the disk as full as it has made it."""
    kt.freeze(model)
    train, _ = sets()
    assert on_features(model, train, None, TENSORFLOW, True, tmp_path) is not None
    monkeypatch.setattr(training, "room", lambda directory: 0)
    assert on_features(model, train, None, TENSORFLOW, True, tmp_path) is not None
    assert on_features(model, train, None, TENSORFLOW, True, tmp_path / "empty") is None


def test_a_layer_that_tells_no_config_has_no_features_in_a_folder(sets, tmp_path, capsys):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(bare(lambda x: x / 255)(inputs)))
    model = kt.attach(keras.Model(inputs, x), kt.heads.Classifier(3))
    train, _ = sets()
    kt.fine_tune(model, train, head_epochs=1, epochs=0, directory=tmp_path, verbose=2)
    assert "has no `get_config`" in (said := capsys.readouterr().out) and "all is computed in every epoch" in said
    with pytest.raises(ValueError, match="has no `get_config`"):
        kt.fine_tune(model, train, head_epochs=1, epochs=0, directory=tmp_path / "other", cache=True, verbose=0)


def test_only_exact_leaves_out_numbers_that_are_none(capsys):
    """A model may mend NaN itself; of others, features could hide what stops training."""
    inputs = keras.Input((3,))
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    x[20, 1] = np.nan
    keras.utils.set_random_seed(0)
    model = kt.attach(keras.Model(inputs, keras.layers.Dense(4)(keras.ops.nan_to_num(inputs))), kt.heads.Classifier(2))
    before, found = model.get_weights(), []
    for cache in ("auto", False):
        model.set_weights(before)
        model.optimizer = None
        found.append(kt.fine_tune(model, (x, y), head_epochs=2, epochs=0, seed=1, cache=cache, verbose=2).history["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-6) and np.isfinite(found).all()
    assert capsys.readouterr().out.count("The data hold NaN or infinite numbers in x, so no features are kept") == 1
    for pair in (((x, y), None), ((x[:20], y[:20]), (x, y))):
        assert on_features(model, *pair, TENSORFLOW, True) is None
        with pytest.raises(ValueError, match="NaN or infinite numbers in x, in rows 0 to 31"):
            on_features(model, *pair, TENSORFLOW, False)


def test_validation_is_one_pass_with_a_key_of_its_own(model, tmp_path):
    """Two sets of one key would be one store, and the labels of one would stand beside the features of the other."""
    kt.freeze(model)
    x, y = colour_task(30)
    train = tf.data.Dataset.from_tensor_slices((x[:16], y[:16])).batch(8)
    valid = tf.data.Dataset.from_tensor_slices((x[16:], y[16:])).batch(8)
    store = kt.Store(engine="tensorflow", key="mine", views=2)
    _, first, second = on_features(model, train, valid, store, False, tmp_path)
    for data, part in ((first, slice(0, 16)), (second, slice(16, 30))):
        got = np.concatenate([b[0] for b in data.as_numpy_iterator()])
        np.testing.assert_allclose(got, model.get_layer("backbone")(x[part]), rtol=1e-4, atol=1e-5)
    views = sorted({p.name[0] for p in tmp_path.glob("*/[0-9]-*")})
    assert len(list(tmp_path.iterdir())) == 2 and views == ["0", "1"]


def test_the_folder_of_a_run_that_ends_keeps_no_features(model, sets, tmp_path):
    train, valid = sets()
    options = {"head_epochs": 1, "epochs": 1, "last": "block_3", "cache": TENSORFLOW, "verbose": 0}
    kt.fine_tune(model, train, valid, directory=tmp_path, **options)
    assert not list(tmp_path.rglob("*.npy")) and list(tmp_path.iterdir())


def test_pixels_are_not_all_alike():
    """The networks above are compared on photos that differ."""
    assert pixels(4, size=32).std(0).mean() > 10


def test_training_and_validation_share_an_engine(model, monkeypatch):
    made = []

    class Counted(choosing.TensorFlowEngine):
        def __init__(self, *arguments):
            made.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setitem(choosing.ENGINES, "tensorflow", Counted)
    kt.freeze(model)
    x, y = colour_task(40)
    for pair in ((tf.data.Dataset.from_tensor_slices(part).batch(8) for part in ((x, y), (x[:8], y[:8]))), ((x, y), (x[:8], y[:8]))):
        made.clear()
        assert on_features(model, *pair, TENSORFLOW, only_exact=False) is not None
        assert len(made) == 1


def test_where_the_room_goes_meanwhile_all_is_computed_in_every_epoch(model, sets, tmp_path, monkeypatch, capsys):
    """What other features hold in the folder is counted as room for these."""
    kt.freeze(model)
    train, _ = sets()
    monkeypatch.setattr(filling, "room", lambda path: 100)
    assert on_features(model, train, None, TENSORFLOW, True, tmp_path, verbose=1) is None
    said = capsys.readouterr().out
    assert said.startswith("The features take ") and said.endswith("Until then all is computed in every epoch.\n")
    with pytest.raises(OSError, match="The features take .* has 100 bytes left"):
        on_features(model, train, None, TENSORFLOW, False, tmp_path)
