"""What all weightings have in common."""
import re

import keras
import tensorflow as tf

from ..._linalg import no_larger


class Weighting(keras.layers.Layer):
    """How the losses of several tasks, or their gradients, become one step of training.

    Subclass it and define `call`; most methods need nothing else. All numbers are float32, whatever the network computes
    in, and are the same on every replica: losses and gradients are summed over replicas before a method sees them.

    A task without a label in a batch is *absent*: its loss and its row and column of the Gramian are 0, and it must change
    neither the weights of the others nor any state. Its own weight is 0.

    Attributes:
        needs_gramian: False for methods that read losses only: they cost one backward pass, whatever the number of tasks.
        parts: 2 for methods that need an unbiased Gramian: entry (i, j) is then the product of task i's gradient on one half
            of the batch with task j's on the other (the mean of both orders). Each half is passed by itself, so that batch
            normalization in training sees it alone, and losses of layers (`add_loss`) are the mean of both.
        keeps_gradients: whether `combine` keeps something of the shape of the shared variables, so that it can't be used
            at features, whose number changes with the batch.
        draws: whether `build` makes `generator`, a `keras.random.SeedGenerator` of `self.seed`. What is made before it isn't
            in the scope that the learner trains in: replicas would share its state, and each would draw by itself.
        most: the largest number of tasks that the method was tested with; None: any.
        tasks: the number of tasks, known from `build` on.

    Args:
        **options: `name` and `trainable` of a Keras layer.
    """

    needs_gramian, parts, keeps_gradients, draws, most = True, 1, False, False, None

    def __init__(self, **options):
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        super().__init__(**{"dtype": "float32", "name": name, **options})

    def build(self, tasks, shapes=()):
        """Makes the state.

        Args:
            tasks: the number of tasks.
            shapes: the shapes of the shared variables, for methods that keep gradients.
        """
        if self.most is not None:
            no_larger(tasks, type(self).__name__, self.most)
        self.tasks, self.shapes = int(tasks), [tuple(shape) for shape in shapes]
        if self.draws:
            self.generator = keras.random.SeedGenerator(self.seed)
        super().build(None)

    @property
    def reads_gradients(self):
        """Whether a step needs the gradients of each task, and so a backward pass for each."""
        return self.needs_gramian

    @property
    def has_weights(self):
        """Whether the logs have a weight for each task."""
        return True

    def call(self, losses, gramian, present):
        """Returns the weights of the tasks.

        Args:
            losses: `(tasks,)`, already multiplied by the loss weights of the heads.
            gramian: `(tasks, tasks)`, entry (i, j) the inner product of the gradients of tasks i and j with respect to what
                they share; None if `needs_gramian` is False.
            present: bool `(tasks,)`.

        Returns:
            `(tasks,)`: the step goes along the sum of weight x gradient.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no `call`.")

    def weigh(self, losses, gramian, present):
        """Returns `call`'s weights, and the gradients of this layer's own trainable variables, a list."""
        return self.call(losses, gramian, present), []

    def name_tasks(self, names):
        """Is told the names of the tasks, a list, before `build`; defined by methods that need them."""

    def on_epoch_end(self):
        """Is called between epochs, outside of the graph; defined by methods that count epochs."""

    def after_update(self, losses, present):
        """Sees the losses of the same batch again, after the step; defined by methods that need it."""

    def get_build_config(self):
        return {"tasks": self.tasks, "shapes": self.shapes} if self.built else None

    def build_from_config(self, config):
        if config is not None:
            self.build(**config)


class LearnedWeighting(Weighting):
    """A weighting whose own variables are trained together with the network. Define `objective` instead of `call`."""

    needs_gramian = False

    def objective(self, losses, present):
        """Returns the scalar that is minimized; it depends on `losses` and on this layer's variables."""
        raise NotImplementedError(f"{type(self).__name__} defines no `objective`.")

    def call(self, losses, gramian, present):
        return self.weigh(losses, gramian, present)[0]

    def weigh(self, losses, gramian, present):
        own = [v.value for v in self.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(losses)
            minimized = self.objective(losses, present)
        weights, own = tape.gradient(minimized, (losses, own), unconnected_gradients="zero")
        return weights, own


class GradientCombination(Weighting):
    """A method on the gradients themselves, for what no Gramian tells. Define `combine` instead of `call`.

    `combine(gradients, losses, present)` gets a list with a tensor `(tasks, ...)` for each shared variable (or, at features,
    one `(tasks, batch, ...)`), and returns a list of tensors without the first axis. Define `last_weights` too if the method
    keeps a weight for each task, so that the logs have them.
    """

    @property
    def reads_gradients(self):
        return True

    @property
    def has_weights(self):
        return type(self).last_weights is not GradientCombination.last_weights

    def last_weights(self, present):
        """Returns the weights of the last step, `(tasks,)`, 0 for absent tasks; None: the method has none."""

    def combine(self, gradients, losses, present):
        """Returns the gradient of the step, a tensor for each shared variable."""
        raise NotImplementedError(f"{type(self).__name__} defines no `combine`.")


def gramian_of(first, second=None):
    """Returns the inner products `(tasks, tasks)` of gradients, given as lists of `(tasks, ...)`, one for each variable."""
    second = first if second is None else second
    return tf.add_n([tf.matmul(_rows(a), _rows(b), transpose_b=True) for a, b in zip(first, second)])


def of_present(gramian, present):
    """Returns a Gramian with 0 in the rows and columns of absent tasks, all 0 if it isn't finite there; and whether it is."""
    gramian = tf.where(present[:, None] & present[None, :], gramian, 0.0)
    finite = tf.reduce_all(tf.math.is_finite(gramian))
    return tf.where(finite, gramian, 0.0), finite


def _rows(gradient):
    return tf.reshape(gradient, (tf.shape(gradient)[0], -1))


def weighted(weights, gradients):
    """Returns the sum over tasks of weight x gradient, for each variable."""
    return [tf.tensordot(weights, gradient, 1) for gradient in gradients]


def masked(values, present):
    """Returns `values`, `(tasks,)`, with 0 for absent tasks; also where they are NaN or infinite."""
    return tf.where(present, values, tf.zeros_like(values))


def count(present):
    """Returns the number of present tasks, float32."""
    return tf.reduce_sum(tf.cast(present, tf.float32))
