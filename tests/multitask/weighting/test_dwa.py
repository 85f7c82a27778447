import numpy as np
import pytest
from scipy.special import softmax

from keras_transfer.multitask.weighting.dwa import DWA
from multitask.weighting import laws


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(DWA)


@pytest.mark.parametrize("law", [laws.scaling, laws.task_scaling_of_weights])
def test_scaling(law):
    assert law(DWA)


def epochs(weighting, *losses):
    """Trains through epochs, given as lists of the losses of their batches; NaN for an absent task."""
    for epoch in losses:
        for batch in epoch:
            seen = ~np.isnan(batch)
            laws.weights_of(weighting, np.nan_to_num(batch), present=seen)
        weighting.on_epoch_end()


def test_weights_by_hand():
    weighting = laws.built(DWA, 2)
    epochs(weighting, [[2.0, 4.0], [4.0, 8.0]])  # means 3, 6
    assert laws.weights_of(weighting, [1, 1]).tolist() == [1, 1]
    weighting = laws.built(DWA, 2)
    epochs(weighting, [[2.0, 4.0], [4.0, 8.0]], [[1.5, 6.0]])  # r = 1/2, 1; exp(r / 2) = 1.2840, 1.6487
    assert np.allclose(laws.weights_of(weighting, [1, 1]), [0.87565, 1.12435], atol=1e-5)


def test_the_weights_of_an_epoch_do_not_change_within_it():
    weighting = laws.built(DWA, 2)
    epochs(weighting, [[2.0, 4.0]], [[1.0, 4.0]])
    first = laws.weights_of(weighting, [100.0, 0.01])
    assert np.array_equal(first, laws.weights_of(weighting, [1.0, 1.0])) and first[1] > first[0]


@pytest.mark.parametrize("temperature", [0.5, 2.0, 10.0])
def test_is_the_softmax_of_scipy(temperature):
    means = np.array([[2.0, 1.0, 3.0], [1.0, 0.9, 0.3], [0.9, 0.2, 0.3]])
    weighting = laws.built(lambda: DWA(temperature))
    epochs(weighting, *[[mean] for mean in means])
    assert np.allclose(laws.weights_of(weighting, [1, 1, 1]), 3 * softmax(means[2] / means[1] / temperature), rtol=1e-5)


def test_the_larger_the_temperature_the_more_even():
    spread = []
    for temperature in (0.5, 2.0, 1e6):
        weighting = laws.built(lambda: DWA(temperature), 2)
        epochs(weighting, [[1.0, 1.0]], [[0.1, 0.9]])
        spread.append(np.ptp(laws.weights_of(weighting, [1, 1])))
    assert spread[0] > spread[1] > spread[2] and spread[2] < 1e-5


def test_means_are_over_the_batches_with_labels():
    gaps, plain = laws.built(DWA, 2), laws.built(DWA, 2)
    epochs(gaps, [[2.0, np.nan], [np.nan, 3.0], [4.0, np.nan]], [[1.0, 1.0]])
    epochs(plain, [[3.0, 3.0]], [[1.0, 1.0]])
    assert np.allclose(laws.weights_of(gaps, [1, 1]), laws.weights_of(plain, [1, 1]))


def test_an_epoch_without_labels_is_left_out():
    gaps, plain = laws.built(DWA, 2), laws.built(DWA, 2)
    epochs(gaps, [[2.0, 4.0]], [[1.0, np.nan]], [[0.9, 1.0]])
    epochs(plain, [[1.0, 4.0]], [[0.9, 1.0]])
    assert np.allclose(laws.weights_of(gaps, [1, 1]), laws.weights_of(plain, [1, 1]))
    assert np.ptp(laws.weights_of(plain, [1, 1])) > 0.1, "the control"


@pytest.mark.parametrize("first, second", [(0.0, 1.0), (1.0, 0.0), (-1.0, 2.0), (-1.0, -2.0)])
def test_means_that_are_not_above_zero_say_nothing(first, second):
    weighting = laws.built(DWA, 2)
    epochs(weighting, [[first, 1.0]], [[second, 1.0]])
    assert np.allclose(laws.weights_of(weighting, [1, 1]), 1)


def test_a_temperature_out_of_range():
    for temperature in (0, -1.0):
        with pytest.raises(ValueError, match=f"`temperature` must be a number above 0. Received: {temperature}"):
            DWA(temperature)
