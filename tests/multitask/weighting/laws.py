"""Laws that all weightings obey. A law is a function of `make`, which returns a new weighting, the same at each call.

    from multitask.weighting import laws

    @pytest.mark.parametrize("law", laws.ALL)
    def test_laws(law):
        assert law(kt.multitask.MGDA)

    def test_scaling():
        assert laws.scaling(kt.multitask.MGDA, degree=1)

Random methods take `laws.RANDOM`, what holds for single draws: XLA draws others than eager execution, and Keras saves
no state of generators. The other laws hold for their means only.
"""

import functools
import os
import tempfile

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.multitask.weighting import GradientCombination
from keras_transfer.multitask.weighting.weighting import gramian_of, weighted

SHAPES = [(5,), (2, 4)]  # of the shared variables; no axis is as long as there are tasks


def _law(check):
    """Lets a law return True where it holds, for `assert law(make)`."""

    @functools.wraps(check)
    def holds(make, **options):
        check(make, **options)
        return True

    return holds


class Batch:
    """The losses and gradients of one step, and the losses after it."""

    def __init__(self, losses, gradients, after=None, present=None):
        self.losses = np.asarray(losses, "float32")
        self.gradients = [np.asarray(g, "float32") for g in gradients]
        self.after = 0.9 * self.losses if after is None else np.asarray(after, "float32")
        self.present = np.ones(len(self.losses), bool) if present is None else np.asarray(present, bool)

    def take(self, tasks):
        """The same batch with the `tasks` in another order, or with some of them."""
        gradients = [g[tasks] for g in self.gradients]
        return Batch(self.losses[tasks], gradients, self.after[tasks], self.present[tasks])

    def without(self, tasks):
        """The same batch in which `tasks` have no label."""
        kept = ~np.isin(np.arange(len(self.losses)), tasks)
        gradients = [np.where(kept.reshape(-1, *[1] * (g.ndim - 1)), g, 0) for g in self.gradients]
        return Batch(self.losses * kept, gradients, self.after * kept, kept)

    def scaled(self, factors):
        """The same batch with all losses, and so their gradients, times `factors`, a number or one for each task."""
        factors = np.broadcast_to(np.asarray(factors, "float32"), self.losses.shape)
        gradients = [g * factors.reshape(-1, *[1] * (g.ndim - 1)) for g in self.gradients]
        return Batch(self.losses * factors, gradients, self.after * factors, self.present)


def batches(steps=3, tasks=3, seed=0):
    """Batches in which some gradients oppose each other and no two are of a size."""
    random = np.random.default_rng(seed)
    sizes = np.linspace(0.5, 2.0, tasks)
    fixed = [random.normal(size=(tasks, *shape)) for shape in SHAPES]
    made = []
    for step in range(steps):
        noisy = [g + 0.3 * random.normal(size=g.shape) for g in fixed]
        gradients = [g * sizes.reshape(-1, *[1] * (g.ndim - 1)) for g in noisy]
        losses = random.uniform(0.5, 3.0, tasks)
        made.append(Batch(losses, gradients, losses * random.uniform(0.7, 1.1, tasks)))
    return made


def built(make, tasks=3):
    """A new weighting for so many tasks."""
    weighting = make()
    if not weighting.built:
        weighting.build(tasks, SHAPES)
    return weighting


def step(weighting, batch, compiled=None, epoch_ends=True):
    """Does one step as a learner does it. Returns the gradient of the step, one row, and the weights of the tasks.

    A method on the gradients themselves has no weights: None. `compiled` is what `tf.function` takes as `jit_compile`;
    None stands for eager execution. Each step is an epoch of its own, for the methods that want to know.
    """
    def weigh(losses, gradients, present):
        if isinstance(weighting, GradientCombination):
            return weighting.combine(gradients, losses, present), None
        gramian = gramian_of(gradients) if weighting.needs_gramian else None
        weights, own = weighting.weigh(losses, gramian, present)
        for variable, gradient in zip(weighting.trainable_variables, own):
            variable.assign(variable - 0.1 * gradient)
        return weighted(weights, gradients), weights

    after = weighting.after_update
    if compiled is not None:
        weigh, after = tf.function(weigh, jit_compile=compiled), tf.function(after, jit_compile=compiled)
    present = tf.constant(batch.present)
    combined, weights = weigh(tf.constant(batch.losses), [tf.constant(g) for g in batch.gradients], present)
    after(tf.constant(batch.after), present)
    if epoch_ends and hasattr(weighting, "on_epoch_end"):
        weighting.on_epoch_end()
    row = np.concatenate([np.ravel(g) for g in combined])
    assert row.size == sum(map(np.prod, SHAPES)), "there is a gradient for each shared variable"
    return row, None if weights is None else np.asarray(weights)


def weights_of(weighting, losses, gramian=None, present=None):
    """The weights for one step, by `weigh`."""
    losses = tf.constant(losses, tf.float32)
    present = tf.ones(losses.shape, tf.bool) if present is None else tf.constant(present)
    gramian = None if gramian is None else tf.constant(gramian, tf.float32)
    return np.asarray(weighting.weigh(losses, gramian, present)[0])


def run(weighting, batches, compiled=None):
    """The gradients of several steps, one row each, and the weights."""
    rows, weights = zip(*[step(weighting, batch, compiled) for batch in batches])
    return np.stack(rows), None if weights[0] is None else np.stack(weights)


def state(weighting):
    """Copies of all state but that of random generators."""
    return [v.numpy() for v in weighting.weights]


def close(a, b, **tolerance):
    """Compares two results of `run`, or states."""
    for x, y in zip(a, b, strict=True):
        if x is not None:
            np.testing.assert_allclose(x, y, **{"rtol": 2e-4, "atol": 2e-5, **tolerance})


@_law
def permutation(make):
    """Tasks in another order get the same weights in that order, and the step is the same."""
    order = [2, 0, 1]
    rows, weights = run(built(make), batches())
    moved, permuted = run(built(make), [batch.take(order) for batch in batches()])
    close((rows, None if weights is None else weights[:, order]), (moved, permuted))


@_law
def scaling(make, degree=1, **tolerance):
    """All losses and gradients times c: the step times c ** degree, also in the steps after."""
    for factor in (0.25, 8.0):
        rows, _ = run(built(make), batches())
        scaled, _ = run(built(make), [batch.scaled(factor) for batch in batches()])
        close([scaled], [factor**degree * rows], **tolerance)


@_law
def task_scaling(make, **tolerance):
    """Each task in a unit of its own: the steps keep their directions."""
    rows, _ = run(built(make), batches())
    scaled, _ = run(built(make), [batch.scaled([0.5, 3.0, 8.0]) for batch in batches()])
    close([_unit(scaled)], [_unit(rows)], **tolerance)


@_law
def task_scaling_of_weights(make, **tolerance):
    """Each task in a unit of its own: the weights are the same."""
    _, weights = run(built(make), batches())
    _, scaled = run(built(make), [batch.scaled([0.5, 3.0, 8.0]) for batch in batches()])
    close([scaled], [weights], **tolerance)


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@_law
def absent(make):
    """With a task absent throughout, the others fare as if it weren't there."""
    for missing in range(3):
        kept = [task for task in range(3) if task != missing]
        rows, weights = run(built(make), [batch.without(missing) for batch in batches()])
        alone, fewer = run(built(make, tasks=2), [batch.take(kept) for batch in batches()])
        close((rows, None if weights is None else weights[:, kept]), (alone, fewer))
        assert weights is None or np.all(weights[:, missing] == 0)


@_law
def absent_state(make):
    """A step without a task leaves all that is kept for it as it was, and changes what is kept for the others."""
    weighting = built(make)
    first, second, _ = batches()
    step(weighting, first)
    before = state(weighting)
    step(weighting, second.without(1))
    pairs = [(was, now) for was, now in zip(before, state(weighting)) if was.shape[:1] == (3,)]
    for was, now in pairs:
        np.testing.assert_array_equal(was[1], now[1])
    assert not pairs or any(np.any(was[0] != now[0]) for was, now in pairs), "the control of this law"


@_law
def none_present(make):
    """A batch without any label gives a step of zero and changes nothing, first or later."""
    weighting = built(make)
    for batch in batches(2):
        before = state(weighting)
        row, weights = step(weighting, batch.without([0, 1, 2]), epoch_ends=False)
        assert np.all(row == 0) and (weights is None or np.all(weights == 0))
        for was, now in zip(before, state(weighting), strict=True):
            np.testing.assert_array_equal(was, now)
        assert np.any(step(weighting, batch)[0] != 0), "the control of this law"


@keras.saving.register_keras_serializable("laws")
class Holder(keras.Model):
    """A model that owns a weighting, as a learner does."""

    def __init__(self, weighting, **options):
        super().__init__(**options)
        self.weighting = weighting
        self.built = True

    def call(self, inputs):
        return inputs

    def get_config(self):
        return {"weighting": keras.saving.serialize_keras_object(self.weighting)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["weighting"]))


@_law
def saved(make):
    """Saved as `.keras` after two steps, it does the third step as if it had never been away."""
    weighting, (first, second, third) = built(make), batches()
    run(weighting, [first, second])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "holder.keras")
        Holder(weighting).save(path)
        again = keras.saving.load_model(path).weighting
    assert type(again) is type(weighting) and again.get_config() == weighting.get_config()
    close(state(again), state(weighting), rtol=0, atol=0)
    if len(weighting.variables) == len(weighting.weights):  # no generator
        close(step(again, third), step(weighting, third), rtol=0, atol=0)
        close(state(again), state(weighting), rtol=0, atol=0)


@_law
def graph(make):
    """In a graph it does what it does eagerly."""
    close(run(built(make), batches(), compiled=False), run(built(make), batches()))


@_law
def jit_compiled(make):
    """Compiled by XLA it does what it does eagerly."""
    close(run(built(make), batches(), compiled=True), run(built(make), batches()))


@_law
def finite(make):
    """Losses and gradients of zero, of very different sizes and below zero give no NaN, neither now nor later."""
    plain = batches()
    for hard in (plain[0].scaled(0.0), plain[0].scaled([0.0, 1.0, 1.0]), plain[0].scaled([-1.0, 1.0, 1.0]),
                 plain[0].scaled(-1.0), plain[0].scaled([1e-6, 1.0, 1e6]), plain[0].take([0, 0, 0]),
                 Batch([0, 0, 0], plain[0].gradients), Batch([1, 2, 3], plain[0].scaled(0.0).gradients)):
        for order in ([hard, *plain], [plain[0], hard, hard, *plain[1:]]):
            weighting = built(make)
            rows, weights = run(weighting, order)
            assert np.all(np.isfinite(rows)) and (weights is None or np.all(np.isfinite(weights)))
            assert all(np.all(np.isfinite(now)) for now in state(weighting))


@_law
def one_task(make):
    """A single task is trained in the direction of its own gradient."""
    for batch in batches():
        alone = batch.take([1])
        row, _ = step(built(make, tasks=1), alone)
        own = np.concatenate([g[0].ravel() for g in alone.gradients])
        np.testing.assert_allclose(row / np.linalg.norm(row), own / np.linalg.norm(own), rtol=1e-4, atol=1e-5)


@_law
def jit_compiles(make):
    """XLA can compile it."""
    rows, _ = run(built(make), batches(), compiled=True)
    assert np.all(np.isfinite(rows)) and np.all(np.linalg.norm(rows, axis=1) > 0)


ALL = [permutation, absent, absent_state, none_present, saved, graph, jit_compiled, finite, one_task]
RANDOM = [none_present, saved, graph, jit_compiles, finite, one_task]
