import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import logsumexp

from keras_transfer.multitask.weighting.stch import STCH
from multitask.weighting import laws


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(lambda: STCH(warmup=2 if law is laws.absent_state else 1))  # after the warm-up the state rests


def test_scaling_of_all_losses_does_not_change_the_step():
    assert laws.scaling(STCH, degree=0)


def test_scaling_of_each_loss_does_not_change_the_step():
    assert laws.task_scaling(STCH)


def warm(losses, **options):
    """A weighting after the warm-up, in which the losses were these."""
    weighting = laws.built(lambda: STCH(**options), len(losses))
    laws.weights_of(weighting, losses)
    weighting.on_epoch_end()
    return weighting


def test_minimizes_the_sum_of_logarithms_in_the_warm_up():
    assert np.allclose(laws.weights_of(laws.built(STCH, 2), [0.5, 4.0]), [2.0, 0.25])


def test_weights_by_hand():
    # in units of the nadir 1/2 and 2; mu = 1/2 squares them: p = 1/17, 16/17; w = 2 p / L
    weights = laws.weights_of(warm([2.0, 4.0], mu=0.5), [1.0, 8.0])
    assert np.allclose(weights, [2 / 17, 2 * 16 / 17 / 8])


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 3.0])
def test_weights_are_the_derivative_of_the_smooth_maximum(mu):
    nadir, losses = np.array([2.0, 1.0, 5.0]), np.array([1.0, 0.9, 4.0])
    smooth = lambda x: 3 * mu * logsumexp(np.log(x / nadir) / mu)  # noqa: E731
    expected = approx_fprime(losses, smooth, 1e-7)
    assert np.allclose(laws.weights_of(warm(nadir, mu=mu), losses), expected, rtol=1e-4, atol=1e-5)


def test_a_small_mu_trains_the_worst_task_only_and_a_large_one_the_sum_of_logarithms():
    losses = np.array([1.0, 8.0, 3.0])
    assert np.allclose(laws.weights_of(warm([2.0, 4.0, 3.0], mu=0.01), losses), [0, 3 / 8, 0])
    assert np.allclose(laws.weights_of(warm([2.0, 4.0, 3.0], mu=1e4), losses), 1 / losses, rtol=1e-3)


def test_the_nadir_is_the_mean_of_the_last_epoch_of_the_warm_up():
    weighting = laws.built(lambda: STCH(mu=0.5, warmup=2), 2)
    for epoch in ([[90.0, 1.0]], [[1.0, 6.0], [3.0, 2.0]], [[5.0, 5.0]]):
        for losses in epoch:
            laws.weights_of(weighting, losses)
        weighting.on_epoch_end()
    assert weighting.nadir.numpy().tolist() == [2.0, 4.0]
    assert np.allclose(laws.weights_of(weighting, [1.0, 8.0]), [2 / 17, 4 / 17])


def test_a_task_without_a_label_in_the_warm_up_gets_its_nadir_later():
    weighting = laws.built(lambda: STCH(mu=0.5), 2)
    laws.weights_of(weighting, [2.0, 0.0], present=[True, False])
    weighting.on_epoch_end()
    # 1/2 of the nadir, squared, against 1: p = 1/5, 4/5
    assert np.allclose(laws.weights_of(weighting, [1.0, 8.0]), [2 / 5, 2 * 4 / 5 / 8])
    weighting.on_epoch_end()
    assert weighting.nadir.numpy().tolist() == [2.0, 8.0]


def test_what_is_below_the_floor_counts_as_the_floor():
    floor = laws.weights_of(warm([2.0, 4.0]), [1e-8, 4.0])
    for loss in (0.0, -1.0):
        assert np.array_equal(laws.weights_of(warm([2.0, 4.0]), [loss, 4.0]), floor)


@pytest.mark.parametrize(
    "options, error",
    [
        ({"mu": 0}, "`mu` must be a number above 0. Received: 0"),
        ({"warmup": 0}, "`warmup` must be a whole number of at least 1. Received: 0"),
    ],
)
def test_arguments_out_of_range(options, error):
    with pytest.raises(ValueError, match=error):
        STCH(**options)
