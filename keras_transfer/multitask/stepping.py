"""One step of training on several tasks: one forward pass, a backward pass a task, one update."""
import keras
import tensorflow as tf

from ..distributing import summed
from .gradients import TaskGradients, halves_of, step_of
from .weighting.weighting import GradientCombination, Weighting, gramian_of


class Stepping(keras.Model):
    """A model whose training step asks a weighting how the tasks come together.

    Subclasses have `weighting`, `tasks`, `task_losses` (`TaskLosses`), `faults` (`Faults`), `trunk` and `top` (models, or None:
    gradients go to the variables), `kept` (places of trainable variables that a method keeps something of) and `labelled`
    (labels seen, `(tasks,)`).
    """

    def train_step(self, data):
        if self.weighting is None:
            return super().train_step(data)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape(persistent=True) as tape:
            features = None if self.trunk is None else self.trunk(x, training=True)
            y_pred = self(x, training=True) if self.trunk is None else self.top(features, training=True)
            total = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
            losses = [self.task_losses(*part) for part in _parts(self.weighting.parts, y, y_pred, sample_weight)]
            scaled = keras.tree.map_structure(self.optimizer.scale_loss, losses)
            penalty = self.optimizer.scale_loss(tf.add_n(self.losses) / self.replicas) if self.losses else None
        self._log_loss(total, x)
        seen = summed(self.task_losses.seen(y), self.distribute_strategy)
        losses = summed(tf.reduce_mean(tf.stack([tf.stack(part) for part in losses]), 0), self.distribute_strategy)
        step = _Step(self, tape, scaled, penalty, losses, seen > 0)
        weights = step.take(features)
        self.labelled.assign_add(seen)
        if type(self.weighting).after_update is not Weighting.after_update:
            again = tf.stack(self.task_losses(y, self(x, training=True), sample_weight))
            self.weighting.after_update(summed(again, self.distribute_strategy), step.present)
        logs = self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
        said = [] if weights is None else zip(self.tasks, tf.unstack(weights, len(self.tasks)))
        return {**logs, **{f"{task}_weight": weight for task, weight in said}}

    @property
    def replicas(self):
        """How many replicas take a step together."""
        return self.distribute_strategy.num_replicas_in_sync

    def _log_loss(self, total, x):
        tracker = next(metric for metric in self.metrics if metric.name == "loss")
        tracker.update_state(total * self.replicas, sample_weight=tf.shape(keras.tree.flatten(x)[0])[0])


class _Step:
    """What is made of a forward pass.

    Args:
        learner: the `Stepping` model.
        tape: the persistent tape that recorded the pass.
        scaled: the losses of each part of the batch, `[[scalar]]`, as the optimizer wants them scaled.
        penalty: the regularizers' loss, scaled, or None.
        losses: `(tasks,)`, of all replicas.
        present: bool `(tasks,)`.
    """

    def __init__(self, learner, tape, scaled, penalty, losses, present):
        self.learner, self.tape, self.scaled, self.penalty = learner, tape, scaled, penalty
        self.losses, self.present, self.scale = losses, present, learner.optimizer.scale_loss(tf.ones(()))
        self.own = learner.weighting.trainable_variables
        self.network = [v for v in learner.trainable_variables if all(v is not w for w in self.own)]

    def take(self, features):
        """Updates all variables, and returns the weights `(tasks,)`, or None where the method has none."""
        weighting = self.learner.weighting
        if not weighting.needs_gramian and not isinstance(weighting, GradientCombination):
            return self._by_losses(weighting)
        gradients, weights = self._by_gradients() if features is None else self._at(features)
        if self.penalty is not None:
            gradients = [_sum(a, b) for a, b in zip(gradients, self.tape.gradient(self.penalty, self.network))]
        self._apply(gradients, [])
        return weights

    def _by_losses(self, weighting):
        """One backward pass, through all losses at once."""
        self._check(None)
        weights, own = weighting.weigh(self.losses, None, self.present)
        targets, factors = list(self.scaled[0]), tf.unstack(weights, len(self.learner.tasks))
        if self.penalty is not None:
            targets, factors = [*targets, self.penalty], [*factors, tf.ones(())]
        gradients = self.tape.gradient(targets, self.network, output_gradients=factors)
        self._apply(gradients, [g * self.scale / self.learner.replicas for g in own])
        return weights

    def _by_gradients(self):
        """A backward pass a task; those of all replicas are summed before they are weighed."""
        parts = [self._gradients(losses, self.network, self.learner.kept).reduced(self.learner.distribute_strategy)
                 for losses in self.scaled]
        if len(parts) == 1:
            shared, gramian = parts[0].stacks, gramian_of(parts[0].stacks)
        else:
            shared, gramian = halves_of(*(part.stacks for part in parts))
        step, weights = self._weighed(shared, gramian)
        found = [part.with_step(step, self.learner.replicas) for part in parts]
        return found[0] if len(found) == 1 else [_mean(a, b) for a, b in zip(*found)], weights

    def _at(self, features):
        """Small passes down to the features, which are weighed there, and one through the trunk with what comes of it."""
        below = {id(v) for v in self.learner.trunk.trainable_variables}
        above, trunk = [[v for v in self.network if (id(v) in below) == under] for under in (False, True)]
        gradients = self._gradients(self.scaled[0], [features, *above], (0,))
        at_features, *others = gradients.stacks
        gramian = summed(gramian_of([at_features]), self.learner.distribute_strategy)
        (step,), weights = self._weighed([at_features], gramian)
        factors = tf.ones(len(self.learner.tasks)) if weights is None else weights
        step, *found = gradients.with_step([step, *(tf.tensordot(factors, stack, 1) for stack in others)])
        found = dict(zip(map(id, above), found))
        found |= zip(map(id, trunk), self.tape.gradient(features, trunk, output_gradients=step))
        return [found[id(v)] for v in self.network], weights

    def _gradients(self, losses, tensors, always):
        return TaskGradients(tensors, [self.tape.gradient(loss, tensors) for loss in losses], self.scale, always)

    def _weighed(self, shared, gramian):
        """The step of the method. One with an overflow of float16 is made NaN, so that the optimizer leaves it out."""
        fine = tf.reduce_all(tf.math.is_finite(gramian))
        overflows = isinstance(self.learner.optimizer, keras.optimizers.LossScaleOptimizer)
        self._check(None if overflows else gramian)
        step, weights = step_of(self.learner.weighting, shared, self.losses, gramian, self.present & fine)
        return [tf.where(fine, g, float("nan")) for g in step] if overflows else step, weights

    def _check(self, gramian):
        self.fine = self.learner.faults.check(self.losses, gramian, self.learner.optimizer.iterations)
        self.present &= self.fine  # without any task a method changes nothing

    def _apply(self, gradients, own):
        with tf.control_dependencies([self.fine]):
            gradients = [None if g is None else tf.identity(g) for g in [*gradients, *own]]
        pairs = [(g, v) for g, v in zip(gradients, [*self.network, *self.own]) if g is not None]
        update = lambda: self.learner.optimizer.apply(*map(list, zip(*pairs)))  # noqa: E731
        update() if self.learner.faults.noted is None else tf.cond(self.fine, update, lambda: None)


def _parts(count, y, y_pred, sample_weight):
    """The batch, or its two halves."""
    if count == 1:
        return [(y, y_pred, sample_weight)]
    rows = tf.shape(keras.tree.flatten(y_pred)[0])[0] // 2
    return [keras.tree.map_structure(lambda t: None if t is None else t[half], (y, y_pred, sample_weight))
            for half in (slice(None, rows), slice(rows, None))]


def _sum(a, b):
    return b if a is None else a if b is None else tf.convert_to_tensor(a) + tf.convert_to_tensor(b)


def _mean(a, b):
    total = _sum(a, b)
    return None if total is None else total / 2
