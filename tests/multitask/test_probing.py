import keras
import numpy as np
import pytest
import tensorflow as tf
from support import values

import keras_transfer as kt
from keras_transfer.multitask.probing import Probe, first_batches, learner_of, restored
from keras_transfer.network import model_of
from multitask import small


def test_gradients_are_those_of_the_losses_times_their_weights():
    model, (x, y) = small.network(), small.data()
    tensors = [v.value for v in model.trainable_variables]
    stacks, losses, present = Probe(model, model.trainable_variables).gradients(tf.convert_to_tensor(x), y, None)
    heads = [(name, model.get_layer(name)) for name in small.TASKS]
    for k, (name, head) in enumerate(heads):
        with tf.GradientTape() as tape:
            loss = head.loss_weight * head.make_loss()(y[name], model(x)[name])
        assert losses[k].numpy() == pytest.approx(loss.numpy(), rel=1e-5)
        for stack, gradient in zip(stacks, tape.gradient(loss, tensors, unconnected_gradients="zero")):
            assert np.allclose(stack[k], gradient, atol=1e-6)
    assert present.numpy().all()


def test_at_features_the_gradient_is_that_of_the_features():
    model, (x, y) = small.network(), small.data()
    ((stack,), _, _) = Probe(model, at="features").gradients(tf.convert_to_tensor(x), y, None)
    head = model.get_layer("age")
    with tf.GradientTape() as tape:
        features = model.get_layer("backbone")(x)
        tape.watch(features)
        loss = head.make_loss()(y["age"], head(features))
    assert stack.shape == (3, len(x), 5)
    assert np.allclose(stack[list(model.output).index("age")], tape.gradient(loss, features), atol=1e-6)


def test_a_compiled_model_keeps_its_losses_and_is_left_alone():
    model, (x, y) = small.network(), small.data()
    colour = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = dict.fromkeys(small.TASKS, "mse") | {"colour": colour}
    model.compile(optimizer=keras.optimizers.SGD(0.25), loss=losses, loss_weights={"size": 2.0})
    optimizer = model.optimizer
    learner = learner_of(model)
    assert learner.task_losses.weights == {"size": 2.0, "colour": 1.0, "age": 1.0}
    assert isinstance(learner.optimizer, keras.optimizers.SGD) and learner.optimizer is not optimizer
    assert float(learner.optimizer.learning_rate) == 0.25 and model.optimizer is optimizer
    again = learner_of(learner)
    assert again.task_losses.weights == learner.task_losses.weights and model_of(again) is model is model_of(model)
    assert learner_of(small.network()).task_losses.weights["size"] == 0.5  # of the head


def test_restored_puts_values_back_to_the_bit_also_after_an_error():
    model = small.network()
    before = values(model)
    with pytest.raises(KeyboardInterrupt), restored(model.variables):
        for variable in model.trainable_variables:
            variable.assign(variable + 0.1)
        assert not np.array_equal(before[0], values(model)[0])
        raise KeyboardInterrupt
    assert all(np.array_equal(a, b) for a, b in zip(before, values(model)))


def test_batches_of_every_kind_of_data():
    model, (x, y) = small.network(), small.data(rows=40)

    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, k):
            return x[20 * k:20 * k + 20], {name: label[20 * k:20 * k + 20] for name, label in y.items()}

    dataset = tf.data.Dataset.from_tensor_slices((x, y, dict.fromkeys(y, np.ones(40, "float32"))))
    for data, sizes in [((x, y), [32, 8]), (Rows(), [20, 20]), (dataset.batch(10), [10, 10, 10])]:
        found = first_batches(model, data, 3)
        assert [len(batch[0]) for batch in found] == sizes
        assert np.array_equal(np.concatenate([batch[0] for batch in found]), x[:sum(sizes)])
        assert (found[0][2] is None) == (sizes != [10, 10, 10])
    assert len(first_batches(model, (x, y), 1)) == 1
    with pytest.raises(ValueError, match="`dataset` is empty"):
        first_batches(model, dataset.batch(10).filter(lambda *_: False), 1)


def test_a_shuffled_set_keeps_its_place(photo_folder):
    train, _, labels = kt.data.photos(str(photo_folder), size=16, batch_size=8, validation=0.2)
    known = kt.data.info(train)
    known.epoch.assign(3)
    x = inputs = keras.Input((16, 16, 3))
    backbone = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    model = kt.attach(backbone, kt.heads.Classifier(labels))
    first = first_batches(model, train, 1)[0][0]
    assert known.epoch.numpy() == 3
    assert np.array_equal(first, first_batches(model, train, 1)[0][0])
