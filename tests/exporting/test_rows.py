"""Decoding of a whole request. Every kind of photo is tested in tests/data; here: what happens to the broken ones."""

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.data import decode
from keras_transfer.exporting.rows import READERS, strict, tolerant


@pytest.fixture(scope="module")
def read():
    spec = [tf.TensorSpec([None], tf.string)]
    return {
        name: tf.function(lambda bytes, reader=reader: reader(bytes, (16, 16), "crop"), spec, autograph=False)
        for name, reader in READERS.items()
    }


def test_both_give_the_pixels_of_decode(read, photos):
    good = [photos[0], photos[1], photos[3]]
    expected = np.stack([decode(photo, (16, 16), "crop") for photo in good])
    for reader in read.values():
        pixels, readable = reader(tf.constant(good))
        assert np.array_equal(pixels, expected) and readable.numpy().tolist() == [True] * 3


def test_a_broken_photo_leaves_the_others_as_they_are(read, photos):
    torn, empty = photos[0][: len(photos[0]) // 2], b""
    pixels, readable = read["row"](tf.constant([torn, photos[0], *photos, empty]))
    assert readable.numpy().tolist() == [False, True, True, True, False, True, False]
    alone, _ = read["row"](tf.constant([photos[0], photos[0], photos[1], photos[3]]))
    assert np.array_equal(pixels.numpy()[readable.numpy()], alone) and not pixels.numpy()[~readable.numpy()].any()


def test_nothing_readable_and_nothing_at_all(read):
    pixels, readable = read["row"](tf.constant([b"x", b"y"]))
    assert pixels.shape == (2, 16, 16, 3) and not np.any(pixels) and not np.any(readable)
    for reader in read.values():
        pixels, readable = reader(tf.constant([], tf.string))
        assert pixels.shape == (0, 16, 16, 3) and readable.shape == (0,)


def test_it_is_the_same_every_time(read, photos):
    many = tf.constant(photos * 8)
    first = read["row"](many)
    for _ in range(5):
        assert all(np.array_equal(a, b) for a, b in zip(first, read["row"](many)))


def test_a_broken_photo_fails_a_strict_request(read, photos):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a photo: the content is none of JPEG, PNG"):
        read["request"](tf.constant(photos))


def test_only_operations_of_tensorflow_itself(read):
    """Nothing in the graph calls back into Python, as `tf.py_function` would."""
    for reader, needs in ((tolerant, "IgnoreErrorsDataset"), (strict, "DecodeJpeg")):
        graph = (
            next(f for name, f in read.items() if READERS[name] is reader).get_concrete_function().graph.as_graph_def()
        )
        operations = {node.op for node in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
        assert needs in operations and not {op for op in operations if op.startswith(("PyFunc", "EagerPyFunc"))}
