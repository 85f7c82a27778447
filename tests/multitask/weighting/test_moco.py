"""MoCo: MGDA's weights, learned from gradients that are tracked over the batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import brentq

from keras_transfer.multitask.weighting.moco import MoCo
from multitask.weighting import laws

GRADIENTS = np.array([[2.0, 0.0], [-1.0, 1.0]], "float32")


def built(tasks=2, **options):
    method = MoCo(**options)
    method.build(tasks, [(2,)])
    return method


def combined(method, gradients, present=None):
    gradients = np.asarray(gradients, "float32")
    present = tf.ones(len(gradients), tf.bool) if present is None else tf.constant(present)
    return method.combine([tf.constant(gradients)], tf.ones(len(gradients)), present)[0].numpy()


@pytest.mark.parametrize("law", laws.ALL)
def test_laws(law):
    assert law(MoCo)


def test_scaling():
    assert laws.scaling(MoCo)


def test_by_hand():
    method = built(decay=1.0)
    # y = g / 2 = (1, 0), (-1/2, 1/2); Y'Y = [[1, -1/2], [-1/2, 1/2]], divided by the mean 3/4; w - 0.1 Y'Y w:
    # (1/2, 1/2) - 0.1 (1/3, 0), and the sum lacks 1/30
    expected = np.array([0.5 - 1 / 60, 0.5 + 1 / 60])
    assert np.allclose(combined(method, GRADIENTS), expected @ (GRADIENTS / 2), atol=1e-6)
    assert np.allclose(method.w, expected, atol=1e-6)
    # beta_2 = 1/4: y = g / 2 + (g - g / 2) / 4
    combined(method, GRADIENTS)
    assert np.allclose(method.y[0], 0.625 * GRADIENTS) and method.k.numpy().tolist() == [2, 2]


def projected(values):
    """The nearest point on the simplex, max(v - shift, 0), by root finding."""
    shift = brentq(lambda shift: np.maximum(values - shift, 0).sum() - 1, values.min() - 1, values.max(), xtol=1e-14)
    return np.maximum(values - shift, 0)


def replayed(batches, beta, gamma, rho, decay):
    """The algorithm of the docstring on flat gradients: steps, and the weights after each."""
    tasks = len(batches[0].losses)
    y, w, steps, weights = 0.0, np.full(tasks, 1 / tasks), [], []
    for k, batch in enumerate(batches, 1):
        g = np.concatenate([part.reshape(tasks, -1) for part in batch.gradients], 1).astype("float64")
        y = y - beta / k**decay * (y - g)
        gramian = y @ y.T / np.mean(np.sum(y**2, 1))
        w = projected(w - gamma / k**decay * (gramian + rho * np.eye(tasks)) @ w)
        steps.append(w @ y), weights.append(w)
    return np.stack(steps), np.stack(weights)


@pytest.mark.parametrize("options", [{}, {"beta": 0.9, "gamma": 1.5, "rho": 0.3, "decay": 0.2}])
def test_it_replays_as_the_algorithm_in_numpy(options):
    made, default = laws.batches(7), {"beta": 0.5, "gamma": 0.1, "rho": 0.0, "decay": 0.5}
    method = laws.built(lambda: MoCo(**options))
    steps, weights = replayed(made, **{**default, **options})
    for batch, step, expected in zip(made, steps, weights):
        assert np.allclose(laws.step(method, batch)[0], step, rtol=1e-4, atol=1e-5)
        assert np.allclose(method.w, expected, atol=1e-5)
    assert np.ptp(weights[-1]) > 0.05 and (not options or np.min(weights) == 0), "weights move, to the edge if fast"
    other, _ = replayed(made, **{**default, **options, "decay": 0.0})
    assert not np.allclose(steps, other, rtol=1e-2), "the control: without the decay"


def test_orthogonal_gradients():
    # y = (1, 0), (0, 1/2); Y'Y = diag(1, 1/4), divided by 5/8: diag(8, 2) / 5. (1/2, 1/2) - 0.1 (4/5, 1/5) lacks 1/10
    orthogonal = np.diag([2.0, 1.0])
    assert np.allclose(combined(built(), orthogonal), [0.47 * 1, 0.53 / 2], atol=1e-6)
    # equally long ones keep their weights, and the first step is the mean times beta
    turned = np.array([[3.0, 4.0], [-4.0, 3.0]])
    assert np.allclose(combined(built(), turned), 0.5 * turned.mean(0), atol=1e-6)
    assert not np.allclose(combined(built(), orthogonal), 0.5 * orthogonal.mean(0), atol=1e-3), "the control"
    # in the end as MGDA: w_t goes as 1 / |g_t|^2
    method = built(decay=0.0)
    for _ in range(60):
        step = combined(method, orthogonal)
    assert np.allclose(method.w, [0.2, 0.8], atol=1e-3) and np.allclose(step, [0.4, 0.8], atol=2e-3)


def test_the_same_batch_again_and_again_leads_to_mgda():
    method = built(decay=0.0)
    step_of = tf.function(method.combine)
    for _ in range(300):
        (step,) = step_of([tf.constant(GRADIENTS)], tf.ones(2), tf.ones(2, tf.bool))
    # the foot of the perpendicular from 0 on the line through (2, 0) and (-1, 1)
    assert np.allclose(step, [0.2, 0.6], atol=1e-3)
    assert not np.allclose(GRADIENTS.mean(0), [0.2, 0.6], atol=1e-3), "the control"


def test_it_tracks_the_mean_of_noisy_gradients():
    random, method = np.random.default_rng(0), built(beta=1.0, decay=1.0)
    noisy = GRADIENTS + random.normal(size=(200, 2, 2)).astype("float32")
    for gradients in noisy:
        combined(method, gradients)
    # beta_k = 1 / k makes y the mean of all
    assert np.allclose(method.y[0], noisy.mean(0), atol=1e-4)


def test_gamma_0_keeps_the_weights_and_rho_draws_them_together():
    method = built(gamma=0.0)
    for _ in range(5):
        combined(method, GRADIENTS)
    assert np.allclose(method.w, 0.5)
    free, drawn = built(decay=0.0), built(decay=0.0, rho=10.0)
    for _ in range(100):
        combined(free, GRADIENTS), combined(drawn, GRADIENTS)
    assert abs(drawn.w.numpy()[0] - 0.5) < 0.25 * abs(free.w.numpy()[0] - 0.5)


@pytest.mark.parametrize(
    "gradients, expected",
    [([[1, 2], [1, 2]], [0.5, 1]), ([[1, 2], [-1, -2]], [0, 0]), ([[3, 4]], [1.5, 2])],
)
def test_equal_and_opposite_gradients_and_a_single_task(gradients, expected):
    assert np.allclose(combined(built(len(gradients)), gradients), expected, atol=1e-6)


def test_each_task_counts_its_own_batches():
    method = built(decay=1.0)
    combined(method, GRADIENTS * [[1], [0]], present=[True, False])
    assert method.k.numpy().tolist() == [1, 0]
    combined(method, GRADIENTS)
    assert np.allclose(method.y[0], [0.625 * GRADIENTS[0], 0.5 * GRADIENTS[1]])


def test_a_gradient_that_is_not_finite_is_handed_on_and_changes_no_state():
    method = built()
    combined(method, GRADIENTS)
    before = laws.state(method)
    assert np.isnan(combined(method, [[np.nan, 0.0], [1.0, 1.0]])[0])
    for was, now in zip(before, laws.state(method), strict=True):
        assert np.array_equal(was, now)
    assert np.all(np.isfinite(combined(method, [[np.nan, 0.0], [1.0, 1.0]], present=[False, True])))


def test_arguments_are_in_the_config():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(MoCo(0.1, 0.2, 0.3, 0.4)))
    assert (again.beta, again.gamma, again.rho, again.decay) == (0.1, 0.2, 0.3, 0.4) and MoCo.keeps_gradients


@pytest.mark.parametrize(
    "options, error",
    [
        ({"beta": 0}, "`beta` must be a number above 0 and at most 1. Received: 0"),
        ({"gamma": -1}, "`gamma` must be a number of at least 0. Received: -1"),
        ({"rho": -1}, "`rho` must be a number of at least 0. Received: -1"),
        ({"decay": -1}, "`decay` must be a number of at least 0. Received: -1"),
    ],
)
def test_arguments_out_of_range(options, error):
    with pytest.raises(ValueError, match=error):
        MoCo(**options)


def test_without_shapes_of_variables():
    with pytest.raises(ValueError, match="MoCo keeps a gradient of every shared variable .* not those of features"):
        MoCo().build(2)
