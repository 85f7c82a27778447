"""A learner in the phases of fine_tune: which weighting, where, on which part of the model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer import distributing
from keras_transfer.multitask import tuning
from keras_transfer.multitask.sharing.mmoe import MMoE
from keras_transfer.network import model_of
from keras_transfer.store.splitting import split


@pytest.fixture
def model(small_backbone):
    return kt.attach(small_backbone(), {"colour": kt.heads.Classifier(3), "light": kt.heads.Regressor()})


@pytest.fixture
def sharing(small_backbone):
    heads = {"colour": kt.heads.Classifier(3), "light": kt.heads.Regressor()}
    return kt.attach(small_backbone(), heads, sharing=MMoE(experts=2))


def test_a_plain_model_is_its_own_learner(model):
    assert model_of(model) is model and tuning.in_phase(model, "tail") == "tail"
    assert tuning.takes_features(model) and tuning.described(model) is None
    tuning.check_phases(model, [("head", 1, None)])


def test_a_plain_model_of_several_heads_with_a_loss_for_each_is_watched(model):
    found = tuning.in_phase(model, model, kt.objectives(model))
    assert isinstance(found, kt.MultiTask) and found.model is model and found.weighting is None
    each = kt.objectives(model)["loss"]
    for loss in ("mse", {"colour": "mse"}, {"colour": ["mse"], "light": ["mse"]}, {"colour": None, "light": "mse"}, None):
        assert tuning.in_phase(model, model, {"loss": loss}) is model
    for weights in ([0.5, 1.0], {"colour": -0.1, "light": 1.0}):
        assert tuning.in_phase(model, model, {"loss": each, "loss_weights": weights}) is model
    weights = {"colour": np.float32(0.5), "light": 1}
    assert isinstance(tuning.in_phase(model, model, {"loss": each, "loss_weights": weights}), kt.MultiTask)


@pytest.mark.parametrize("name", ["train_step", "test_step", "compute_loss", "compute_metrics"])
def test_a_model_that_trains_in_a_way_of_its_own_does_so(small_backbone, name):
    backbone = small_backbone()
    own = type("Own", (keras.Model,), {name: lambda self, *args, **options: getattr(keras.Model, name)(self, *args, **options)})
    features = backbone(backbone.inputs[0])
    model = own(backbone.inputs, {"a": keras.layers.Dense(1, name="a")(features), "b": keras.layers.Dense(1, name="b")(features)})
    assert tuning.in_phase(model, model, {"loss": {"a": "mse", "b": "mse"}}) is model


def test_the_learner_itself_trains_the_whole_model(model):
    kt.unfreeze(model)
    for at in (None, "features"):
        learner = kt.MultiTask(model, kt.multitask.PCGrad(), at=at)
        assert tuning.in_phase(learner, model) is learner and model_of(learner) is model


def test_the_tail_has_the_same_weighting_at_the_same_place(model):
    kt.unfreeze(model, "block_3")
    _, tail = split(model)
    learner = kt.MultiTask(model, weighting := kt.multitask.PCGrad(), at="features")
    part = tuning.in_phase(learner, tail)
    assert part.model is tail and part.weighting is weighting and part.at == "features"
    assert [v.path for v in part.trainable_variables] == [v.path for v in learner.trainable_variables]


def test_a_method_on_gradients_has_nothing_to_weigh_where_nothing_shared_trains(model):
    kt.freeze(model)
    _, tail = split(model)
    for weighting in (kt.multitask.PCGrad(), kt.multitask.GradNorm()):
        part = tuning.in_phase(kt.MultiTask(model, weighting, at="features"), tail)
        assert type(part.weighting) is kt.multitask.Equal and part.at is None
    part = tuning.in_phase(kt.MultiTask(model, own := kt.multitask.Uncertainty(), at="features"), tail)
    assert part.weighting is own  # a method on losses does


def test_a_sharing_layer_is_weighed_in_the_first_phase_too(sharing):
    kt.freeze(sharing)
    _, tail = split(sharing)
    part = tuning.in_phase(kt.MultiTask(sharing, own := kt.multitask.PCGrad(), at="features"), tail)
    assert part.weighting is own and part.at is None  # "features" is what the tail reads, and nothing trains below


def test_the_output_of_a_nested_model_is_no_place_in_the_tail(model):
    learner = kt.MultiTask(model, kt.multitask.PCGrad(), at="backbone")
    kt.freeze(model)
    assert tuning.takes_features(learner)  # where nothing below it trains it isn't looked for
    kt.unfreeze(model, "block_3")
    assert not tuning.takes_features(learner)
    assert tuning.takes_features(kt.MultiTask(model, kt.multitask.PCGrad(), at="features"))


def test_kept_gradients_want_the_same_variables_in_all_phases(model):
    kt.unfreeze(model, "block_3")
    learner = kt.MultiTask(model, kt.multitask.DBMTL())
    plan = [("head", 1, kt.freeze), ("tune", 1, lambda m: kt.unfreeze(m, "block_3"))]
    tuning.check_phases(learner, plan)
    with pytest.raises(ValueError, match="keeps gradients of the 2 shared .* but 4 train in the phase 'tune'"):
        tuning.check_phases(learner, [("tune", 1, lambda m: kt.unfreeze(m, "block_2"))])
    tuning.check_phases(kt.MultiTask(model, kt.multitask.PCGrad()), [("tune", 1, kt.unfreeze)])


def test_words_tell_one_weighting_from_another(model):
    def words(weighting, at=None):
        return tuning.described(kt.MultiTask(model, weighting, at=at))

    assert words(None) is None and words(kt.multitask.Equal()) == "Equal()"
    assert words(kt.multitask.PCGrad(seed=3), "features") == "PCGrad(seed=3) at 'features'"
    assert words(kt.multitask.GradNorm(alpha=0.5)) == "GradNorm(alpha=0.5, lr=0.025)"
    assert keras.saving.get_registered_name(kt.multitask.Equal) == "keras_transfer>Equal"


@pytest.mark.parametrize("cache", [False, "auto"])
def test_gradients_are_taken_at_the_joint_of_a_tail_whose_backbone_has_that_name_too(cache):
    x = inputs = keras.Input((4,))
    for name in ("block_1_dense", "features", "block_3_dense"):
        x = keras.layers.Dense(4, name=name)(x)
    model = kt.attach(keras.Model(inputs, x), {"kind": kt.heads.Classifier(2), "size": kt.heads.Regressor()})
    learner = kt.MultiTask(model, kt.multitask.PCGrad(), at="features")
    rows, before = np.random.default_rng(0).normal(size=(16, 4)), model.get_weights()
    labels = {"kind": np.arange(16) % 2, "size": rows[:, 0]}
    kt.fine_tune(learner, (rows, labels), head_epochs=1, epochs=1, last="features", cache=cache, verbose=0)
    moved = [w.path.split("/")[0] for w, b in zip(model.weights, before) if not np.array_equal(w, b)]
    assert moved == 2 * ["features"] + 2 * ["block_3_dense"] + 2 * ["kind"] + 2 * ["size"]


class Sized(keras.metrics.Metric):
    """One that doesn't tell in its config how it's made."""

    def __init__(self, size, name="sized"):
        super().__init__(name=name)
        self.total = self.add_variable((size,), "zeros")


def test_metrics_are_the_users_own_but_for_those_that_would_count_one_of_several_workers(monkeypatch):
    here = tf.distribute.get_strategy()
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        inside = keras.metrics.SparseCategoricalAccuracy(name="inside")
    outside, given = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2"), "accuracy"
    settings = {"loss": "mse", "metrics": {"a": [inside, given], "b": [outside]}, "weighted_metrics": None}
    assert tuning.with_metrics_of(here, settings) is settings
    monkeypatch.setattr(distributing, "is_several", lambda strategy: True)
    found = tuning.with_metrics_of(here, settings)
    (same, word), (new,) = found["metrics"]["a"], found["metrics"]["b"]
    assert same is inside and word is given and new is not outside and new.get_config() == outside.get_config()
    assert found["weighted_metrics"] is None and found["loss"] == "mse"
    with pytest.raises(ValueError, match=r"^A metric was made outside of the strategy's scope, .* `compile` within `strategy"):
        tuning.with_metrics_of(here, {"metrics": [Sized(3)]})
