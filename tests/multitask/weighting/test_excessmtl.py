import numpy as np
import pytest

from keras_transfer.multitask.weighting.excessmtl import ExcessMTL
from multitask.weighting import laws


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(lambda: ExcessMTL(eta=0.5))


def weights_of(weighting):
    return np.exp(weighting.logs)


def reference(batches, eta):
    """The authors' algorithm on flat gradients, in NumPy: weights after each step."""
    tasks, weights, sums, start, history = len(batches[0].losses), None, 0.0, None, []
    weights = np.ones(tasks)
    for batch in batches:
        flat = np.concatenate([g.reshape(tasks, -1) for g in batch.gradients], 1).astype("float64")
        sums = sums + flat**2
        excess = np.einsum("ti,ti->t", flat / np.sqrt(sums + 1e-7), flat)
        if start is None:
            start = excess
        else:
            weights = weights * np.exp(eta * excess / start)
            weights = tasks * weights / weights.sum()
        history.append(weights)
    return np.stack(history)


def test_weights_by_hand():
    weighting = laws.built(lambda: ExcessMTL(eta=1.0), 2)
    ones, zeros = np.ones((2, 5)), np.zeros((2, 2, 4))
    laws.step(weighting, laws.Batch([1, 1], [ones, zeros]))
    assert np.allclose(weights_of(weighting), 1)  # E(0) = 5 and 5
    laws.step(weighting, laws.Batch([1, 1], [ones * [[1.0], [0.0]], zeros]))
    # E = 5 / sqrt 2 and 0, so exp(1 / sqrt 2) = 2.02812 against 1, to sum to 2
    assert np.allclose(weights_of(weighting), [1.33953, 0.66047], atol=1e-4)


def test_follows_the_authors_algorithm():
    made = laws.batches(6)
    weighting, expected = laws.built(lambda: ExcessMTL(eta=0.7)), reference(made, eta=0.7)
    for batch, weights in zip(made, expected):
        row, _ = laws.step(weighting, batch)
        assert np.allclose(weights_of(weighting), weights, rtol=1e-4)
        flat = np.concatenate([g.reshape(3, -1) for g in batch.gradients], 1)
        assert np.allclose(row, weights @ flat, rtol=1e-3, atol=1e-4)
    assert np.ptp(expected[-1]) > 0.1


def test_the_units_of_the_losses_do_not_matter_to_the_weights():
    plain, scaled = (laws.built(lambda: ExcessMTL(eta=0.7)) for _ in range(2))
    for batch in laws.batches(4):
        laws.step(plain, batch)
        laws.step(scaled, batch.scaled([0.5, 30.0, 8.0]))
    assert np.allclose(weights_of(plain), weights_of(scaled), rtol=1e-3)


def test_scaling():
    """E_t = sum g^2 / sqrt(sum g^2) grows with c as its start does: weights stay, so the step grows with c."""
    assert laws.scaling(lambda: ExcessMTL(eta=0.5), degree=1)
    with pytest.raises(AssertionError):
        laws.scaling(lambda: ExcessMTL(eta=0.5), degree=0)


def test_a_task_of_noise_gets_less_than_one_that_could_learn():
    random, weighting = np.random.default_rng(0), laws.built(lambda: ExcessMTL(eta=0.05), 2)
    step = np.ones((5,)), np.ones((2, 4))
    for number in range(60):  # the first task's gradient stays, the second's changes its sign and dies down
        size = [1.0, random.choice([-1, 1]) / (1 + number)]
        laws.step(weighting, laws.Batch([1, 50], [np.multiply.outer(size, s) for s in step]))
    first, second = weights_of(weighting)
    assert first > 1.3 and np.isclose(first + second, 2)


def test_a_task_without_a_gradient_at_first_gets_its_start_later():
    weighting = laws.built(ExcessMTL)
    first, second, _ = laws.batches()
    laws.step(weighting, first.scaled([0.0, 1.0, 1.0]))
    assert weighting.first.numpy()[0] == 0
    laws.step(weighting, second)
    assert np.all(weighting.first.numpy() > 0)


def test_keeps_gradients():
    assert ExcessMTL.keeps_gradients
    assert [v.shape for v in laws.built(ExcessMTL).squares] == [(3, *shape) for shape in laws.SHAPES]


def test_errors():
    with pytest.raises(ValueError, match="`eta` must be a number of at least 0. Received: nan"):
        ExcessMTL(float("nan"))
