"""Fingerprints of networks and data: the same for the same, another for anything else."""

import hashlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.store import keys, split
from support import bare, run_python

SCRIPT = """
import keras, saved_models, sys, keras_transfer as kt
from keras_transfer.store import keys, split
for _ in range(int(sys.argv[2])):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])  # other numbers in the names that Keras makes up
keras.utils.set_random_seed(5)
inputs = keras.Input((16, 16, 3))
inner = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()])
x = keras.layers.TimeDistributed(keras.layers.Dense(3))(inner(inputs, training=False))
x = keras.layers.Lambda(lambda t: t * 3.0 if t.dtype in {"float16", "float32", "float64", "bfloat16"} else t)(x)
model = kt.attach(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x * 2.0)), kt.heads.Classifier(2))
kt.freeze(model)
print("key", keys.of_network(split(model)[0]))
hub = kt.attach(kt.backbone(f"hub:{sys.argv[1]}"), kt.heads.Classifier(2))
print("key", keys.of_network(split(hub)[0]))
"""


def network(width=4, factor=2.0, swap=False, table=None):
    """Two layers whose outputs are put together; `swap` changes the wiring alone."""
    inputs = keras.Input((3,))
    first, second = keras.layers.Dense(width)(inputs), keras.layers.Dense(width, activation="relu")(inputs)
    x = keras.ops.subtract(second, first) if swap else keras.ops.subtract(first, second)
    x = x * factor if table is None else keras.ops.add(x, table)
    return keras.Model(inputs, x)


def filled(model, value=0.5):
    model.set_weights([np.full(w.shape, value, "float32") for w in model.get_weights()])
    return model


@pytest.mark.slow
def test_the_same_script_has_the_same_keys_in_another_process_whatever_came_before_it(tmp_path):
    import saved_models

    path, tests = saved_models.plain(tmp_path / "hub"), str(saved_models.__file__).rpartition("/")[0]
    script = f"import sys\nsys.path.insert(0, {tests!r})\n" + SCRIPT
    first, second = (run_python(script, path, count).stdout.split("key ")[1:] for count in (0, 3))
    assert len(first) == 2 and first == second


def test_names_flags_and_seeds_play_no_part():
    first = filled(network())
    keras.layers.Dense(1)
    second = filled(network())
    second.trainable = False
    assert [layer.name for layer in first.layers] != [layer.name for layer in second.layers]
    assert keys.of_network(first) == keys.of_network(second)


def test_a_nested_model_that_is_called_in_inference_mode_has_no_names_in_its_key():
    def nested():
        inputs = keras.Input((3,))
        return filled(keras.Model(inputs, network()(inputs, training=False)))

    assert keys.of_network(nested()) == keys.of_network(nested())


@pytest.mark.parametrize("change", [{"width": 5}, {"factor": 3.0}, {"swap": True}])
def test_another_graph_has_another_key(change):
    assert keys.of_network(filled(network())) != keys.of_network(filled(network(**change)))


def test_one_weight_that_moves_a_little_changes_the_key():
    model = filled(network())
    before = keys.of_network(model)
    model.weights[-1].assign(model.weights[-1] + 1e-7)
    assert keys.of_network(model) != before


def test_large_constants_of_the_graph_count_to_the_last_number():
    """The `repr` of a large array leaves its middle out."""
    table = np.zeros((1, 5000), "float32")
    other = table.copy()
    other[0, 2500] = 1.0

    def key(array):
        return keys.of_network(filled(network(width=5000, table=array)))

    assert str(table) == str(other)
    assert key(table) == key(table.copy()) != key(other)
    assert key(tf.constant(table)) != key(tf.constant(other))


def test_a_config_with_an_array_counts_to_the_last_number():
    class Shift(keras.layers.Layer):
        def __init__(self, table):
            super().__init__()
            self.table = table

        def call(self, x):
            return x + self.table

        def get_config(self):
            return super().get_config() | {"table": self.table}

    def key(value):
        table = np.zeros(5000, "float32")
        table[2500] = value
        inputs = keras.Input((5000,))
        return keys.of_network(keras.Model(inputs, Shift(table)(inputs)))

    assert key(0) == key(0) != key(1)


def test_a_layer_without_a_config_is_refused():
    inputs = keras.Input((3,))
    with pytest.raises(ValueError, match=r"The layer 'bare\w*' \(Bare\) has no `get_config`.*leave `directory` out"):
        keys.of_network(keras.Model(inputs, bare(lambda x: x)(inputs)))


def test_a_frozen_prefix_of_another_depth_has_another_key(small_backbone):
    model = kt.attach(small_backbone(), kt.heads.Classifier(2))
    found = set()
    for last in ("block_2", "block_3", 0):
        kt.unfreeze(model, last)
        found.add(keys.of_network(split(model)[0]))
    assert len(found) == 3


def test_elements_differ_by_value_dtype_shape_and_text():
    elements = [
        (np.zeros(4, "float32"), np.zeros(4, "int32")),
        (np.zeros(4, "float32"), np.ones(4, "int32")),
        (np.zeros(4, "float64"), np.zeros(4, "int32")),
        (np.zeros((4, 1), "float32"), np.zeros(4, "int32")),
        (np.array(["a", "b"], object), np.zeros(2, "int32")),
        (np.array(["a", "c"], object), np.zeros(2, "int32")),
        (np.zeros(0, "float32"),),
    ]
    digests = {keys.of_elements(hashlib.sha256(), element).hexdigest() for element in elements}
    assert len(digests) == len(elements)
    again = keys.of_elements(hashlib.sha256(), {"a": np.zeros(4, "float32"), "b": np.zeros(4, "int32")}).hexdigest()
    assert again in digests


def test_words():
    assert keys.of_words("a", None) == keys.of_words("a", None) != keys.of_words("a", "None")


def test_what_a_lookup_has_learnt_is_in_the_key():
    def key(*words):
        vectors = keras.layers.TextVectorization(max_tokens=8, output_sequence_length=2)
        vectors.adapt(list(words))
        inputs = keras.Input((), dtype="string")
        return keys.of_network(keras.Model(inputs, vectors(inputs)))

    assert key("cat dog") == key("cat dog") != key("cat cow")


def key_of(layer, shape=(3,), dtype="float32"):
    inputs = keras.Input(shape, dtype=dtype)
    return keys.of_network(filled(keras.Model(inputs, layer(inputs))))


def test_the_precision_that_layers_compute_in_counts():
    """The variables are float32 in both, and so may the outputs be."""
    assert key_of(keras.layers.Dense(4, dtype="float32")) != key_of(keras.layers.Dense(4, dtype="mixed_float16"))
    assert key_of(keras.layers.Dense(4, dtype="float32")) == key_of(keras.layers.Dense(4, dtype="float32"))


def test_layers_within_layers_have_no_names_in_the_key():
    def within():
        return keras.layers.TimeDistributed(keras.layers.Dense(2, kernel_initializer=keras.initializers.RandomNormal()))

    assert key_of(within(), (5, 3)) == key_of(within(), (5, 3))


def test_names_and_seeds_in_the_config_of_ones_own_layer_count():
    class Filtered(keras.layers.Layer):
        def __init__(self, kind, seed):
            super().__init__()
            self.kind, self.seed = kind, seed

        def call(self, x):
            return x * np.random.default_rng(self.seed).normal()

        def get_config(self):
            return super().get_config() | {"kind": {"name": self.kind}, "seed": self.seed}

    found = {key_of(Filtered(*given)) for given in (("sobel", 1), ("sobel", 2), ("box", 1))}
    assert len(found) == 3 and key_of(Filtered("box", 1)) in found


def test_names_and_seeds_in_the_config_of_ones_own_objects_count():
    """An initializer draws numbers that the weights hold, but what another object with a seed does only its author knows."""
    @keras.saving.register_keras_serializable("test_keys")
    class Filter:
        def __init__(self, name, seed):
            self.name, self.seed = name, seed

        def get_config(self):
            return {"name": self.name, "seed": self.seed}

    class Filtered(keras.layers.Layer):
        def __init__(self, kind):
            super().__init__()
            self.kind = kind

        def call(self, x):
            return x * len(self.kind.name) * self.kind.seed

        def get_config(self):
            return super().get_config() | {"kind": keras.saving.serialize_keras_object(self.kind)}

    found = {key_of(Filtered(Filter(*given))) for given in (("sobel", 1), ("sobel", 2), ("box", 1))}
    assert len(found) == 3 and key_of(Filtered(Filter("box", 1))) in found


@pytest.mark.parametrize("layer", [keras.layers.TextVectorization, keras.layers.StringLookup])
def test_the_weights_of_words_count(layer):
    def key(weights):
        made = layer(output_mode="tf_idf")
        made.set_vocabulary(["cat", "dog"], weights)
        return key_of(made, (1,), "string")

    assert key([1.0, 2.0]) == key([1.0, 2.0]) != key([1.0, 2.5])


def test_words_that_a_lookup_within_ones_own_layer_has_learnt_count():
    class Words(keras.layers.Layer):
        def __init__(self, text):
            super().__init__()
            self.find = keras.layers.StringLookup()
            self.find.adapt(tf.constant(text.split()))

        def call(self, x):
            return self.find(x)

        def get_config(self):
            return super().get_config()

    assert key_of(Words("cat dog"), (1,), "string") == key_of(Words("cat dog"), (1,), "string") != key_of(
        Words("cat cow"), (1,), "string")


FUNCTIONS = [
    "f = lambda x: x * 2.0",
    "f = lambda x: x * 3.0",
    "f = lambda x: x - 2.0",
    "f = lambda x: x * a",
    "f = lambda x: x * b",
    "f = lambda x, k=2.0: x * k",
    "f = lambda x, k=3.0: x * k",
    "f = lambda x, *, k=2.0: x * k",
    "f = lambda x, *, k=3.0: x * k",
    "f = (lambda k: lambda x: x * k)(2.0)",
    "f = (lambda k: lambda x: x * k)(3.0)",
    "f = (lambda k: lambda x: x * k)(numpy.eye(3))",
    "f = (lambda k: lambda x: x * k())(lambda: 2.0)",
    "f = (lambda k: lambda x: x * k())(lambda: 3.0)",
    "f = lambda x: (lambda z: z * 2.0)(x)",
    "f = lambda x: (lambda z: z * 3.0)(x)",
    "def f(x): return x * 2.0 if len(x.shape) in {2, 3} else x",
    "def f(x): return x * 3.0 if len(x.shape) in {2, 3} else x",
    "def f(x): return x * 3.0 if len(x.shape) in {2, 4} else x",
]


def function(text, file="a.py", lines=0):
    """The function `f` of a text that stands in `file` after so many lines."""
    names = {"__name__": "__main__", "a": 2.0, "b": 2.0, "numpy": np}
    exec(compile("\n" * lines + text, file, "exec"), names)
    return names["f"]


def test_functions_count_by_what_they_compute_and_not_by_where_they_stand():
    """A notebook's cell has the name of its process, and the first lines of a script change."""
    def all_keys(**place):
        return [key_of(keras.layers.Lambda(function(text, **place))) for text in FUNCTIONS]

    def within(text, **place):
        return key_of(keras.layers.TimeDistributed(keras.layers.Lambda(function(text, **place))), (2, 3))

    found = all_keys()
    assert len(set(found)) == len(FUNCTIONS)
    assert found == all_keys(file="/tmp/ipykernel_7/8.py", lines=5)
    assert within(FUNCTIONS[0]) == within(FUNCTIONS[0], lines=5) != within(FUNCTIONS[1])


def test_functions_of_masks_and_functions_that_name_themselves():
    def masked(text, **place):
        return key_of(keras.layers.Lambda(function("f = lambda x: x"), mask=function(text, **place)))

    assert masked("f = lambda x, m: m") == masked("f = lambda x, m: m", lines=5) != masked("f = lambda x, m: None")
    recursive = """
def made(factor):
    def f(x, more=2):
        return f(x, more - 1) * factor if more else x
    return f
f = made({})
"""
    twice, again, other = (keras.layers.Lambda(function(recursive.format(k), lines=k)) for k in (2, 2, 3))
    assert key_of(twice) == key_of(again) != key_of(other)


def test_functions_of_keras_count_by_name():
    """What TensorFlow wraps them into says where it is in memory."""
    def key(f):
        return key_of(keras.layers.Lambda(f))

    assert key(tf.nn.relu) == key(tf.nn.relu) != key(tf.nn.tanh)
    inputs = keras.Input((3,))
    assert " at 0x" not in str(keys.of_graph(keras.Model(inputs, keras.layers.Lambda(tf.nn.relu)(inputs))))
