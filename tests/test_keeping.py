"""What is kept of a run while `fit` runs: `test_recipe` has whole runs, killed and resumed."""

import keras
import numpy as np
import pytest

from keras_transfer.checkpointing import RunState
from keras_transfer.keeping import Keeper, restore


def small(name="small"):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs), name=name)
    model.compile(keras.optimizers.SGD(0.5), "mse")
    return model


def kept(model, callbacks=(), directory=None, epochs=3, name="tune"):
    """Trains a model with a keeper, and returns that."""
    keeper = Keeper(RunState({}, 7), directory, callbacks)
    keeper.begin(model, name, epochs, 0.5)
    x = np.arange(8.0).reshape(4, 2) / 8
    model.fit(x, x[:, :1], validation_data=(x, x[:, :1]), epochs=epochs, verbose=0, callbacks=[*callbacks, keeper])
    return keeper


def test_the_rate_falls_unless_a_callback_sets_it():
    model = small()
    assert kept(model).state.history["learning_rate"] == pytest.approx([0.5, 0.375, 0.125])
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.25)
    assert kept(model, [scheduler]).state.history["learning_rate"] == [0.25] * 3


def test_a_phase_ends_without_a_better_loss_and_the_best_weights_are_remembered():
    model = small()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    keeper = kept(model, epochs=20, name="head")
    assert keeper.state.epoch == 6 and keeper.state.epochs_over is True
    assert all(map(np.array_equal, keeper.state.best_weights, model.get_weights()))


def test_a_callback_may_stop_training_by_a_number_of_numpy(tmp_path):
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", np.bool_(True)))
    assert kept(small(), [stop], tmp_path).state.epoch == 1
    again = RunState({}, 7)
    again.load(tmp_path)
    assert again.epochs_over is True


def test_values_of_other_shapes_are_refused():
    variable = keras.Variable(np.zeros(3, "float32"))
    restore([variable], [np.ones(3)])
    assert variable.numpy().tolist() == [1.0] * 3
    for values in ([np.ones(2)], [np.ones(3)] * 2):
        with pytest.raises(ValueError, match="The checkpoint is of another run: what trained in it was another part"):
            restore([variable], values)


def test_the_best_weights_are_kept_only_where_they_are_given_back():
    assert kept(small()).state.best_weights is not None
    assert kept(small(), [keras.callbacks.EarlyStopping(patience=5)]).state.best_weights is None
