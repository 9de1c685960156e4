"""Dropout depends on seed, step, rank and layer only."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.training.dropout_seeding import reset, seed_dropout

SIZE = 32


def make_model():
    """Returns a model with four dropouts: in attention, in a nested model, and two at the top."""
    nested_input = keras.Input((SIZE,))
    nested = keras.Model(nested_input, keras.layers.Dropout(0.5)(keras.layers.Dropout(0.0)(nested_input)))
    inputs = keras.Input((SIZE,))
    tokens = keras.layers.Reshape((SIZE // 4, 4))(inputs)
    attended = keras.layers.MultiHeadAttention(2, 4, dropout=0.5, kernel_initializer="ones")(tokens, tokens)
    dropped = keras.layers.Dropout(0.5)(inputs)
    again = keras.layers.Dropout(0.5)(inputs)
    return keras.Model(inputs, [dropped, again, nested(inputs), attended])


@pytest.fixture(scope="module", autouse=True)
def generators_on():
    keras.backend.experimental.enable_tf_random_generator()
    yield
    keras.backend.experimental.disable_tf_random_generator()


def make_draw(seed=42, compiled=True, **options):
    """Returns a function: step, rank -> the outputs of a new model, in a `tf.function` of its own."""
    model = make_model()
    generators = seed_dropout(model, seed)

    def draw(step, rank):
        reset(generators, step, rank)
        return model(tf.ones([16, SIZE]), training=True)

    function = tf.function(draw, **options) if compiled else draw
    return lambda step, rank=0: [array.numpy().astype(np.float32) for array in function(tf.constant(step), rank)]


def equal(one, other):
    return [np.array_equal(a, b) for a, b in zip(one, other)]


def test_a_model_built_again_drops_the_same_in_any_order_of_steps():
    first, second = make_draw(), make_draw()
    steps = {step: first(step) for step in (0, 1, 2, 100_000)}
    assert equal(second(100_000), steps[100_000]) == equal(second(1), steps[1]) == [True] * 4
    assert equal(first(1), steps[1]) == [True] * 4


def test_every_layer_step_rank_and_seed_drops_differently():
    draw = make_draw()
    found = draw(7)
    assert all(0.4 < np.mean(array == 0) < 0.6 for array in found[:3])
    assert not any(equal(found[:3], [found[1], found[2], found[0]]))
    for other in (draw(8), draw(7, 1), draw(6, 1), make_draw(seed=43)(7)):
        assert equal(other, found) == [False] * 4


def test_no_two_layers_steps_or_ranks_share_numbers():
    draw = make_draw()
    masks = [array for step in range(6) for rank in range(2) for array in draw(step, rank)[:3]]
    columns = np.stack([(mask != 0).ravel() for mask in masks]).astype(float)
    correlation = np.corrcoef(columns) - np.eye(len(masks))
    assert np.abs(correlation).max() < 0.2  # 9 standard deviations of 512 independent draws are 0.4, 4.5 are 0.2.


def test_a_part_of_a_step_drops_differently_from_the_part_before():
    model = make_model()
    generators = seed_dropout(model, 1)

    @tf.function
    def step():
        reset(generators, 5, 0)
        return model(tf.ones([16, SIZE]), training=True), model(tf.ones([16, SIZE]), training=True)

    first, second = step()
    assert equal(first, second) == [False] * 4


def test_eager_mode_draws_the_same_and_xla_numbers_of_the_same_distribution():
    assert equal(make_draw(compiled=False)(3, 2), make_draw()(3, 2)) == [True] * 4
    one, other = make_draw(jit_compile=True), make_draw(jit_compile=True)
    found = one(3, 2)
    assert equal(other(3, 2), found) == [True] * 4
    assert equal(other(3, 1), found) == equal(other(4, 2), found) == [False] * 4


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        one, other = make_draw(), make_draw()
        assert equal(one(3), other(3)) == [True] * 4
        assert equal(one(3), other(4)) == [False] * 4
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_it_does_not_change_the_weights_of_the_model():
    model = make_model()
    before = [variable.name for variable in model.variables]
    seed_dropout(model, 1)
    assert [variable.name for variable in model.variables] == before
    assert not any("StateVar" in name for name in before)


def test_another_process_drops_the_same():
    script = (
        "import test_dropout_seeding as t, keras\n"
        "keras.backend.experimental.enable_tf_random_generator()\n"
        "keras.layers.Dropout(0.1), keras.layers.Dense(3)\n"  # Other names for the layers that follow.
        "print([float((a * t.np.arange(a.size).reshape(a.shape)).sum()) for a in t.make_draw()(9, 1)[:3]])"
    )
    here = [float((a * np.arange(a.size).reshape(a.shape)).sum()) for a in make_draw()(9, 1)[:3]]
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    folder = os.path.dirname(__file__)
    environment["PYTHONPATH"] = os.pathsep.join([folder, *sys.path])
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(here)


def test_a_model_without_generators_is_refused():
    keras.backend.experimental.disable_tf_random_generator()
    try:
        with pytest.raises(ValueError, match=r"Layer dropout\w* has no random generator. Call .*enable_tf_random"):
            seed_dropout(make_model(), 1)
    finally:
        keras.backend.experimental.enable_tf_random_generator()
    assert seed_dropout(keras.Sequential([keras.layers.Dropout(0.0)]), 1) == []
