"""Every way of sharing on backbones other than photo networks: SavedModels, texts, token ids."""

import dataclasses

import keras
import numpy as np
import pytest
import saved_models
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.multitask.reaching import shared_variables
from multitask.sharing.laws import heads

ROWS = 8
IDS = ("input_word_ids", "input_mask")
WAYS = {
    "MMoE": lambda: kt.multitask.MMoE(3, 4),
    "CGC": lambda: kt.multitask.CGC(2, 1, 4),
    "PLE": lambda: kt.multitask.PLE(2, 1, 2, 4),
    "DSelectK": lambda: kt.multitask.DSelectK(4, 4),
    "FiLM": lambda: kt.multitask.FiLM(),
    "ResidualAdapter": lambda: kt.multitask.ResidualAdapter(3),
    "L2Sharing": lambda: kt.multitask.L2Sharing(0.1, 4),
    "TraceNormSharing": lambda: kt.multitask.TraceNormSharing(0.1, 4),
}
INSIDE = [kt.multitask.CrossStitch, kt.multitask.NDDR, kt.multitask.Sluice, kt.multitask.MTAN]
KINDS = ["saved_model", "saved_model_of_texts", "saved_model_of_token_ids", "texts", "token_ids"]
# Every way on the two kinds that are the quickest to train, one way on the others.
CASES = [(kind, way) for kind in ("saved_model_of_texts", "token_ids") for way in WAYS]
CASES += [(kind, "MMoE") for kind in KINDS if (kind, "MMoE") not in CASES]
# A ResidualAdapter's way up starts at 0, so what is below it has its first gradient in the second step.
WAITING = {"sharing/down/kernel", "sharing/down/bias"}


class Bert(tf.Module):
    """Token ids and their mask -> a dict of outputs, as the encoders of TF-Hub have them."""

    def __init__(self):
        random = np.random.default_rng(3)
        self.embedding = tf.Variable(random.normal(size=(7, 5)).astype("float32"), name="embedding")
        self.kernel = tf.Variable(random.normal(size=(5, 6)).astype("float32"), name="kernel")

    @tf.function(
        input_signature=[{key: tf.TensorSpec([None, 4], tf.int32, name=key) for key in IDS}]
    )
    def __call__(self, inputs):
        mask = tf.cast(inputs["input_mask"], tf.float32)[:, :, None]
        sequence = tf.tanh(tf.gather(self.embedding, inputs["input_word_ids"]) @ self.kernel)
        pooled = tf.reduce_sum(mask * sequence, 1) / tf.reduce_sum(mask, 1)
        return {"pooled_output": pooled, "sequence_output": sequence}


def text_network():
    """Whole texts -> 6 features."""
    x = inputs = keras.Input((), dtype="string", name="text")
    x = keras.layers.TextVectorization(vocabulary=["cat", "dog", "bird"], output_sequence_length=4, name="words")(x)
    x = keras.layers.Embedding(5, 6, keras.initializers.RandomNormal(stddev=1.0), mask_zero=True, name="embedding")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(6, activation="tanh", name="top")(x), name="text")


def token_network():
    """Token ids and their mask, by name -> 6 features."""
    inputs = {key: keras.Input((4,), dtype="int32", name=key) for key in IDS}
    embedding = keras.layers.Embedding(7, 6, keras.initializers.RandomNormal(stddev=1.0), name="embedding")
    x = embedding(inputs["input_word_ids"])
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x, mask=inputs["input_mask"])
    return keras.Model(inputs, keras.layers.Dense(6, activation="tanh", name="top")(x), name="tokens")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a SavedModel of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    saved_models.reusable(folder / "saved_model")
    saved_models.words(folder / "saved_model_of_texts", folder)
    tf.saved_model.save(Bert(), str(folder / "saved_model_of_token_ids"))
    return folder


def backbone_of_kind(kind, folder):
    if kind == "texts":
        return text_network()
    if kind == "token_ids":
        return token_network()
    return kt.backbone(kt.backbones.Hub(folder / kind, output_key="pooled_output" if kind.endswith("ids") else None))


def rows(kind):
    """What a backbone of that kind takes."""
    random = np.random.default_rng(0)
    if kind == "saved_model":
        return random.normal(size=(ROWS, 6)).astype("float32")
    if kind.endswith("texts"):
        texts = ["cat", "dog", "bird", "cow"] if kind.startswith("saved") else ["cat dog", "dog", "a bird", "bird bird"]
        return np.array(texts * (ROWS // 4), dtype=object)  # Keras takes no arrays of another dtype for text
    mask = np.arange(4) < random.integers(1, 5, (ROWS, 1))
    return {"input_word_ids": random.integers(1, 7, (ROWS, 4), "int32") * mask, "input_mask": mask.astype("int32")}


def labels():
    random = np.random.default_rng(1)
    return {"colour": random.integers(0, 3, ROWS), "light": random.normal(size=ROWS).astype("float32")}


def attached(kind, sharing, folder):
    keras.utils.set_random_seed(0)
    model = kt.attach(backbone_of_kind(kind, folder), heads(), sharing=sharing)
    kt.unfreeze(model)
    for task in ("colour", "light"):  # heads start at 0, which keeps the first gradient from the trunk
        kernel = model.get_layer(task).weights[0]
        kernel.assign(keras.initializers.GlorotUniform()(kernel.shape))
    return model


def fit(model, kind, **options):
    """One `fit` of one step by PCGrad; returns the paths of the weights that have moved by more than rounding."""
    before = [w.numpy() for w in model.weights]
    learner = kt.MultiTask(model, kt.multitask.PCGrad())
    learner.compile(optimizer=keras.optimizers.SGD(0.3), **{"run_eagerly": True, **options}, **kt.objectives(model))
    learner.fit(rows(kind), labels(), batch_size=ROWS, verbose=0)
    return {w.path for w, old in zip(model.weights, before) if np.abs(w.numpy() - old).max() > 1e-5}


def said(model, kind):
    """The predictions, `{task: array}`."""
    x = keras.tree.map_structure(tf.constant, rows(kind))
    return {task: y.numpy() for task, y in model(x, training=False).items()}


def paths(weights):
    return {w.path for w in weights}


@dataclasses.dataclass
class Case:
    """A model that was fitted, what moved, and what it said before."""

    kind: str
    model: keras.Model
    moved: set
    before: dict


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request, folder):
    kind, way = request.param
    model = attached(kind, WAYS[way](), folder)
    before = said(model, kind)
    return Case(kind, model, fit(model, kind), before)


def test_pcgrad_trains_the_shared_trunk_the_sharing_and_both_heads(case):
    trunk = paths(case.model.get_layer("backbone").trainable_weights)
    assert trunk and trunk <= paths(shared_variables(case.model))
    for layer in ("sharing", "colour", "light"):
        assert case.model.get_layer(layer).trainable_weights
    assert paths(case.model.trainable_weights) - case.moved <= WAITING


def test_a_file_loaded_in_the_same_process_predicts_the_same(case, tmp_path):
    case.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode="saved" not in case.kind)
    wanted, given = said(case.model, case.kind), said(loaded, case.kind)
    for task in ("colour", "light"):
        assert not np.allclose(wanted[task], case.before[task], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(given[task], wanted[task], rtol=1e-5, atol=1e-6)
    assert type(loaded.get_layer("sharing")) is type(case.model.get_layer("sharing"))


@pytest.mark.parametrize("kind, way", CASES)
def test_a_frozen_trunk_stays_to_the_bit_while_the_sharing_and_both_heads_train(kind, way, folder):
    model = attached(kind, WAYS[way](), folder)
    kt.freeze(model)
    trunk = [w.numpy() for w in model.get_layer("backbone").weights]
    changed = fit(model, kind)
    assert changed <= paths(model.trainable_weights) and paths(model.trainable_weights) - changed <= WAITING
    assert {path.split("/")[0] for path in paths(model.trainable_weights)} == {"sharing", "colour", "light"}
    assert all(np.array_equal(w.numpy(), old) for w, old in zip(model.get_layer("backbone").weights, trunk))


def test_a_step_traced_to_a_graph_trains_every_weight_of_a_saved_model_too(folder):
    kind = "saved_model_of_texts"
    model = attached(kind, WAYS["FiLM"](), folder)
    assert fit(model, kind, run_eagerly=False) == paths(model.trainable_weights)


@pytest.mark.parametrize("kind", KINDS)
def test_the_trunk_in_the_model_gives_what_the_backbone_alone_gives(kind, folder):
    x = keras.tree.map_structure(tf.constant, rows(kind))
    backbone = backbone_of_kind(kind, folder)
    alone = backbone(x, training=False).numpy()
    model = kt.attach(backbone, heads(), sharing=kt.multitask.FiLM())
    features = keras.Model(model.input, model.get_layer("features").output)
    assert np.std(alone) > 0.01
    np.testing.assert_allclose(features(x, training=False), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", INSIDE)
def test_ways_that_need_inner_stages_say_which_layers_a_saved_model_has(way, folder):
    wanted = "`at` names no layer or block of the backbone: 'block_1'. There is: .*saved_model"
    with pytest.raises(ValueError, match=wanted):
        attached("saved_model_of_texts", way(["block_1"]), folder)


def test_cross_stitch_at_a_whole_saved_model_trains_a_copy_for_each_task_and_its_file_says_the_same(folder, tmp_path):
    kind = "saved_model_of_texts"
    model = attached(kind, kt.multitask.CrossStitch(["saved_model"]), folder)
    copies = [model.get_layer("backbone").get_layer(f"saved_model_{task}") for task in ("colour", "light")]
    start = copies[0].get_weights()[0]
    np.testing.assert_array_equal(copies[1].get_weights()[0], start)
    fit(model, kind)
    first, second = (copy.get_weights()[0] for copy in copies)
    assert all(np.abs(one - other).max() > 1e-5 for one, other in [(first, start), (second, start), (first, second)])
    model.save(tmp_path / "model.keras")
    wanted, given = said(model, kind), said(keras.models.load_model(tmp_path / "model.keras", safe_mode=False), kind)
    for task in ("colour", "light"):
        np.testing.assert_allclose(given[task], wanted[task], rtol=1e-5, atol=1e-6)
