"""The ordinary, depthwise and Ghost convolutions against NumPy, with given weights."""

import keras
import numpy as np
import pytest

from bigearth_tf.layers.conv import convolution, depthwise_convolution
from bigearth_tf.layers.ghost import CONVOLUTIONS
from tests.support.convolutions import convolve, convolve_each, normalize


def make_features(height=6, width=5, channels=4):
    return np.random.default_rng(0).normal(size=(2, height, width, channels)).astype(np.float32)


def run(build, features, weights):
    """Returns the output of layers for features, with the given weights: layer name -> weights."""
    inputs = keras.Input(features.shape[1:])
    model = keras.Model(inputs, build(inputs))
    assert {layer.name for layer in model.layers if layer.weights} == set(weights)
    for name, arrays in weights.items():
        model.get_layer(name).set_weights(arrays)
    return model(features).numpy()


def draw(*shapes):
    rng = np.random.default_rng(1)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


# With stride 2, even and odd sides have different padding.
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("use_bias", [False, True])
def test_convolutions_with_and_without_bias(kernel, stride, use_bias):
    features = make_features()
    full, each, full_bias, each_bias = draw((kernel, kernel, 4, 6), (kernel, kernel, 4, 1), (6,), (4,))
    for build, weights, bias, expected in (
        (lambda x: convolution(x, 6, kernel, stride, "c", use_bias=use_bias), full, full_bias,
         convolve(features, full, stride)),
        (lambda x: depthwise_convolution(x, kernel, stride, "c", use_bias=use_bias), each, each_bias,
         convolve_each(features, each, stride)),
    ):  # fmt: skip
        result = run(build, features, {"c": [weights, bias] if use_bias else [weights]})
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected + (bias if use_bias else 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 2)])
def test_a_ghost_is_half_a_convolution_and_a_depthwise_convolution_of_it(kernel, stride):
    features = make_features()
    primary, cheap = draw((kernel, kernel, 4, 3), (3, 3, 3, 1))
    weights = {"g_primary": [primary], "g_cheap": [cheap]}
    result = run(lambda x: CONVOLUTIONS["depthwise"](x, 6, kernel, stride, "g"), features, weights)
    half = convolve(features, primary, stride)
    expected = np.concatenate([half, convolve_each(half, cheap)], axis=-1)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 2)])
def test_the_reference_ghost_is_a_normalized_copy(kernel, stride):
    features = make_features()
    primary, gamma, beta, mean, deviation = draw((kernel, kernel, 4, 3), (3,), (3,), (3,), (3,))
    weights = {"g_primary": [primary], "g_norm": [gamma, beta, mean, deviation**2]}
    result = run(lambda x: CONVOLUTIONS["published"](x, 6, kernel, stride, "g"), features, weights)
    half = convolve(features, primary, stride)
    copy = np.maximum(normalize(half, gamma, beta, mean, deviation**2), 0)
    np.testing.assert_allclose(result, np.concatenate([half, copy], axis=-1), rtol=1e-4, atol=1e-4)


def test_both_halves_of_a_ghost_have_the_same_initial_scale():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 4))
    model = keras.Model(inputs, CONVOLUTIONS["depthwise"](inputs, 512, 1, 1, "g"))
    result = model(make_features(40, 40)).numpy()
    halves = [np.sqrt(np.mean(half**2)) for half in (result[..., :256], result[..., 256:])]
    # He's initialization doubles the mean square, which a relu would halve again.
    assert halves[1] / halves[0] == pytest.approx(np.sqrt(2), rel=0.1)
