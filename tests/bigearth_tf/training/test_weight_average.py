"""The average of the weights follows its formula, replaces them only while swapped, and is in checkpoints."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.training.weight_average import WeightAverage


def test_the_average_by_hand():
    weight = tf.Variable([1.0, 10.0])
    average = WeightAverage([weight], 0.15)
    weight.assign([2.0, 20.0])
    average.update()  # Keeps min(0.15, 1 / 10) of the average.
    np.testing.assert_allclose(average.averages[0], [1.9, 19.0], rtol=1e-6)
    weight.assign([0.0, 0.0])
    average.update()  # min(0.15, 2 / 11)
    np.testing.assert_allclose(average.averages[0], [0.285, 2.85], rtol=1e-6)
    assert [variable.shape.rank for variable in average.variables] == [0, 1]


def test_it_agrees_with_tensorflow():
    weight = tf.Variable(np.float32(3.0))
    average = WeightAverage([weight], 0.9)
    # In eager mode, TensorFlow's average starts with the first value.
    steps = tf.Variable(0)
    reference = tf.train.ExponentialMovingAverage(0.9, num_updates=steps)
    reference.apply([weight])
    for step in range(100):
        weight.assign(np.float32(np.sin(step)))
        steps.assign(step)
        reference.apply([weight])
        average.update()
    assert float(average.averages[0]) == pytest.approx(float(reference.average(weight)), rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"jit_compile": True}])
def test_it_is_updated_within_a_function(options):
    weight = tf.Variable(1.0)
    average = WeightAverage([weight], 0.99)

    @tf.function(**options)
    def step():
        weight.assign_add(1.0)
        average.update()

    step()
    step()
    assert float(average.averages[0]) == pytest.approx(0.1 * 1.9 * 20 / 11 + 3 * 9 / 11, rel=1e-6)
    assert int(average.num_updates) == 2


def make_net():
    net = keras.Sequential([keras.layers.Dense(3), keras.layers.BatchNormalization()])
    net.build((None, 2))
    return net


def test_swapped_evaluates_the_averages_and_restores_the_weights():
    net = make_net()
    average = WeightAverage(net.variables, 0.9)
    weights = [np.random.default_rng(0).normal(size=v.shape).astype(np.float32) for v in net.variables]
    averages = [variable.numpy() for variable in average.averages]
    net.set_weights(weights)
    with average.swapped():
        for found, expected in zip(net.get_weights(), averages):
            np.testing.assert_array_equal(found, expected)
    with pytest.raises(KeyboardInterrupt), average.swapped():
        net.variables[0].assign_add(tf.ones([2, 3]))
        raise KeyboardInterrupt
    for found, expected in zip(net.get_weights(), weights):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(average.averages, averages):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_checkpoint_contains_it(tmp_path, policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        net, other = make_net(), make_net()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    average, restored = WeightAverage(net.variables, 0.9), WeightAverage(other.variables, 0.9)
    net.set_weights([np.full(v.shape, 5.0) for v in net.variables])
    average.update()
    path = tf.train.Checkpoint(model=net, average=average).save(str(tmp_path / "ckpt"))
    tf.train.Checkpoint(model=other, average=restored).restore(path).assert_consumed()
    assert int(restored.num_updates) == 1
    for found, expected in zip([*restored.averages, *other.variables], [*average.averages, *net.variables]):
        assert found.dtype == tf.float32
        np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(average.averages[0], net.variables[0])


def test_a_model_saved_inside_has_the_averages_as_its_weights(tmp_path):
    net = make_net()
    average = WeightAverage(net.variables, 0.9)
    before = net.get_weights()
    net.set_weights([weight + 1.0 for weight in before])
    with average.swapped():
        path = tf.train.Checkpoint(model=net).save(str(tmp_path / "best"))
    other = make_net()
    tf.train.Checkpoint(model=other).restore(path).expect_partial()
    for found, expected in zip(other.get_weights(), before):
        np.testing.assert_array_equal(found, expected)
