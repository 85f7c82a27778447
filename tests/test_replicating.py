"""What a step needs on each of several replicas, looked at on one; `test_distributing` trains on two."""

import threading

import keras
import tensorflow as tf

from keras_transfer.replicating import (
    LossesOfReplica,
    average_changes,
    loss_of_layers,
    see_overflows_of_all_replicas,
    share_accumulated,
    without_empty_batches,
)


def test_average_changes_of_one_replica_are_its_own():
    variable, before = keras.Variable([3.0], trainable=False), tf.constant([1.0])
    strategy = tf.distribute.get_strategy()
    strategy.run(lambda: average_changes([variable], [before], rows=tf.constant(4)))
    assert variable.numpy().tolist() == [3.0]


def test_accumulated_gradients_of_one_replica_stay():
    optimizer, variable = keras.optimizers.SGD(0.5, gradient_accumulation_steps=2), keras.Variable([1.0])
    optimizer.build([variable])
    optimizer.apply([tf.constant([3.0])], [variable])
    share_accumulated(optimizer, tf.distribute.get_strategy())
    optimizer.apply([tf.constant([1.0])], [variable])
    assert variable.numpy().tolist() == [0.0]


def test_empty_batches_are_filled_in_a_step_of_several_replicas_only(monkeypatch):
    seen = []

    def run(x, made_up):
        seen.append((*x.shape, None if made_up is None else int(made_up)))
        return {"y": x + 1.0}

    assert without_empty_batches(run, tf.zeros((0, 2)))["y"].shape == (0, 2)
    monkeypatch.setattr(type(tf.distribute.get_strategy()), "num_replicas_in_sync", 2)
    assert without_empty_batches(run, tf.zeros((0, 2)))["y"].shape == (0, 2)
    assert without_empty_batches(run, tf.ones((3, 2)))["y"].numpy().tolist() == [[2.0, 2.0]] * 3
    assert without_empty_batches(run, tf.zeros((0, 2), tf.float32)[:0])["y"].shape == (0, 2)
    assert seen == [(0, 2, None), (1, 2, 1), (3, 2, 0), (1, 2, 1)]


def test_what_layers_add_counts_by_the_rows_and_without_rows_nothing(monkeypatch):
    losses = [tf.constant(2.0), tf.constant([1.0, 3.0])]
    assert float(loss_of_layers(losses, tf.zeros((0, 1)))) == 6.0
    monkeypatch.setattr(type(tf.distribute.get_strategy()), "num_replicas_in_sync", 2)
    assert float(loss_of_layers(losses, [None, tf.zeros((3, 1))])) == 3.0  # of which Keras logs the double
    assert float(loss_of_layers([tf.constant(float("nan"))], tf.zeros((0, 1)))) == 0.0


def test_each_thread_has_losses_of_its_own():
    losses, others = LossesOfReplica(), []
    losses.append(1)

    def elsewhere():
        losses.extend([2, 3])
        others.append(losses[:])
        losses.clear()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert others == [[2, 3]] and losses[:] == [1]


def test_overflows_are_those_of_keras_on_one_replica():
    scaled, plain = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), keras.optimizers.SGD()
    for optimizer in (scaled, plain):
        see_overflows_of_all_replicas(optimizer)
    assert not hasattr(plain, "check_finite")
    assert bool(scaled.check_finite([tf.ones(2), None])) and not bool(scaled.check_finite([tf.ones(2), tf.constant([1.0, float("inf")])]))
