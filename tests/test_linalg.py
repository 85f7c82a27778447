"""The solvers against SciPy and by their optimality conditions: well and ill conditioned, cancelling, of all scales."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize

from keras_transfer import _linalg

SIZES = [2, 3, 8, 16, 32]
KINDS = ["wide", "square", "ill", "parallel", "equal", "scales"]


def gradients(kind, n, seed=0):
    """Rows: many dimensions, as many as rows, nearly dependent, nearly parallel, some equal, of sizes 1e-3 to 1e3."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 4 * n if kind == "wide" else n))
    if kind == "ill":
        u, _, v = np.linalg.svd(rows)
        rows = (u * np.logspace(0, -3, n)) @ v
    if kind == "parallel":
        rows = rows[:1] + 1e-3 * rows
    if kind == "equal":
        rows[n // 2 :] = rows[0]
    if kind == "scales":
        rows *= np.logspace(-3, 3, n)[:, None]
    return rows.astype("float32")


def cosines(kind, n, seed=0):
    rows = tf.constant(gradients(kind, n, seed))
    gramian, active, _ = _linalg.normalized(rows @ tf.transpose(rows), tf.ones(n, tf.bool))
    cosine, lengths = _linalg.cosines(gramian, active)
    return cosine, lengths, active


def test_normalized_by_hand():
    gramian = tf.constant([[4.0, 1.0, np.nan, 0.0], [1.0, 8.0, 2.0, 0.0], [3.0, 2.0, 9.0, 0.0], [0.0] * 4])
    present = tf.constant([True, True, False, True])
    result, active, finite = _linalg.normalized(gramian, present)
    # the mean squared length of the two present gradients that aren't 0 is 6
    assert np.allclose(result, np.array([[4, 1, 0, 0], [1, 8, 0, 0], [0] * 4, [0] * 4]) / 6)
    assert active.numpy().tolist() == [True, True, False, False] and finite and result.dtype == "float64"
    result, _, finite = _linalg.normalized(gramian, tf.ones(4, tf.bool))
    assert not finite and np.all(result == 0)


def test_cosines_and_lengths_give_the_gramian_back():
    gramian = tf.constant([[4.0, -3.0, 0.0], [-3.0, 9.0, 0.0], [0.0, 0.0, 0.0]], tf.float64)
    cosine, lengths = _linalg.cosines(gramian, tf.constant([True, True, False]))
    assert np.allclose(cosine, [[1, -0.5, 0], [-0.5, 1, 0], [0, 0, 0]]) and np.allclose(lengths, [2, 3, 1])
    assert np.allclose(cosine * lengths[:, None] * lengths[None], gramian)


def test_settled_masks_and_falls_back_to_the_plain_sum():
    weights, present = tf.constant([0.25, np.nan, 3.0], tf.float64), tf.constant([True, False, True])
    assert _linalg.settled(weights, present, True).numpy().tolist() == [0.25, 0.0, 3.0]
    assert _linalg.settled(weights, present, False).numpy().tolist() == [1.0, 0.0, 1.0]


def test_too_many_tasks():
    _linalg.no_larger(64, "MGDA")
    with pytest.raises(ValueError, match="MGDA solves .* at most 64 tasks. Received: 65. Take a method"):
        _linalg.no_larger(65, "MGDA")


def test_eigen_takes_rounding_for_zero():
    rows = tf.constant(gradients("equal", 6))
    values, _ = _linalg.eigen(tf.cast(rows @ tf.transpose(rows), tf.float64))
    assert np.sum(values > 0) == 3 and np.all(values >= 0)
    assert np.sum(np.abs(np.linalg.eigvalsh(rows @ tf.transpose(rows))) > 0) > 3, "the control"


@pytest.mark.parametrize("kind, rank", [("wide", 5), ("equal", 2)])
def test_eigen_power_is_the_pseudo_inverse_and_its_root(kind, rank):
    cosine, _, _ = cosines(kind, 5)
    inverse, least = _linalg.eigen_power(cosine, -1.0)
    assert np.allclose(inverse, np.linalg.pinv(cosine, rcond=1e-5), atol=1e-5)
    root, _ = _linalg.eigen_power(cosine, -0.5)
    assert np.allclose(root @ root, inverse, atol=1e-8)
    assert np.isclose(least, np.sort(np.linalg.eigvalsh(cosine))[-rank])


def test_positive_moves_no_further_than_it_must():
    indefinite = tf.constant([[1.0, 2.0], [2.0, 1.0]], tf.float64)  # eigenvalues 3 and -1
    assert np.allclose(_linalg.positive(indefinite, 0.0), [[1.5, 1.5], [1.5, 1.5]])
    assert np.allclose(_linalg.positive(tf.eye(3, dtype=tf.float64), 0.5), 1.5 * np.eye(3))


def test_onto_simplex_by_hand():
    everywhere = tf.ones(3, tf.bool)
    cases = [([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]), ([1, 1, 1], [1 / 3] * 3), ([2.0, 0.0, 1.5], [0.75, 0, 0.25])]
    for values, nearest in cases:
        assert np.allclose(_linalg.onto_simplex(tf.constant(values, tf.float32), everywhere), nearest)
    some = tf.constant([True, False, True])
    assert np.allclose(_linalg.onto_simplex(tf.constant([0.3, 9.0, 0.1]), some), [0.6, 0.0, 0.4])
    assert np.all(_linalg.onto_simplex(tf.constant([0.3, 9.0, 0.1]), tf.zeros(3, tf.bool)) == 0)


def test_onto_simplex_is_the_nearest_point():
    random = np.random.default_rng(0)
    for n in SIZES:
        values = random.normal(size=n)
        nearest = _linalg.onto_simplex(tf.constant(values), tf.ones(n, tf.bool)).numpy()
        assert np.isclose(nearest.sum(), 1) and np.all(nearest >= 0)
        # nearest means an obtuse angle at it to every other point; the corners are enough
        assert np.max((np.eye(n) - nearest) @ (values - nearest)) < 1e-12


@pytest.mark.parametrize("n", SIZES)
def test_simplex_qp_meets_its_optimality_conditions(n):
    for kind in KINDS:
        cosine, lengths, active = cosines(kind, n)
        total = tf.reduce_min(lengths) / lengths
        x = _linalg.simplex_qp(cosine, total, active).numpy()
        slope, total = cosine.numpy() @ x, total.numpy()
        assert np.all(x >= 0) and abs(total @ x - 1) < 1e-9
        # slope = z + y total, z >= 0, x z = 0, so y = x'slope
        assert np.min(slope - (x @ slope) * total) > -1e-5, kind


@pytest.mark.parametrize("n", SIZES)
def test_nonnegative_qp_meets_its_optimality_conditions(n):
    for kind in KINDS:
        for seed in range(3):
            cosine, _, active = cosines(kind, n, seed)
            x = _linalg.nonnegative_qp(cosine, cosine, active).numpy()
            slope = (x + np.eye(n)) @ cosine.numpy()
            assert np.all(x >= 0) and np.max(np.abs(np.minimum(x, slope))) <= 1e-5, kind


def test_the_quadratic_programs_agree_with_scipy():
    cosine, _, active = cosines("square", 6)
    matrix = cosine.numpy()
    x = _linalg.simplex_qp(cosine, tf.ones_like(matrix[0]), active).numpy()
    sum_is_1 = {"type": "eq", "fun": lambda x: np.sum(x) - 1}
    found = minimize(lambda x: x @ matrix @ x / 2, np.ones(6) / 6, bounds=[(0, 1)] * 6, constraints=sum_is_1, tol=1e-14)
    assert np.allclose(x, found.x, atol=1e-4)
    rows = _linalg.nonnegative_qp(cosine, cosine, active).numpy()
    for row, linear in zip(rows, matrix):
        found = minimize(lambda x: x @ matrix @ x / 2 + linear @ x, np.zeros(6), bounds=[(0, None)] * 6, tol=1e-14)
        assert np.allclose(row, found.x, atol=1e-3)
    assert np.max(rows) > 0.1, "the control: some constraint is at work"


def test_what_is_not_free_is_zero_and_changes_nothing():
    cosine, _, _ = cosines("square", 5)
    free = tf.constant([True, True, False, True, False])
    kept = np.flatnonzero(free)
    small, few = tf.gather(tf.gather(cosine, kept), kept, axis=1), tf.ones(3, tf.bool)
    ones, power = tf.ones(5, tf.float64), 0.5
    masked = tf.where(free[:, None] & free[None], cosine, 0.0)
    pairs = [
        (_linalg.simplex_qp(masked, ones, free), _linalg.simplex_qp(small, ones[:3], few)),
        (_linalg.nonnegative_qp(masked, masked, free)[0], _linalg.nonnegative_qp(small, small, few)[0]),
        (_linalg.balanced(masked, ones, power, free)[0], _linalg.balanced(small, ones[:3], power, few)[0]),
    ]
    for x, alone in pairs:
        assert np.allclose(x.numpy()[kept], alone, atol=1e-7) and np.all(x.numpy()[[2, 4]] == 0)
        assert np.all(np.isfinite(x))


@pytest.mark.parametrize("n", [2, 3, 5, 8, 12, 16])
def test_balanced_meets_its_equation(n):
    for kind in KINDS:
        for power in (1.0, 0.5, 2.0):
            for seed in range(3):
                cosine, lengths, active = cosines(kind, n, seed)
                right = lengths ** (power - 1)
                x, solved = _linalg.balanced(cosine, right, power, active)
                x, right = x.numpy(), right.numpy()
                assert np.all(x > 0) and (solved or kind == "ill")
                residual = np.abs(cosine @ x[:, None] - (right * x**-power)[:, None])
                assert not solved or np.max(residual) <= 1e-5, (kind, power, np.max(residual))


def test_balanced_by_hand():
    cosine = tf.constant([[1.0, -0.75], [-0.75, 1.0]], tf.float64)
    ones, both = tf.ones(2, tf.float64), tf.ones(2, tf.bool)
    # by symmetry x / 4 = x ** -power
    assert np.allclose(_linalg.balanced(cosine, ones, 1.0, both)[0], 2.0)
    assert np.allclose(_linalg.balanced(cosine, ones, 0.5, both)[0], 4 ** (2 / 3))


def test_balanced_says_where_gradients_cancel_out():
    both = tf.ones(2, tf.bool)
    for cosine, exists in [(-1.0, False), (-1 + 1e-7, False), (-0.999, True), (1.0, True)]:
        matrix = tf.constant([[1, cosine], [cosine, 1]], tf.float64)
        x, solved = _linalg.balanced(matrix, tf.ones(2, tf.float64), 1.0, both)
        assert bool(solved) == exists and np.all(np.isfinite(x))


def test_xla_gives_the_same():
    cosine, lengths, active = cosines("scales", 6)
    for function in (
        lambda: _linalg.simplex_qp(cosine, tf.reduce_min(lengths) / lengths, active),
        lambda: _linalg.nonnegative_qp(cosine, cosine, active),
        lambda: _linalg.balanced(cosine, lengths**-0.5, 0.5, active)[0],
        lambda: _linalg.eigen_power(cosine, -0.5)[0],
    ):
        assert np.allclose(tf.function(function, jit_compile=True)(), function(), rtol=1e-5, atol=1e-6)
