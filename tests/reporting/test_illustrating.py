import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.evaluating import answers
from keras_transfer.reporting import illustrating
from keras_transfer.reporting.sections import section


def illustrated(model, dataset):
    given, heads = answers(model, dataset), kt.assembling.heads_of(model)
    parts = [section(name, heads[name], *given[name]) for name in given]
    illustrating.illustrate(model, heads, dataset, given, parts)
    return {part["name"]: part for part in parts}


def test_photos_for_every_mistake_and_attention_where_there_are_classes(several):
    parts = illustrated(*several)
    assert all(m.photo and m.title == f"row {m.row}" for part in parts.values() for m in part["mistakes"])
    for name in ("colour", "tags", "level"):
        assert parts[name]["mistakes"] and all(m.looked_at for m in parts[name]["mistakes"])
        assert "Grad-CAM on maps of 7 x 7 places" in parts[name]["looking"]
    assert parts["light"]["looking"] == "" and not any(m.looked_at for m in parts["light"]["mistakes"])


def test_it_is_the_photo_of_that_row_whatever_the_kind_of_set(several):
    model, (x, y) = several
    rows, truth = [0, 21, 39], y
    for dataset in ((x, y), tf.data.Dataset.from_tensor_slices((x, y)).batch(7), Batches(x, y)):
        found = illustrating.elements(dataset, rows, truth)
        assert all(np.array_equal(found[row], x[row]) for row in rows) and len(found) == 3


class Batches(keras.utils.PyDataset):
    """Batches of 16 as a PyDataset."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 3

    def __getitem__(self, number):
        rows = slice(16 * number, 16 * number + 16)
        return self.x[rows], {name: labels[rows] for name, labels in self.y.items()}


def test_a_set_in_another_order_each_time_is_refused(several):
    model, (x, y) = several
    shuffled = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(40, seed=1).batch(8)
    with pytest.raises(ValueError, match="`dataset` gives its elements in another order each time"):
        illustrated(model, shuffled)


def test_photos_of_files_are_named_by_the_end_of_their_path(photo_folder, small_backbone):
    train, valid, labels = kt.data.photos(photo_folder, size=16, validation=0.3, augment=[keras.layers.RandomFlip()])
    model = kt.attach(small_backbone(), kt.heads.Classifier(labels))
    (part,) = illustrated(model, valid).values()
    names = {"/".join(file.split("/")[-2:]) for file in kt.data.info(valid).files}
    assert part["mistakes"] and {m.title for m in part["mistakes"]} <= names
    known = kt.data.info(train)
    pixels = illustrating.elements(train, [2], {})[2]  # of the shuffled set: the file itself, not augmented
    assert np.array_equal(pixels, kt.data.decode(tf.io.read_file(known.files[2]), 16))


def test_where_there_is_nothing_to_look_at_it_is_said():
    inputs = keras.Input((6,))
    flat = kt.attach(keras.Model(inputs, keras.layers.Dense(4)(inputs)), kt.heads.Classifier(3))
    x, y = np.random.default_rng(0).normal(size=(30, 6)).astype("float32"), np.arange(30) % 3
    (part,) = illustrated(flat, (x, y)).values()
    assert part["looking"] == "The input is no photo, so there is nothing to show of where the network looked."
    assert part["mistakes"] and part["mistakes"][0].photo is None
    pixels = keras.Input((4, 4, 3))
    dense = kt.attach(
        keras.Model(pixels, keras.layers.Dense(4)(keras.layers.Flatten()(pixels))), kt.heads.Classifier(3)
    )
    (part,) = illustrated(dense, (np.random.default_rng(0).uniform(0, 255, (30, 4, 4, 3)), y)).values()
    assert part["looking"].startswith("The backbone has no maps") and part["mistakes"][0].photo


def test_texts_are_shown_themselves():
    text = np.array("a long text " * 60)
    assert illustrating._title(None, 3, text).endswith("…") and len(illustrating._title(None, 3, text)) == 301
    assert (
        illustrating._title(None, 3, np.array("né".encode())) == "né" and illustrating._title(None, 3, None) == "row 3"
    )
