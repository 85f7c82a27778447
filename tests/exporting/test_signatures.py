import keras
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.exporting.signatures import build
from keras_transfer.exporting.subject import subject


def test_what_photos_can_be_sent_as(network):
    built = build(subject(network))
    assert {name: (s.takes, s.gives) for name, s in built.items()} == {
        "serving_default": ("bytes", "answers"),
        "pixels": ("pixels", "answers"),
        "pixels_uint8": ("rounded", "answers"),
        "features": ("bytes", "features"),
    }
    assert next(iter(built)) == "serving_default"  # ExportArchive takes the first one for it
    assert built["serving_default"].specs == [tf.TensorSpec([None], tf.string, "image_bytes")]
    assert built["pixels_uint8"].specs == [tf.TensorSpec([None, 16, 16, 3], tf.uint8, "pixels")]


def test_the_keys_are_the_names_of_the_heads(network):
    said = build(subject(network))["pixels"].function(tf.zeros((2, 16, 16, 3)))
    assert {key: tuple(value.shape) for key, value in said.items()} == {
        "colour/label": (2,),
        "colour/probability": (2,),
        "colour/probabilities": (2, 3),
        "light": (2, 1),
        "rank/label": (2,),
        "rank/probability": (2,),
        "rank/probabilities": (2, 4),
        "tags/label": (2,),
        "tags/probabilities": (2, 2),
    }


def test_a_model_of_uint8_has_no_other_pixels():
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    model = kt.attach(
        keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1.0)(inputs))),
        kt.heads.Classifier(2),
    )
    built = build(subject(model))
    assert list(built) == ["serving_default", "pixels", "features"] and built["pixels"].specs[0].dtype == tf.uint8
    photo = tf.io.encode_png(tf.constant(255, tf.uint8, (8, 8, 3)))
    assert built["features"].function(photo[None])["features"].numpy().tolist() == [[255.0, 255.0, 255.0]]


def test_the_head_of_a_single_output_gives_its_name():
    inputs = keras.Input((3,), name="x")
    model = kt.attach(keras.Model(inputs, keras.layers.Dense(2)(inputs)), kt.heads.Classifier(2))
    built = build(subject(model), top_k=1)
    said = built["serving_default"].function({"x": tf.zeros((1, 3))})
    assert sorted(said) == [
        f"classifier/{word}" for word in ("label", "probabilities", "probability", "top_labels", "top_probabilities")
    ]
    assert built["features"].function({"x": tf.zeros((1, 3))})["features"].shape == (1, 2)
    assert built["serving_default"].specs == [{"x": tf.TensorSpec((None, 3), tf.float32, "x")}]


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_text_is_one_string_a_row_whatever_the_models_shape(shape):
    words = keras.Input(shape, dtype="string", name="words")
    built = build(subject(keras.Model(words, keras.layers.Hashing(4, name="bins")(words))))
    assert list(built) == ["serving_default"] and built["serving_default"].specs[0]["text"].shape == (None,)
    assert built["serving_default"].function({"text": tf.constant(["a", "b"])})["bins"].shape == (2, *shape)
