import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.store import memory


@pytest.fixture
def model(small_backbone):
    return kt.attach(small_backbone(), kt.heads.Classifier(3))


def rows(dataset):
    batches = list(dataset)
    return [np.concatenate([np.asarray(b[k]) for b in batches]) for k in (0, 1)]


def test_features_and_labels_come_in_the_order_of_the_photos(model, photo_folder):
    """Epoch by epoch, batch by batch: what the frozen backbone gives for the photos of the same batch."""
    train, valid, _ = kt.data.photos(photo_folder, size=16, batch_size=8)
    kt.freeze(model)
    tail, features, held = memory.with_features(model, train, valid)
    prefix = keras.Model(model.input, model.get_layer("features").output)
    for epoch in (0, 3):
        for dataset in (train, features):
            kt.data.info(dataset).epoch.assign(epoch)
        (photos, labels), (computed, same) = rows(train), rows(features)
        assert np.array_equal(labels, same) and len(set(labels[:8])) > 1
        assert np.allclose(computed, prefix(photos, training=False), atol=1e-5)
        assert np.abs(computed[1:] - computed[:-1]).max() > 1e-2
    assert np.allclose(rows(held)[0], prefix(rows(valid)[0], training=False), atol=1e-5)
    assert np.array_equal(rows(held)[1], rows(valid)[1])
    assert len(features) == len(train) and [len(b[0]) for b in features] == [len(b[0]) for b in train]


def test_sample_weights_stay_with_their_photos(model, photo_folder):
    train, _, _ = kt.data.photos(photo_folder, size=16, batch_size=8)
    weighted = kt.data.balance(train, {0: 5.0})
    kt.freeze(model)
    _, features, _ = memory.with_features(model, weighted, None)
    batches = list(features)  # one epoch: the next would come in another order
    labels, weights = (np.concatenate([np.asarray(b[k]) for b in batches]) for k in (1, 2))
    assert np.array_equal(weights, np.where(labels == 0, 5.0, 1.0))


def test_it_is_done_only_where_it_is_exact(model, photo_folder, monkeypatch):
    train, valid, _ = kt.data.photos(photo_folder, size=16)
    augmented, _, _ = kt.data.photos(photo_folder, size=16, augment=keras.layers.RandomFlip())
    kt.freeze(model)
    assert memory.with_features(model, train, valid) is not None
    assert memory.with_features(model, augmented, valid) is None
    assert memory.with_features(model, train.take(1), valid) is None
    assert memory.with_features(model, train, valid.map(lambda x, y: (x, y))) is None
    kt.unfreeze(model, norms=True)
    assert memory.with_features(model, train, valid) is None
    kt.freeze(model)
    monkeypatch.setattr(memory, "LIMIT", 42 * 12 * 4 - 1)
    assert memory.with_features(model, train, valid) is None
