import keras
import pytest

import keras_transfer as kt
from keras_transfer.exporting.subject import subject
from keras_transfer.heads import Classifier


def test_a_model_of_photos(network):
    found = subject(network)
    assert (found.kind, found.size, found.fit) == ("photos", (16, 16), "stretch")
    assert list(found.heads) == ["colour", "light", "rank", "tags"] and list(found.inputs) == ["pixels"]
    assert found.classes == {"colour": ["red", "grün", "blue"], "rank": ["0", "1", "2", "3"], "tags": ["warm", "cold"]}
    assert found.labels == found.classes and found.config == {"image_size": [16, 16], "fit": "stretch"}
    assert found.features.shape == (None, 12)


def test_labels_in_place_of_the_heads_own(network):
    found = subject(network, labels={"colour": ["r", "g", "b"], "light": {"mean": 1, "std": 2}})
    assert found.classes["colour"] == ["r", "g", "b"] and found.classes["tags"] == ["warm", "cold"]
    assert found.labels["light"] == {"mean": 1, "std": 2}
    with pytest.raises(ValueError, match="`labels` has 2 names for head 'colour', which has 3 classes"):
        subject(network, labels={"colour": ["r", "g"]})
    with pytest.raises(ValueError, match="Unknown head of `labels` 'color'. Did you mean 'colour'"):
        subject(network, labels={"color": ["r", "g", "b"]})


def free(channels=3):
    inputs = keras.Input((None, None, channels))
    return kt.attach(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)), Classifier(["x", "y"]))


def test_photos_of_any_size_need_a_size():
    with pytest.raises(ValueError, match="takes photos of any size, so it must be said: give config="):
        subject(free())
    assert subject(free(), config={"image_size": 24, "fit": "pad"}).size == (24, 24)
    assert subject(free(), config={"image_size": [24, 32]}).config == {"image_size": [24, 32], "fit": "stretch"}
    with pytest.raises(ValueError, match="Unknown fit of the config: 'padd'. Did you mean 'pad'"):
        subject(free(), config={"image_size": 24, "fit": "padd"})


def test_a_size_that_contradicts_the_model_is_refused(network):
    with pytest.raises(ValueError, match="takes photos of 16 x 16 pixels, and the config says 24 x 24"):
        subject(network, config={"image_size": 24})


def test_one_head_has_its_labels_alone():
    found = subject(free(), ["cat", "dog"], {"image_size": 8})
    assert found.classes == {"classifier": ["cat", "dog"]} and found.labels == ["cat", "dog"]
    assert subject(free(), config={"image_size": 8}).labels == ["x", "y"]
    assert subject(free(), {"classifier": ["cat", "dog"]}, {"image_size": 8}).classes == {"classifier": ["cat", "dog"]}


def test_other_kinds_of_input(numbers):
    assert subject(free(channels=1)).kind == "tensors"
    found = subject(numbers)
    assert found.kind == "tensors" and list(found.inputs) == ["a", "b"] and found.heads == {"sum": None}
    assert found.features is None and found.structured({"b": 1, "a": 2}) == {"a": 2, "b": 1}
    words = keras.Input((), dtype="string", name="words")
    assert subject(keras.Model(words, keras.layers.Hashing(4)(words))).kind == "text"


def test_inputs_by_place_have_the_names_of_their_layers():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    found = subject(keras.Model([b, a], keras.layers.Subtract(name="less")([b, a])))
    assert list(found.inputs) == ["b", "a"] and found.structured({"a": 1, "b": 2}) == [2, 1]
    assert found.named("it") == {"less": "it"}


def test_what_is_no_model_is_refused():
    for bad in (3, keras.Sequential([keras.layers.Dense(2)])):
        with pytest.raises(TypeError, match="`model` must be a Functional or Sequential keras.Model that is built"):
            subject(bad)
    with pytest.raises(FileNotFoundError, match="There is no model at 'nowhere'"):
        subject("nowhere")
