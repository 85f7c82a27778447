"""The error that lets another engine try."""

from keras_transfer.store.engines.unsuitable import Unsuitable


def test_it_is_a_value_error_that_says_why():
    error = Unsuitable("the network has text in it")
    assert isinstance(error, ValueError) and str(error) == "the network has text in it"
