"""Each attention against its formula in NumPy, with given weights."""

import keras
import numpy as np
import pytest

from bigearth_tf.layers.attention import ATTENTION, REFERENCE_ATTENTION
from bigearth_tf.layers.eca import eca_kernel_size
from tests.support.convolutions import convolve, normalize


def make_features(height=5, width=4, channels=32):
    return np.random.default_rng(0).normal(size=(3, height, width, channels)).astype(np.float32)


def attend(kind, features, weights):
    """Returns the features after an attention with the given weights: end of a layer's name -> its weights."""
    inputs = keras.Input(features.shape[1:])
    model = keras.Model(inputs, ATTENTION[kind](inputs, "a"))
    assert {layer.name for layer in model.layers if layer.weights} == {f"a_{end}" for end in weights}
    for end, arrays in weights.items():
        model.get_layer(f"a_{end}").set_weights(arrays)
    return model(features).numpy()


def draw(*shapes, seed=1):
    # Small, so that no gate saturates.
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=0.3, size=shape).astype(np.float32) for shape in shapes]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def swish(x):
    return x * sigmoid(x)


def per_channel(gate):
    return gate[:, np.newaxis, np.newaxis]


# |log2(C) / 2 + 1 / 2|, truncated to a whole number and increased by one if that is even.
@pytest.mark.parametrize(
    ("channels", "size"), [(1, 1), (2, 1), (8, 3), (96, 3), (127, 3), (128, 5), (1152, 5), (2047, 5), (2048, 7)]
)
def test_eca_kernel_grows_with_the_channels(channels, size):
    assert eca_kernel_size(channels) == size


@pytest.mark.parametrize(("kind", "bias"), [("eca", ()), ("eca_published", (0.7,))])
def test_eca_gates_depend_on_five_neighboring_channels(kind, bias):
    features = make_features(channels=128)
    kernel = np.float32([1.0, -0.5, 2.0, 0.25, -3.0])
    result = attend(kind, features, {"conv": [kernel.reshape(5, 1, 1), *([np.float32(bias)] if bias else [])]})
    means = np.pad(features.mean((1, 2)), ((0, 0), (2, 2)))
    logits = sum(means[:, shift : shift + 128] * kernel[shift] for shift in range(5)) + sum(bias)
    np.testing.assert_allclose(result, features * per_channel(sigmoid(logits)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kind", "activation"), [("se", relu), ("se_published", swish)])
def test_squeeze_excite_gates_are_two_dense_layers_of_channel_means(kind, activation):
    features = make_features()
    w1, b1, w2, b2 = draw((32, 2), (2,), (2, 32), (32,))
    result = attend(kind, features, {"squeeze": [w1, b1], "excite": [w2, b2]})
    gate = sigmoid(activation(features.mean((1, 2)) @ w1 + b1) @ w2 + b2)
    np.testing.assert_allclose(result, features * per_channel(gate), rtol=1e-4, atol=1e-6)


def test_squeeze_excite_by_hand():
    # Channel means 2 and -1, one squeezed value relu(2 - 1 - 0.5) = 0.5, gates of +-2 x 0.5 = +-1.
    features = np.float32([[[[1, -1], [3, -1]]]])
    weights = {"squeeze": [np.float32([[1], [1]]), np.float32([-0.5])],
               "excite": [np.float32([[2, -2]]), np.float32([0, 0])]}  # fmt: skip
    gates = 0.7310586, 0.2689414
    expected = [[[[1 * gates[0], -1 * gates[1]], [3 * gates[0], -1 * gates[1]]]]]
    np.testing.assert_allclose(attend("se", features, weights), expected, rtol=1e-5)


def test_cbam_gates_channels_by_mean_and_maximum_then_pixels():
    features = make_features()
    w1, b1, w2, b2, kernel = draw((32, 2), (2,), (2, 32), (32,), (7, 7, 2, 1))
    weights = {"channel_squeeze": [w1, b1], "channel_excite": [w2, b2], "spatial_conv": [kernel]}
    result = attend("cbam", features, weights)

    logits = [relu(values @ w1 + b1) @ w2 + b2 for values in (features.mean((1, 2)), features.max((1, 2)))]
    gated = features * per_channel(sigmoid(sum(logits)))
    maps = np.stack([gated.mean(-1), gated.max(-1)], axis=-1)
    np.testing.assert_allclose(result, gated * sigmoid(convolve(maps, kernel)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kind", "bias"), [("coordinate", False), ("coordinate_published", True)])
def test_coordinate_attention_gates_rows_and_columns(kind, bias):
    # 512 channels are squeezed by 32 to 16; fewer than 256 channels to 8.
    for channels, squeezed in ((512, 16), (24, 8)):
        features = make_features(channels=channels)
        squeeze, squeeze_bias = draw((1, 1, channels, squeezed), (squeezed,), seed=2)
        scale, beta, mean, variance = draw((squeezed,), (squeezed,), (squeezed,), (squeezed,), seed=3)
        statistics = [1 + scale, beta, mean, (1 + variance) ** 2]
        row, row_bias, column, column_bias = draw(*[(1, 1, squeezed, channels), (channels,)] * 2, seed=4)
        weights = {
            "squeeze": [squeeze, squeeze_bias] if bias else [squeeze],
            "norm": statistics,
            "row_gate": [row, row_bias],
            "column_gate": [column, column_bias],
        }
        result = attend(kind, features, weights)

        strips = [features.mean(2), features.mean(1)]  # [B, H, C] and [B, W, C]
        strips = [strip @ squeeze[0, 0] + (squeeze_bias if bias else 0) for strip in strips]
        strips = [normalize(strip, *statistics) for strip in strips]
        rows, columns = (strip * np.clip(strip + 3, 0, 6) / 6 for strip in strips)
        rows, columns = sigmoid(rows @ row[0, 0] + row_bias), sigmoid(columns @ column[0, 0] + column_bias)
        expected = features * rows[:, :, np.newaxis] * columns[:, np.newaxis]
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_no_attention_changes_nothing():
    features = make_features()
    assert ATTENTION["none"](features, "a") is features


def test_each_mechanism_has_its_reference_form():
    assert {name: REFERENCE_ATTENTION[name] for name in ("none", "se", "cbam", "coordinate", "eca")} == {
        "none": "none",
        "se": "se_published",
        "cbam": "cbam",
        "coordinate": "coordinate_published",
        "eca": "eca_published",
    }
    # The reference form of a reference form is itself.
    assert all(REFERENCE_ATTENTION[form] == form for form in REFERENCE_ATTENTION.values())
