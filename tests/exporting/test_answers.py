import numpy as np
import tensorflow as tf

from keras_transfer.exporting.answers import answers, blanked
from keras_transfer.heads import Classifier, MultiLabel, Ordinal, Regressor

LOG3 = float(np.log(3))


def shown(said):
    return {key: value.numpy().tolist() for key, value in said.items()}


def test_one_class_of_two_by_hand():
    # softmax(0, log 3) = (1/4, 3/4)
    said = answers("pet", Classifier(["cat", "dog"]), ["cat", "dog"], tf.constant([[0.0, LOG3], [LOG3, 0.0]]))
    assert [said[k].numpy().tolist() for k in ("pet/label",)] == [[b"dog", b"cat"]]
    assert np.allclose(said["pet/probability"], [0.75, 0.75]) and np.allclose(
        said["pet/probabilities"], [[0.25, 0.75], [0.75, 0.25]]
    )
    assert list(said) == ["pet/probabilities", "pet/label", "pet/probability"]


def test_the_best_k_by_hand():
    outputs = tf.math.log([[0.5, 0.2, 0.3]])
    said = answers("pet", Classifier(3), ["a", "b", "c"], outputs, top_k=2)
    assert said["pet/top_labels"].numpy().tolist() == [[b"a", b"c"]] and np.allclose(
        said["pet/top_probabilities"], [[0.5, 0.3]]
    )
    assert answers("pet", Classifier(3), ["a", "b", "c"], outputs, top_k=9)["pet/top_labels"].shape == (1, 3)


def test_several_labels_are_joined():
    outputs = tf.constant([[5.0, -5.0, 5.0], [-5.0, -5.0, -5.0], [-5.0, 5.0, -5.0]])
    said = answers("t", MultiLabel(3), ["x", "ü", "z"], outputs, top_k=1)
    assert said["t/label"].numpy().tolist() == [b"x|z", b"", "ü".encode()] and "t/probability" not in said
    assert np.allclose(said["t/probabilities"], 1 / (1 + np.exp(-outputs.numpy()))) and said["t/top_labels"].shape == (
        3,
        1,
    )


def test_classes_with_an_order_and_numbers():
    # P(> low) = 3/4, P(> middle) = 1/4
    said = answers("o", Ordinal(3), ["low", "middle", "high"], tf.constant([[LOG3, -LOG3]]))
    assert np.allclose(said["o/probabilities"], [[0.25, 0.5, 0.25]]) and said["o/label"].numpy().tolist() == [b"middle"]
    outputs = tf.constant([[4.5]])
    assert shown(answers("age", Regressor(), None, outputs)) == {"age": [[4.5]]}
    assert shown(answers("other", None, None, outputs, top_k=3)) == {"other": [[4.5]]}


def test_answers_of_unreadable_rows_are_empty_even_if_they_are_no_numbers():
    said = {"label": tf.constant(["a", "b"]), "p": tf.constant([[0.5, 0.5], [np.nan, 1.0]]), "n": tf.constant([3, 4])}
    assert shown(blanked(said, tf.constant([True, False]))) == {
        "label": [b"a", b""],
        "p": [[0.5, 0.5], [0.0, 0.0]],
        "n": [3, 0],
    }
