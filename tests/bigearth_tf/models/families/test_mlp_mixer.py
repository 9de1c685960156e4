"""MLP-Mixer: the default form against the paper's figure, the reference form against the benchmark's code."""

import math

import keras
import numpy as np
import pytest

from bigearth_tf.data.bands import Band
from bigearth_tf.models.registry import create_encoder, create_model, reference_overrides

# Two bands of 6 x 6 px that are already standardized.
ROWS = tuple(Band(name, "S2", 10, 6, "float32", "none", 0.0, 1.0) for name in ("first", "second"))
TINY = {"patch_size": 2, "resolution_px": 6, "dim": 4, "depth": 2, "tokens_dim": 5, "channels_dim": 3}


def make_image(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 6, 6, 2)).astype(np.float32)


def tiny(seed=1, **overrides):
    """Returns an encoder of images of 6 x 6 px with random weights, norms and biases included."""
    encoder = create_encoder("mlp_mixer", bands=ROWS, **{**TINY, **overrides})
    rng = np.random.default_rng(seed)
    encoder.set_weights([rng.normal(scale=0.5, size=weight.shape) for weight in encoder.weights])
    return encoder


def tokens_of(image, encoder):
    kernel, bias = encoder.get_layer("projector").get_weights()
    starts = [(row, column) for row in (0, 2, 4) for column in (0, 2, 4)]
    patches = np.stack([image[:, row : row + 2, column : column + 2] for row, column in starts], axis=1)
    return np.einsum("btxyc,xycd->btd", patches, kernel) + bias


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def mlp(x, encoder, name):
    (kernel1, bias1), (kernel2, bias2) = (encoder.get_layer(f"{name}_dense{i}").get_weights() for i in (1, 2))
    return gelu(x @ kernel1 + bias1) @ kernel2 + bias2


def layer_norm(x, encoder, name, axis, epsilon):
    shape = [1] * x.ndim
    shape[axis] = -1
    gamma, beta = (weight.reshape(shape) for weight in encoder.get_layer(name).get_weights())
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + epsilon) * gamma + beta


def mix_by_hand(x, encoder, axis, epsilon):
    for name in ("block1", "block2"):
        normed = layer_norm(x, encoder, f"{name}_norm1", axis, epsilon)
        x = x + mlp(normed.transpose(0, 2, 1), encoder, f"{name}_token_mixer").transpose(0, 2, 1)
        x = x + mlp(layer_norm(x, encoder, f"{name}_norm2", axis, epsilon), encoder, f"{name}_channel_mixer")
    return x


def test_the_default_form_is_that_of_figure_1():
    encoder, image = tiny(), make_image()
    mixed = mix_by_hand(tokens_of(image, encoder), encoder, axis=2, epsilon=1e-6)
    features = layer_norm(mixed, encoder, "final_norm", 2, 1e-6).mean(1)
    batch = {"first": image[..., 0], "second": image[..., 1]}
    np.testing.assert_allclose(encoder(batch), features, rtol=1e-4, atol=1e-5)


def test_the_reference_form_normalizes_over_tokens_and_after_the_mean():
    encoder, image = tiny(**reference_overrides("mlp_mixer")), make_image()
    assert encoder.get_layer("block1_norm1").get_weights()[0].shape == (9,)
    mixed = mix_by_hand(tokens_of(image, encoder), encoder, axis=1, epsilon=1e-3)
    features = layer_norm(mixed.mean(1), encoder, "features", 1, 1e-3)
    batch = {"first": image[..., 0], "second": image[..., 1]}
    np.testing.assert_allclose(encoder(batch), features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters", "tensors", "features"),
    [("mlp_mixer", 446723, 54, 128), ("mlp_mixer_tiny", 136955, 30, 64)],
)
def test_parameters_of_the_reference_form(name, parameters, tensors, features):
    model = create_model(name, num_classes=19, **reference_overrides(name))
    assert (model.count_params(), len(model.weights)) == (parameters, tensors)
    assert model.get_layer("features").output_shape == (None, features)
    # The default form differs by the length of the blocks' norms: channels instead of 100 tokens.
    blocks = sum(layer.name.endswith("_norm1") for layer in model.layers)
    assert create_model(name, num_classes=19).count_params() - parameters == blocks * 4 * (features - 100)


def test_only_the_token_mixer_mixes_tokens():
    encoder, image = tiny(), make_image()
    encoder.get_layer("block1_token_mixer_dense2").set_weights([np.zeros((5, 9)), np.zeros(9)])
    block = keras.Model(encoder.input, encoder.get_layer("block1_channels_mixed").output)
    batch = {"first": image[..., 0], "second": image[..., 1]}
    changed = {**batch, "first": batch["first"].copy()}
    changed["first"][:, 0, 0] += 1
    differs = np.any(block(changed).numpy() != block(batch).numpy(), axis=(0, 2))
    assert differs.tolist() == [True] + [False] * 8
    everywhere = keras.Model(encoder.input, encoder.get_layer("block2_channels_mixed").output)
    assert np.all(np.any(everywhere(changed).numpy() != everywhere(batch).numpy(), axis=(0, 2)))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"patch_size": 16}, "patch_size=16 does not tile 120 px; allowed: 2, 3, 4, 5, 6, 8, 10, 12"),
        ({"norm_over": "batch"}, "norm_over='batch': unknown; allowed: channels, tokens"),
        ({"depth": 0, "tokens_dim": 0}, "Out of range: depth=0, tokens_dim=0"),
        ({"resampling": "nearest"}, "resampling='nearest'"),
    ],
)
def test_invalid_overrides_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        create_model("mlp_mixer", num_classes=3, **override)
