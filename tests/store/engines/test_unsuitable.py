"""The errors that let another engine try."""

from keras_transfer.store.engines.unsuitable import Missing, Unsuitable


def test_it_is_a_value_error_that_says_why():
    error = Unsuitable("the network has text in it")
    assert isinstance(error, ValueError) and str(error) == "the network has text in it"


def test_a_missing_package_is_an_import_error_too():
    error = Missing("install it")
    assert isinstance(error, ImportError) and isinstance(error, Unsuitable) and str(error) == "install it"
