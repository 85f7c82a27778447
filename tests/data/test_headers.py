"""Numbers out of bytes, against Python's own."""

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.data.headers import SPARE, begins, content, number

BYTES = bytes([1, 2, 3, 250, 5])


def test_content_is_the_bytes_and_zeross():
    np.testing.assert_array_equal(content(BYTES), [1, 2, 3, 250, 5] + [0] * SPARE)
    np.testing.assert_array_equal(content(b""), [0] * SPARE)


@pytest.mark.parametrize("little", [False, True])
@pytest.mark.parametrize("at, size", [(0, 1), (1, 2), (1, 4), (2, 3)])
def test_number_is_pythons(at, size, little):
    expected = int.from_bytes(BYTES[at : at + size], "little" if little else "big")
    assert number(content(BYTES), at, size, little) == expected


def test_number_takes_tensors():
    assert number(content(BYTES), tf.constant(2, tf.int64), 2, tf.constant(True)) == 3 + 256 * 250


def test_bytes_outside_read_as_zeros():
    data = content(BYTES)
    assert number(data, 4, 2) == 5 * 256
    assert number(data, 4, 2, little=True) == 5
    assert number(data, 10**12, 4) == 0


def test_begins_compares_every_byte():
    data = content(BYTES)
    assert begins(data, 0, b"\x01\x02") and begins(data, 3, b"\xfa\x05")
    assert not begins(data, 0, b"\x01\x03") and not begins(data, 1, b"\x01\x02")
    assert not begins(data, 4, b"\x05\x06") and not begins(content(b""), 0, b"GIF8")
