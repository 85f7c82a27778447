"""The plain sum."""

import pytest
import tensorflow as tf

from keras_transfer.multitask.weighting.equal import Equal
from multitask.weighting import laws


@pytest.mark.parametrize("law", [*laws.ALL, laws.scaling])
def test_laws(law):
    assert law(Equal)


def test_every_task_that_is_there_counts_once():
    weighting = Equal()
    weighting.build(3)
    weights = weighting.call(tf.constant([5.0, 0.0, -1.0]), None, tf.constant([True, False, True]))
    assert weights.numpy().tolist() == [1, 0, 1] and not weighting.needs_gramian
