"""Small dense problems of the gradient methods, solved in float64 with static shapes: they run in graphs and under XLA.

The Gramians come from float32 sums, so what lies below a millionth of their scale is rounding: `eigen` takes it for zero.
"""
import tensorflow as tf

LARGEST = 64  # the most tasks that the solvers were tested with
ROUNDING = 1e-6  # the relative error of inner products that were summed in float32
RIDGE = 1e-10  # of matrices that must have a Cholesky factor
EVEN = 2e-8  # of quadratic programs: of minimizers that rounding can't tell apart the shortest


def no_larger(tasks, method, largest=LARGEST):
    """Refuses more tasks than a solver was tested with."""
    if tasks > largest:
        raise ValueError(f"{method} solves for the weights of at most {largest} tasks. Received: {tasks}. Take a method "
                         "that solves nothing, such as PCGrad, or make one head of tasks that are alike.")


def normalized(gramian, present):
    """Returns a Gramian as float64, symmetric and in units of the mean squared length, and what can be said of it.

    Args:
        gramian: `(tasks, tasks)`.
        present: bool `(tasks,)`.

    Returns:
        `(tasks, tasks)`, with 0 in rows and columns of absent tasks; bool `(tasks,)`: which present tasks have a gradient
        at all; bool `()`: whether all entries are finite (else the Gramian returned is 0).
    """
    gramian = tf.where(present[:, None] & present[None, :], gramian, tf.zeros_like(gramian))
    finite = tf.reduce_all(tf.math.is_finite(gramian))
    gramian = tf.where(finite, tf.cast(gramian, tf.float64), 0.0)
    squares = tf.linalg.diag_part(gramian)
    active = squares > 0
    mean = tf.math.divide_no_nan(tf.reduce_sum(squares), tf.reduce_sum(tf.cast(active, tf.float64)))
    gramian = tf.where(active[:, None] & active[None, :], gramian, 0.0)
    return tf.math.divide_no_nan(gramian + tf.transpose(gramian), 2 * mean), active, finite


def cosines(gramian, active):
    """Returns the cosines between the gradients of a Gramian, 0 for those that are not active, and their lengths."""
    lengths = tf.sqrt(tf.where(active, tf.linalg.diag_part(gramian), 1.0))
    return gramian / (lengths[:, None] * lengths[None, :]), lengths


def settled(weights, present, finite):
    """Returns weights as float32: 0 for absent tasks, and those of the plain sum where the Gramian wasn't finite."""
    weights = tf.where(finite, tf.cast(weights, tf.float32), 1.0)
    return tf.where(present, weights, 0.0)


def eigen(matrix):
    """Returns the eigenvalues `(n,)` of a symmetric matrix, rounding taken for 0, and the vectors, one a column."""
    values, vectors = tf.linalg.eigh(matrix)
    least = ROUNDING * tf.cast(tf.shape(matrix)[-1], matrix.dtype) * tf.reduce_max(tf.abs(values))
    return tf.where(values > least, values, 0.0), vectors


def eigen_power(matrix, power):
    """Returns a power of a positive semi-definite matrix, negative ones on its range only, and its least eigenvalue there."""
    values, vectors = eigen(matrix)
    positive = values > 0
    powers = tf.where(positive, tf.where(positive, values, 1.0) ** power, 0.0)
    least = tf.reduce_min(tf.where(positive, values, tf.reduce_max(values)))
    return tf.matmul(vectors * powers, vectors, transpose_b=True), least


def positive(matrix, ridge):
    """Returns the nearest positive semi-definite matrix, plus `ridge` times the identity."""
    values, vectors = tf.linalg.eigh(matrix)
    surplus = tf.matmul(vectors * tf.maximum(-values, 0.0), vectors, transpose_b=True)
    return matrix + surplus + ridge * tf.eye(tf.shape(matrix)[-1], dtype=matrix.dtype)


def onto_simplex(values, free):
    """Returns the point nearest to `values`, `(n,)`, that is >= 0, has the sum 1, and is 0 where not `free`.

    x = max(values - theta, 0) with theta = max over k of (sum of the k largest - 1) / k.
    """
    ordered = tf.sort(tf.where(free, values, values.dtype.min), direction="DESCENDING")
    k = tf.range(1, tf.shape(values)[0] + 1)
    free_first = k <= tf.reduce_sum(tf.cast(free, tf.int32))
    sums = tf.cumsum(tf.where(free_first, ordered, 0.0))
    theta = tf.reduce_max(tf.where(free_first, (sums - 1) / tf.cast(k, values.dtype), values.dtype.min))
    return tf.where(free, tf.maximum(values - theta, 0.0), 0.0)


def interior_point(problem, like, free, total=None, rounds=60):
    """Minimizes a convex function over x >= 0, and total'x = 1 if that is given, by Mehrotra's primal-dual method.

    With multipliers z >= 0 of x >= 0 and y of the sum, it follows gradient = z + y total, x z = mu down to mu = 1e-15.

    Args:
        problem: x `(rows, n)`, mu `()` -> gradient `(rows, n)` and Hessian `(rows, n, n)`; each row is a problem of its own.
            A function with a kink may be rounded off by mu.
        like: float64 `(rows, n)`: the shape of x.
        free: bool `(n,)`; elsewhere x is 0.
        total: None, or float64 `(n,)` above 0.

    Returns:
        x `(rows, n)`.
    """
    least = 1e-15
    both, ones = free[:, None] & free[None, :], tf.cast(free, like.dtype)
    sums = None if total is None else total * ones
    start = tf.ones_like(like) / (1.0 if total is None else tf.maximum(tf.reduce_sum(sums), 1e-300))

    def mean(values):
        return tf.math.divide_no_nan(tf.reduce_sum(values * ones, -1, keepdims=True), tf.reduce_sum(ones))

    def body(x, z, y):
        mu = mean(x * z)
        gradient, hessian = problem(x, tf.reduce_max(mu))
        matrix = tf.where(both, hessian + tf.linalg.diag(z / x), tf.eye(like.shape[-1], dtype=like.dtype))
        solve = _solver(matrix, sums)
        lack = None if sums is None else 1 - tf.reduce_sum(sums * x, -1, keepdims=True)
        slope = gradient if sums is None else gradient - y * sums

        def direction(product):  # towards x z = product
            dx, dy = solve(ones * (product / x - slope), lack)
            return dx, ones * (product / x - z - z / x * dx), dy

        dx, dz, _ = direction(tf.zeros_like(x))
        t = tf.minimum(tf.minimum(_longest(x, dx), _longest(z, dz)), 1.0)
        share = tf.math.divide_no_nan(mean((x + t * dx) * (z + t * dz)), mu) ** 3
        dx, dz, dy = direction(tf.clip_by_value(share, 1e-3, 1.0) * mu - t**2 * dx * dz)
        t = tf.minimum(0.995 * tf.minimum(_longest(x, dx), _longest(z, dz)), 1.0)
        t = tf.where(mu > least, t, 0.0)  # a row that is done waits for the others
        return x + t * dx, z + t * dz, y + t * dy

    def unfinished(x, z, y):
        return tf.reduce_max(mean(x * z)) > least

    state = (start, tf.ones_like(like), tf.zeros_like(like[:, :1]))
    return tf.while_loop(unfinished, body, state, maximum_iterations=rounds)[0] * ones


def _solver(matrix, sums):
    """Returns a function that solves matrix dx = right + dy sums, and sums'dx = lack unless `sums` is None."""
    size = tf.math.rsqrt(tf.linalg.diag_part(matrix))
    unit = tf.eye(matrix.shape[-1], dtype=matrix.dtype)
    factor = tf.linalg.cholesky(matrix * size[..., :, None] * size[..., None, :] + 1e-13 * unit)

    def times_inverse(right):
        return size * tf.linalg.cholesky_solve(factor, (size * right)[..., None])[..., 0]

    def solve(right, lack):
        dx = times_inverse(right)
        if sums is None:
            return dx, tf.zeros_like(dx[:, :1])
        per_dy = times_inverse(sums + tf.zeros_like(right))
        dy = tf.math.divide_no_nan(lack - tf.reduce_sum(sums * dx, -1, keepdims=True),
                                   tf.reduce_sum(sums * per_dy, -1, keepdims=True))
        return dx + dy * per_dy, dy

    return solve


def _longest(x, dx):
    """Returns the largest t <= 1000 with x + t dx >= 0, for each row."""
    return tf.reduce_min(tf.where(dx < 0, tf.minimum(-x / tf.where(dx < 0, dx, 1.0), 1e3), 1e3), -1, keepdims=True)


@tf.function(autograph=False)  # so that it isn't slow where it is called eagerly
def simplex_qp(matrix, total, free):
    """Returns the x >= 0, `(n,)`, with total'x = 1 that minimizes x' matrix x / 2; x = 0 where not `free`."""
    matrix = positive(matrix, EVEN)
    return interior_point(lambda x, mu: (tf.matmul(x, matrix), matrix[None]), matrix[:1], free, total)[0]


@tf.function(autograph=False)
def nonnegative_qp(matrix, linear, free):
    """Returns, for each row q of `linear`, the x >= 0 that minimizes x' matrix x / 2 + q'x; x = 0 where not `free`."""
    matrix = positive(matrix, EVEN)
    return interior_point(lambda x, mu: (tf.matmul(x, matrix) + linear, matrix[None]), linear, free)


@tf.function(autograph=False)
def balanced(matrix, right, power, free, rounds=200):
    """Returns the x > 0 with matrix x = right x ** -power, element by element, and whether there is one.

    It minimizes x' matrix x / 2 - sum of right F(x), F' = x ** -power, which is convex, by Newton's method: of the steps
    1, 1/2, 1/4, ... it takes the one at the end of which the slope is nearest to 0.

    There is none if some x >= 0 has matrix x = 0, as gradients have that cancel out: the test is whether the rounding of
    `matrix` is as large as x' matrix x.

    Args:
        matrix: float64 `(n, n)`, positive semi-definite but for rounding.
        right: float64 `(n,)` above 0.
        power: a number above 0.
        free: bool `(n,)`; elsewhere x is 0.
    """
    matrix = tf.where(free[:, None] & free[None, :], positive(matrix, RIDGE), tf.eye(matrix.shape[-1], dtype=matrix.dtype))
    steps = tf.constant([2.0**-k for k in range(25)], matrix.dtype)[:, None]

    def slopes(x):  # of several points, one a row
        return tf.matmul(x, matrix) - right * x**-power

    def body(x, _):
        hessian = matrix + tf.linalg.diag(power * right * x ** (-power - 1))
        dx = -_solver(hessian[None], None)(slopes(x[None]), None)[0][0]
        tried = x + steps * dx
        inside = tf.reduce_all(tried > 0, -1)
        along = tf.abs(tf.linalg.matvec(slopes(tf.where(inside[:, None], tried, 1.0)), dx))
        best = tf.argmin(tf.where(inside, along, matrix.dtype.max))
        return tf.gather(tried, best), tf.reduce_max(tf.abs(dx / x))

    start = right ** (1 / (1 + power))  # the solution of orthogonal gradients
    x, _ = tf.while_loop(lambda _, moved: moved > 1e-13, body, (start, tf.ones_like(start[0])), maximum_iterations=rounds)
    x = tf.where(free, x, 0.0)
    return x, _form(matrix, x) >= ROUNDING * _form(tf.abs(matrix), x)


def _form(matrix, x):
    return tf.reduce_sum(x * tf.linalg.matvec(matrix, x))
