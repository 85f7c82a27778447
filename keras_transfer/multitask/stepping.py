"""One step of training on several tasks: one forward pass, a backward pass a task, one update."""
import keras
import tensorflow as tf

from .. import _compat
from ..distributing import summed
from ..network import Learner
from ..replicating import loss_of_layers
from .faults import give_back, held, squares_of
from .gradients import TaskGradients, step_of, total_of
from .weighting.weighting import Weighting, gramian_of, weighted


class Stepping(Learner):
    """A model whose training step asks a weighting how the tasks come together.

    Subclasses have `weighting`, `tasks`, `task_losses` (`TaskLosses`), `faults` (`Faults`), `trunk` and `top` (models, or None:
    gradients go to the variables), `kept` (places of trainable variables that a method keeps something of), `labelled`
    (labels seen, `(tasks,)`), `batch` (the number of the last batch, int64) and `shown` (metrics `weights`, and whether results are those of an epoch, `in_epoch`).
    """

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if self.weighting is None:
            return self._plain_step(x, y, sample_weight)
        before = held(_compat.changed_by_passes(self.model))
        with tf.GradientTape(persistent=True) as tape:
            features = None if self.trunk is None else self.trunk(x, training=True)
            with tf.GradientTape(persistent=True) as upper:  # which ends at the features, where the tape goes on
                y_pred, halves, penalty = self._passed(x, features, upper)
                total = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
                losses = self.task_losses(y, y_pred, sample_weight)
                scaled = [self.optimizer.scale_loss(loss) for loss in losses]
            total += penalty - self._penalty(x) if halves else 0.0  # Keras knows the layers' losses of the last pass
            penalty = self.optimizer.scale_loss(penalty) if self.losses else None
        self._log_loss(total, x)
        seen, *seen_in_halves = (summed(self.task_losses.seen(part), self.distribute_strategy)
                                 for part in [y, *(_halves(y, whole=False) if halves else [])])
        losses = summed(tf.stack(losses), self.distribute_strategy)
        step = _Step(self, tape, scaled, list(zip(halves, seen_in_halves)), penalty, losses, seen > 0, before,
                     summed(total, self.distribute_strategy))
        weights = step.take(features, upper)
        self.labelled.assign_add(seen)
        for place, tracker in enumerate(self.shown.weights):
            tracker.update_state(weights[place], sample_weight=tf.cast(step.present[place], tf.float32))
        if type(self.weighting).after_update is not Weighting.after_update:
            self._look_again(x, y, sample_weight, step.present)
        return {**self.compute_metrics(x, y, y_pred, sample_weight=sample_weight), **self._shown_weights()}

    def _plain_step(self, x, y, sample_weight):
        """Keras's own, to the bit, but for a look at the losses before anything has changed."""
        before = held(_compat.changed_by_passes(self.model))
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            total = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
            scaled = self.optimizer.scale_loss(total)
        self._log_loss(total, x)
        gradients = tape.gradient(scaled, self.trainable_variables)
        may_overflow = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        everywhere = summed([total, tf.zeros(()) if may_overflow else squares_of(gradients)], self.distribute_strategy)
        by_name = isinstance(y, dict)  # a PyDataset may give a tuple, which Keras takes, too
        each = (lambda: tf.stack(self.task_losses(y, y_pred, sample_weight))) if by_name else None
        if by_name and self.replicas > 1:  # which can't be summed only where one of them is wrong
            each = summed(each(), self.distribute_strategy)
        fine = self.faults.check(self.count(total), before, losses=each, total=everywhere[0], gradients=everywhere[1:])
        self.faults.guard(fine, lambda: self.optimizer.apply(gradients, self.trainable_variables))
        self.labelled.assign_add(summed(self.task_losses.seen(y), self.distribute_strategy) if by_name else tf.ones(len(self.tasks)))
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def count(self, after):
        """The number of this batch, counted after a tensor is known: a step that finds no batch any more must not count."""
        with tf.control_dependencies([after]):
            return self.batch.assign_add(1, read_value=True)

    def reset_metrics(self):
        super().reset_metrics()
        for tracker in self.shown.weights:
            tracker.reset_state()

    def get_metrics_result(self):
        """Weights belong to the results of `fit`, and not to those of `evaluate`."""
        return {**super().get_metrics_result(), **(self._shown_weights() if self.shown.in_epoch else {})}

    def _shown_weights(self):
        return {tracker.name: tracker.result() for tracker in self.shown.weights}

    def _passed(self, x, features, upper):
        """Returns the predictions, those of both halves if each is passed by itself, and the loss of the layers."""
        if features is not None:
            upper.watch(features)
            return self.top(features, training=True), [], self._penalty(x)
        if self.weighting.parts == 1:
            return self(x, training=True), [], self._penalty(x)
        one, other = ((self(half, training=True), self._penalty(x)) for half in _halves(x))
        halves, penalties = zip(one, other)
        both = _rows(x) % 2  # of them has the middle row of an odd number
        y_pred = keras.tree.map_structure(lambda a, b: tf.concat([a, b[both:]], 0), *halves)
        return y_pred, halves, sum(penalties) / 2

    def _penalty(self, x):
        return loss_of_layers(losses, x) if (losses := self.losses) else 0.0

    def _look_again(self, x, y, sample_weight, present):
        before = held(_compat.changed_by_passes(self.model))
        losses = tf.stack(self.task_losses(y, self(x, training=True), sample_weight))
        give_back(before)
        self.weighting.after_update(summed(losses, self.distribute_strategy), present)

    @property
    def replicas(self):
        """How many replicas take a step together."""
        return self.distribute_strategy.num_replicas_in_sync

    def _log_loss(self, total, x):
        tracker = next(metric for metric in self.metrics if metric.name == "loss")
        tracker.update_state(total * self.replicas, sample_weight=_rows(x))


class _Step:
    """What is made of a forward pass.

    Args:
        learner: the `Stepping` model.
        tape: the persistent tape that recorded the pass.
        scaled: the losses, `[scalar]`, as the optimizer wants them scaled.
        halves: of both halves of the batch, its predictions and how many labels it has of each task, `(tasks,)`; or an empty
            list.
        penalty: the regularizers' loss, scaled, or None.
        losses: `(tasks,)`, of all replicas.
        present: bool `(tasks,)`.
        before: `[(variable, value)]`: what a step that is left out must not have changed.
        total: the sum of the losses of all replicas, those of the layers among them.
    """

    def __init__(self, learner, tape, scaled, halves, penalty, losses, present, before, total):
        self.learner, self.tape, self.scaled, self.halves, self.penalty = learner, tape, scaled, halves, penalty
        self.losses, self.present, self.before, self.total = losses, present, before, total
        self.scale, self.strategy = learner.optimizer.scale_loss(tf.ones(())), learner.distribute_strategy
        self.may_overflow = isinstance(learner.optimizer, keras.optimizers.LossScaleOptimizer)
        if not learner.weighting.keeps_gradients or self.may_overflow:  # what is kept is large, and of shared gradients only
            self.before = [*before, *held(learner.weighting.non_trainable_variables)]
        self.sound = tf.constant(True)
        self.own = learner.weighting.trainable_variables
        self.network = [v for v in learner.trainable_variables if all(v is not w for w in self.own)]

    def take(self, features, upper):
        """Updates all variables, and returns the weights `(tasks,)`, or None where the method has none."""
        weighting = self.learner.weighting
        if not weighting.reads_gradients:
            return self._by_losses(weighting)
        by = self._by_halves if self.halves else self._by_gradients
        gradients, weights = by() if features is None else self._at(features, upper)
        if self.penalty is not None:
            gradients = [total_of(a, b) for a, b in zip(gradients, self.tape.gradient(self.penalty, self.network))]
        self._apply(gradients, [])
        return weights

    def _by_losses(self, weighting):
        """One backward pass, through all losses at once."""
        self._check()
        weights, own = weighting.weigh(self.losses, None, self.present)
        targets, factors = self.scaled, tf.unstack(weights, len(self.learner.tasks))
        if self.penalty is not None:
            targets, factors = [*targets, self.penalty], [*factors, tf.ones(())]
        gradients = self.tape.gradient(targets, self.network, output_gradients=factors)
        self._apply(gradients, [g * self.scale / self.learner.replicas for g in own])
        return weights

    def _by_gradients(self):
        """A backward pass a task; those of all replicas are summed before they are weighed."""
        gradients = self._gradients(self.scaled, self.network, self.learner.kept).reduced(self.strategy)
        step, weights = self._weighed(gradients.stacks, gradients.gramian())
        return gradients.with_step(step, self.learner.replicas), weights

    def _by_halves(self):
        """A backward pass a task through each half of the batch; both halves' gradients add up to those of the whole."""
        predictions = [keras.tree.flatten(half) for half, _ in self.halves]
        found = [self.tape.gradient(loss, predictions) for loss in self.scaled]  # of the loss of the whole batch
        one, other = (self._half(said, [task[k] for task in found]) for k, said in enumerate(predictions))
        shares = [tf.math.divide_no_nan(seen, tf.add_n([n for _, n in self.halves])) for _, seen in self.halves]
        _, weights = self._weighed([], one.gramian_of_halves(other, *shares))
        steps = (half.with_step(weighted(weights, half.stacks), self.learner.replicas) for half in (one, other))
        return [total_of(*gradients) for gradients in zip(*steps)], weights

    def _at(self, features, upper):
        """Small passes down to the features, which are weighed there, and one through the trunk with what comes of it."""
        above, below = self.learner.top.trainable_variables, self.learner.trunk.trainable_variables
        gradients = self._gradients(self.scaled, [features, *above], (0,), upper)
        at_features, *others = gradients.stacks
        gramian = summed(gramian_of([at_features]), self.strategy)
        (step,), weights = self._weighed([at_features], gramian)
        factors = tf.ones(len(self.learner.tasks)) if weights is None else weights
        step, *found = gradients.with_step([step, *(tf.tensordot(factors, stack, 1) for stack in others)])
        found = dict(zip(map(id, above), found))
        for variable, gradient in zip(below, self.tape.gradient(features, below, output_gradients=step)):
            found[id(variable)] = total_of(found.get(id(variable)), gradient)
        return [found[id(v)] for v in self.network], weights

    def _gradients(self, losses, tensors, always=(), tape=None):
        return TaskGradients(tensors, [(tape or self.tape).gradient(loss, tensors) for loss in losses], self.scale, always)

    def _half(self, predictions, found):
        """The gradients of the tasks through the predictions of one half, from those with respect to them."""
        reached = [[k for k, g in enumerate(task) if g is not None] for task in found]
        return TaskGradients(self.network, [
            self.tape.gradient([predictions[k] for k in ks], self.network, output_gradients=[task[k] for k in ks])
            for ks, task in zip(reached, found)], self.scale).reduced(self.strategy)

    def _weighed(self, shared, gramian):
        """The step of the method, and its weights; an overflow of float16 is no fault, but leaves the step out."""
        self._check(() if self.may_overflow else gramian)
        self.sound = tf.reduce_all(tf.math.is_finite(gramian))
        return step_of(self.learner.weighting, shared, self.losses, gramian, self.present & self.sound)

    def _check(self, gramian=()):
        self.batch = self.learner.count(self.losses)
        fine = self.learner.faults.check(self.batch, self.before, losses=self.losses, total=self.total, gramian=gramian)
        self.present &= fine  # without any task a method changes nothing

    def _apply(self, gradients, own):
        pairs = [(g, v) for g, v in zip([*gradients, *own], [*self.network, *self.own]) if g is not None]
        gradients, variables = map(list, zip(*pairs))
        if self.may_overflow:
            gradients, squares = self._all_or_none(gradients), 0.0
        else:
            squares = summed(squares_of(gradients), self.strategy)
        fine = self.learner.faults.check(self.batch, self.before, gradients=[squares])
        self.present &= fine
        self.learner.faults.guard(fine, lambda: self.learner.optimizer.apply(gradients, variables))

    def _all_or_none(self, gradients):
        """After an overflow all is as it was, on every replica; the optimizer itself looks at the first one only."""
        gradients = [tf.convert_to_tensor(g) for g in gradients]
        overflows = [~self.sound, *(tf.reduce_any(~tf.math.is_finite(g)) for g in gradients)]
        sound = summed(tf.cast(tf.reduce_any(overflows), tf.float32), self.strategy) == 0
        give_back(self.before, unless=sound)
        self.present &= sound
        return [tf.where(sound, g, float("nan")) for g in gradients]


def _rows(x):
    return tf.shape(keras.tree.flatten(x)[0])[0]


def _halves(x, whole=True):
    """Both halves of a batch; of an odd number of rows both have the middle one, unless the second isn't to be `whole`."""
    rows = _rows(x)
    first = rows - rows // 2
    second = rows // 2 if whole else first
    return [keras.tree.map_structure(lambda t: t[half], x) for half in (slice(None, first), slice(second, None))]
