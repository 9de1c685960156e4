"""Lambda layers against the equations of their paper, and their places in LambdaResNet."""

import keras
import numpy as np
import pytest

from bigearth_tf.layers.lambda_layer import lambda_layer
from bigearth_tf.models.registry import create_encoder, create_model

HEIGHT, WIDTH, DIM_K, HEADS, DIM_V, CONTEXT_PX = 5, 4, 3, 2, 4, 3


def tiny_layer(seed=0):
    """Returns a model of one lambda layer with random weights and statistics."""
    inputs = keras.Input((HEIGHT, WIDTH, HEADS * DIM_V))
    model = keras.Model(inputs, lambda_layer(inputs, "one", dim_k=DIM_K, heads=HEADS, context_px=CONTEXT_PX))
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.2, 1.5, weight.shape) * rng.choice((1, 1, -1)) for weight in model.weights])
    for norm in ("one_queries_norm", "one_values_norm"):
        model.get_layer(norm).set_weights([np.abs(weight) for weight in model.get_layer(norm).get_weights()])
    return model


def make_features(seed=1):
    return np.random.default_rng(seed).normal(size=(2, HEIGHT, WIDTH, HEADS * DIM_V)).astype(np.float32)


def project(features, model, name):
    """Returns [B, pixels, channels]: a 1 x 1 convolution, then the batch norm of that name, if any."""
    (kernel,) = model.get_layer(name).get_weights()
    x = features.reshape(len(features), HEIGHT * WIDTH, -1) @ kernel[0, 0]
    if name != "one_keys":
        gamma, beta, mean, variance = model.get_layer(f"{name}_norm").get_weights()
        x = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    return x


def position_table(model):
    """Returns E [pixel n, pixel m, k]: the embedding of the offset of m from n, zero outside the window."""
    (kernel,) = model.get_layer("one_position_lambdas").get_weights()
    assert kernel.shape == (CONTEXT_PX, CONTEXT_PX, 1, 1, DIM_K)
    pixels = [(row, column) for row in range(HEIGHT) for column in range(WIDTH)]
    table = np.zeros((len(pixels), len(pixels), DIM_K))
    for n, (row, column) in enumerate(pixels):
        for m, (other_row, other_column) in enumerate(pixels):
            down, right = other_row - row + CONTEXT_PX // 2, other_column - column + CONTEXT_PX // 2
            if 0 <= down < CONTEXT_PX and 0 <= right < CONTEXT_PX:
                table[n, m] = kernel[down, right, 0, 0]
    return table


def apply_by_hand(features, model):
    queries = project(features, model, "one_queries").reshape(len(features), HEIGHT * WIDTH, HEADS, DIM_K)
    keys = np.exp(project(features, model, "one_keys"))
    keys /= keys.sum(axis=1, keepdims=True)
    values = project(features, model, "one_values")
    content = np.einsum("bmk,bmv->bkv", keys, values)
    position = np.einsum("nmk,bmv->bnkv", position_table(model), values)
    outputs = np.einsum("bnhk,bnkv->bnhv", queries, content[:, np.newaxis] + position)
    return outputs.reshape(features.shape)


def test_a_lambda_layer_computes_the_equations_of_the_paper():
    model, features = tiny_layer(), make_features()
    np.testing.assert_allclose(model(features), apply_by_hand(features, model), rtol=1e-4, atol=1e-4)


def test_position_lambdas_see_the_window_and_content_lambdas_the_whole_map():
    model, features = tiny_layer(), make_features()
    changed = features.copy()
    changed[:, 0, 0] += 1
    parts = keras.Model(model.input, [model.get_layer(f"one_{part}").output for part in ("content_map", "position")])
    for part, expected in zip((0, 1), (HEIGHT * WIDTH, 4)):
        moved = np.any(parts(changed)[part].numpy() != parts(features)[part].numpy(), axis=(0, 3))
        assert moved.sum() == expected
    assert moved[:2, :2].all()


def test_positions_are_relative():
    model, features = tiny_layer(), make_features()
    features[:, 3:] = 0
    shifted = np.roll(features, 1, axis=1)
    position = keras.Model(model.input, model.get_layer("one_position").output)
    # Away from the borders, where a part of the window is missing.
    np.testing.assert_allclose(position(shifted)[:, 2], position(features)[:, 1], rtol=1e-4, atol=1e-4)


def test_an_untrained_layer_keeps_the_scale_of_its_input():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 32))
    model = keras.Model(inputs, lambda_layer(inputs, "one"))
    features = np.random.default_rng(0).normal(size=(4, 12, 12, 32)).astype(np.float32)
    assert 0.5 < np.std(model(features, training=True)) < 2


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="heads=3 must divide the 8 channels"):
        lambda_layer(keras.Input((5, 5, 8)), "one", heads=3)


def test_lambda_layers_are_in_the_blocks_that_keep_the_shape():
    encoder = create_encoder("lambda_resnet")
    lambdas = [layer for layer in encoder.layers if layer.name.endswith("_position_lambdas")]
    assert [x.name for x in lambdas] == [f"stage{i}_block2_lambda_position_lambdas" for i in (1, 2, 3)]
    assert [x.output_shape for x in lambdas] == [(None, 60, 60, 8, 16), (None, 30, 30, 16, 16), (None, 15, 15, 32, 16)]
    assert encoder.output_shape == (None, 128)
    deeper = create_encoder("lambda_resnet", depth=22)
    assert sum(layer.name.endswith("_position_lambdas") for layer in deeper.layers) == 6


def test_parameters_of_lambda_layers_replace_those_of_convolutions():
    # WideResNet of depth 16: 693,843. A convolution has 9 C^2 weights, a lambda layer C (heads k + k + C / heads),
    # two norms and the table of offsets.
    trainable = sum(int(np.prod(w.shape)) for w in create_model("lambda_resnet", num_classes=19).trainable_weights)
    lambdas = sum(c * (64 + 16 + c // 4) + 2 * (64 + c // 4) + 49 * 16 for c in (32, 64, 128))
    assert trainable == 693843 - sum(9 * c * c for c in (32, 64, 128)) + lambdas


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"depth": 10}, "from the second block on"),
        ({"depth": 17}, "6 N"),
        ({"context_px": 6}, "odd side"),
        ({"heads": 5}, "heads=5 does not divide the 32 channels"),
        ({"dim_k": 0}, "dim_k=0"),
        ({"resampling": "nearest"}, "resampling='nearest'"),
    ],
)
def test_invalid_overrides_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        create_model("lambda_resnet", num_classes=3, **override)
