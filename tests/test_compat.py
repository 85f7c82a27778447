"""Each private name, guarded: a new Keras that changes one fails here first."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer import _compat
from support import run_python


@pytest.fixture
def model():
    inputs = keras.Input((3,), name="numbers")
    return keras.Model(inputs, {"y": keras.layers.Dense(2, name="dense")(inputs)})


def test_graph(model):
    assert _compat.graph(model) is model
    sequential = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert _compat.graph(sequential).output.shape == (None, 2)
    assert _compat.graph(keras.layers.Dense(2)) is None and _compat.graph(keras.Sequential()) is None


def test_run_graph_calls_the_wrapper_in_place_of_each_operation(model):
    seen = []
    x = np.ones((1, 3), "float32")
    result = _compat.run_graph(model, x, lambda op: lambda *a, **k: seen.append(op.name) or op(*a, **k))
    assert seen == ["dense"] and np.array_equal(result["y"], model(x)["y"])


def test_symbolic_inputs_in_a_dict_go_by_name_as_numbers_do():
    b, a = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    model = keras.Model([b, a], keras.ops.subtract(b, a))
    x = {"a": np.ones((1, 3), "float32"), "b": np.zeros((1, 3), "float32")}
    assert _compat.leaves_of(model, x)[0] is x["b"] and _compat.leaves_of(model, [x["a"], x["b"]])[0] is x["a"]
    fresh = {name: keras.Input((3,)) for name in ("a", "b")}
    again = keras.Model(list(fresh.values()), _compat.run_graph(model, fresh, lambda operation: operation))
    assert again(list(x.values())).numpy().tolist() == model(x).numpy().tolist() == [[-1.0] * 3]


def test_takes_training():
    assert _compat.takes_training(keras.layers.Dropout(0.1)) and not _compat.takes_training(keras.layers.Flatten())


def test_flat_layers(model):
    outer = keras.Sequential([keras.Input((3,)), model])
    assert [type(x).__name__ for x in _compat.flat_layers(outer)][:1] == ["Sequential"]
    assert model.get_layer("dense") in _compat.flat_layers(outer)


def test_structures_and_names(model):
    assert list(_compat.output_structure(model)) == ["y"]
    assert _compat.input_structure(model).shape == (None, 3)
    assert _compat.input_names(model) == ["numbers"]


def test_is_deterministic():
    lines = ["from keras_transfer import _compat", "import tensorflow as tf", "print(_compat.is_deterministic())",
             "tf.config.experimental.enable_op_determinism()", "print(_compat.is_deterministic())"]
    assert run_python("\n".join(lines)).stdout.split() == ["False", "True"]


def test_compile_arguments_are_the_objects_given(model):
    loss = {"y": keras.losses.MeanSquaredError()}
    model.compile(optimizer="sgd", loss=loss)
    assert _compat.compile_arguments(model)["loss"]["y"] is loss["y"]
    assert set(_compat.compile_arguments(model)) == {
        "optimizer",
        "loss",
        "loss_weights",
        "metrics",
        "weighted_metrics",
        "run_eagerly",
        "steps_per_execution",
        "jit_compile",
    }


def test_variable_key_is_one_for_the_keras_and_the_tensorflow_variable():
    variable, other = keras.Variable([1.0]), keras.Variable([1.0])
    sgd = keras.optimizers.SGD()
    assert _compat.variable_key(sgd, variable) == _compat.variable_key(sgd, variable.value)
    assert _compat.variable_key(sgd, variable) != _compat.variable_key(sgd, other)
    sgd.build([variable])
    assert _compat.built_for(sgd) == {_compat.variable_key(sgd, variable)}
    assert _compat.built_for(keras.optimizers.LossScaleOptimizer(sgd)) == _compat.built_for(sgd)


def test_replace_optimizer(model):
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss={"y": "mse"})
    new = keras.optimizers.SGD(0.5)
    _compat.replace_optimizer(model, new)
    assert model.optimizer is new and _compat.compile_arguments(model)["optimizer"] is new
    before = model.get_weights()
    model.fit(np.ones((2, 3)), {"y": np.ones((2, 2))}, verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_carry_exclusions():
    variables = [keras.Variable([1.0], name=name) for name in ("kernel", "bias", "scale")]
    old, new, plain = (keras.optimizers.SGD(0.1, weight_decay=0.1) for _ in range(3))
    old.exclude_from_weight_decay(var_list=variables[2:], var_names=["bias"])
    _compat.carry_exclusions(plain, old)  # which has nothing to tell
    _compat.carry_exclusions(old, new)
    new.build(variables)
    new.apply([np.zeros(1, "f4")] * 3, variables)
    assert [v.numpy()[0] for v in variables] == pytest.approx([0.99, 1, 1])


def test_scaled_updates_multiply_updates_and_weight_decay():
    class Scaled(_compat.ScaledUpdates, keras.optimizers.SGD):
        multipliers = {"half": 0.5}

    full, half = keras.Variable([1.0], name="full"), keras.Variable([1.0], name="half")
    optimizer = Scaled(0.1, weight_decay=0.1)
    optimizer.build([full, half])
    optimizer.apply([np.array([1.0], "f4")] * 2, [full, half])
    decayed = [1 - 0.1 * 0.1, 1 - 0.1 * 0.1 * 0.5]
    assert np.allclose([full.numpy()[0], half.numpy()[0]], [decayed[0] - 0.1, decayed[1] - 0.05])
    assert optimizer.weight_decay == 0.1


def test_set_mask():
    x = keras.ops.ones((1, 2))
    _compat.set_mask(x, keras.ops.ones((1, 2), "bool"))
    assert keras.layers.Masking().supports_masking and x._keras_mask.shape == (1, 2)


def test_mask_of():
    numbers = keras.Input((2,))
    assert _compat.mask_of(keras.layers.Embedding(3, 4, mask_zero=True)(numbers)).shape == (None, 2)
    assert _compat.mask_of(keras.layers.Embedding(3, 4, mask_zero=True)(np.ones((1, 2)))).numpy().all()
    assert _compat.mask_of(numbers) is None


def test_outputs_of_uses_are_those_in_this_model():
    dense, inputs = keras.layers.Dense(3), keras.Input((3,))
    elsewhere = dense(keras.Input((3,)))
    model = keras.Model(inputs, dense(dense(inputs)))
    uses = _compat.outputs_of_uses(model, dense)
    assert len(uses) == 2 and uses[0][0] is model.outputs[0] and all(u[0] is not elsewhere for u in uses)


def test_saved_model_message_reads_a_saved_model():
    message = _compat.saved_model_message()
    message.meta_graphs.add().meta_info_def.tags.append("serve")
    again = _compat.saved_model_message()
    again.ParseFromString(message.SerializeToString())
    assert again.meta_graphs[0].meta_info_def.tags == ["serve"]


def test_in_safe_mode(tmp_path):
    seen = []

    @keras.saving.register_keras_serializable("keras_transfer_tests")
    class Watching(keras.layers.Layer):
        @classmethod
        def from_config(cls, config):
            seen.append(_compat.in_safe_mode())
            return cls(**config)

    model = keras.Sequential([keras.Input((1,)), Watching()])
    model.save(tmp_path / "model.keras")
    for safe in (True, False):
        keras.models.load_model(tmp_path / "model.keras", safe_mode=safe)
    assert seen == [True, False] and not _compat.in_safe_mode()


def test_alias_is_the_variable_itself():
    layer, variable = keras.layers.Layer(), tf.Variable([1.0, 2.0])
    weight = _compat.alias(layer, variable, "mine", trainable=True)
    weight.assign([3.0, 4.0])
    assert variable.numpy().tolist() == [3.0, 4.0]
    assert [w.name for w in layer.trainable_weights] == ["mine"]
    assert _compat.alias(layer, tf.Variable([1]), "other", trainable=False).name == "other"
    assert len(layer.trainable_weights) == 1 and len(layer.non_trainable_weights) == 1


def test_calls_tell_operations_arguments_and_outputs_from_input_to_output():
    inputs = keras.Input((3,))
    layer = keras.layers.Dense(3)
    first = layer(inputs)
    model = keras.Model(inputs, keras.ops.add(layer(first), 2.0))
    found = list(_compat.calls(model))
    assert [type(operation).__name__ for operation, *_ in found] == ["Dense", "Dense", "Add"]
    assert found[0][0] is found[1][0] is layer and found[0][3][0] is first and found[1][1][0] is first
    assert found[2][1][1] == 2.0 and found[2][3][0] is model.outputs[0]


def test_without_variables_replaces_them_by_what_they_are_now():
    variable = tf.Variable([2.0, 3.0])
    function = tf.function(lambda x: [x * variable], input_signature=[tf.TensorSpec((None, 2))]).get_concrete_function()
    frozen = _compat.without_variables(function)
    variable.assign([0.0, 0.0])
    assert function.variables and not frozen.variables
    assert frozen(tf.ones((1, 2)))[0].numpy().tolist() == [[2.0, 3.0]]


def in_step(strategy, function, *args):
    """Runs a function on the replicas of a strategy as a training step would."""
    return strategy.experimental_local_results(tf.function(lambda: strategy.run(function, args=args))())


def test_replicated_builds_from_specs_and_draws_no_batch():
    class Model(_compat.Replicated, keras.Model):
        pass

    drawn = []
    data = tf.data.Dataset.range(4).map(lambda i: tf.numpy_function(lambda i: drawn.append(i) or np.float32(i), [i], tf.float32))
    data = data.map(lambda x: (tf.reshape(x, [1]), tf.reshape(x, [1]))).batch(2)
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        inputs = keras.Input((1,))
        model = Model(inputs, keras.layers.Dense(1)(inputs))
        model.compile("sgd", "mse")
    logs = model.fit(data, verbose=0, shuffle=False).history
    assert sorted(drawn) == [0, 1, 2, 3] and np.isfinite(logs["loss"]).all() and model.evaluate(data, verbose=0) >= 0


def test_replicated_does_nothing_to_logs_and_steps_of_one_process(model):
    class Model(_compat.Replicated, keras.Model):
        pass

    ours = Model(model.inputs, model.outputs[0])
    ours.compile("sgd", "mse", steps_per_execution=2)
    logs = {"loss": tf.constant(1.0)}
    assert ours._with_an_axis(logs) is logs
    assert tf.distribute.MultiWorkerMirroredStrategy().extended._in_multi_worker_mode() is False  # without TF_CONFIG
    assert ours.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0).history["loss"]
    assert ours.fit.__doc__ == keras.Model.fit.__doc__


def test_live_statistics_are_those_of_layers_that_train():
    norm, frozen, normalization = keras.layers.BatchNormalization(), keras.layers.BatchNormalization(), keras.layers.Dropout(0.1)
    model = keras.Sequential([keras.Input((2,)), keras.Sequential([keras.Input((2,)), norm]), frozen, normalization])
    frozen.trainable = False
    assert [id(v) for v in _compat.live_statistics(model)] == [id(norm.moving_mean), id(norm.moving_variance)]


@pytest.mark.parametrize("limit", [{"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {"clipvalue": 0.5}, {}])
def test_clip_sums_of_replicas_is_what_keras_does_on_one(limit):
    gradients, found = [tf.constant([3.0, 4.0]), tf.constant([0.1])], []
    for ours in (False, True):
        optimizer = keras.optimizers.SGD(**limit)
        if ours:
            _compat.clip_sums_of_replicas(optimizer)
        assert ("_clip_gradients" in vars(optimizer)) == (ours and bool(limit))
        found.append(np.concatenate(optimizer._clip_gradients(gradients)))
    assert np.array_equal(*found) and (found[0][0] < 3.0) == bool(limit)


@pytest.mark.parametrize("often", [None, 2, 3])
@pytest.mark.parametrize("steps", [None, 2])
def test_branch_together_is_what_keras_does_on_one(often, steps):
    gradients = [[1.0, -2.0], [3.0, 1.0], [2.0, 2.0], [0.0, 1.0], [1.0, 0.0], [2.0, -1.0]]
    results = []
    for ours in (False, True):
        variable = keras.Variable([1.0, 1.0])
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.01, clipnorm=1.0, gradient_accumulation_steps=steps,
                                         use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=often)
        optimizer.build([variable])
        if ours:
            _compat.branch_together(optimizer)
        assert ("_backend_apply_gradients" in vars(optimizer)) == (ours and bool(often or steps))
        for gradient in map(tf.constant, gradients):
            if ours:
                in_step(tf.distribute.get_strategy(), lambda g: optimizer.apply([g], [variable]), gradient)
            else:
                optimizer.apply([gradient], [variable])
        results.append([v.numpy().tolist() for v in (variable, *optimizer.variables)])
    assert results[0] == results[1] and results[0][0] != [1.0, 1.0]
    plain = keras.optimizers.SGD(0.1)
    _compat.branch_together(plain)
    assert "_backend_apply_gradients" not in vars(plain)


def test_losses_of_layers_are_added_once_on_several_replicas(monkeypatch):
    class Model(_compat.Replicated, keras.Model):
        pass

    inputs = keras.Input((2,))
    layer = keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.5),
                               activity_regularizer=keras.regularizers.L2(1.0))
    model = Model(inputs, layer(inputs))
    model.compile("sgd", "mse")
    x, y = tf.ones((3, 2)), tf.zeros((3, 1))

    def loss():
        return float(model.compute_loss(x=x, y=y, y_pred=model(x)))

    assert loss() == 4.0 + 4.0 + 1.0
    monkeypatch.setattr(type(tf.distribute.get_strategy()), "num_replicas_in_sync", 2)
    assert loss() == 9.0 / 2  # of which Keras logs the double
