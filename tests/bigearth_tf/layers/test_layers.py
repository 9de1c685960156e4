"""The band stack and ECA against independently computed numbers."""

import keras
import numpy as np
import pytest

from bigearth_tf.data.bands import BANDS, get_bands
from bigearth_tf.layers.band_stack import band_inputs, band_stack, channel_order
from bigearth_tf.layers.eca import eca, eca_kernel_size


def run_band_stack(names, size_px, arrays):
    bands = get_bands(names)
    inputs = band_inputs(bands)
    model = keras.Model(inputs, band_stack(inputs, bands, size_px))
    return model({name: array[np.newaxis] for name, array in arrays.items()}).numpy()[0]


def constant(name, value):
    band = BANDS[name]
    return np.full((band.size_px, band.size_px), value, band.dtype)


@pytest.mark.parametrize("names", ["S2_ALL", "MM", "RGB", "S1", ("B12", "B02", "B8A", "B01", "B03")])
def test_every_band_is_standardized_by_its_own_statistics_and_is_in_its_channel(names):
    values = {band.name: 500 + 37 * i if band.sensor == "S2" else -9 - i for i, band in enumerate(get_bands(names))}
    stack = run_band_stack(names, 60, {name: constant(name, value) for name, value in values.items()})
    assert stack.dtype == np.float32
    assert stack.shape == (60, 60, len(values))
    order = channel_order(get_bands(names))
    assert sorted(order) == sorted(values)
    for channel, name in enumerate(order):
        expected = (values[name] - BANDS[name].mean) / BANDS[name].std
        np.testing.assert_allclose(stack[..., channel], expected, atol=2e-6)


def test_bands_of_one_native_size_keep_their_order():
    assert channel_order(get_bands("B05,B04,B12,B02")) == ("B05", "B12", "B04", "B02")


def test_large_stored_values_keep_their_precision():
    stack = run_band_stack("B02,B03", 120, {"B02": constant("B02", 65535), "B03": constant("B03", 65534)})
    assert stack[0, 0, 0] * BANDS["B02"].std + BANDS["B02"].mean == pytest.approx(65535, abs=0.05)


def test_finer_bands_are_averaged_over_each_target_pixel():
    pixels = np.random.default_rng(0).integers(0, 10000, (120, 120)).astype(np.uint16)
    mean = pixels.reshape(60, 2, 60, 2).mean((1, 3))
    expected = (mean - BANDS["B08"].mean) / BANDS["B08"].std
    np.testing.assert_allclose(run_band_stack(["B08"], 60, {"B08": pixels})[..., 0], expected, atol=1e-5)


def test_coarser_bands_are_interpolated_by_the_cubic_kernel():
    # A cubic kernel reproduces a linear ramp away from the border; pixel centers have half-pixel offsets.
    ramp = np.tile(np.arange(60, dtype=np.uint16) * 100 + 50, (60, 1))
    stack = run_band_stack(["B05"], 120, {"B05": ramp})[..., 0] * BANDS["B05"].std + BANDS["B05"].mean
    expected = (np.arange(120) + 0.5) / 2 * 100
    np.testing.assert_allclose(stack[60, 6:-6], expected[6:-6], atol=0.05)


# C -> k by equation 12 of the paper with gamma 2 and b 1: log2(C) / 2 + 1/2, truncated, made odd.
@pytest.mark.parametrize(("channels", "size"), [(16, 3), (32, 3), (64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)])
def test_eca_kernel_size(channels, size):
    assert eca_kernel_size(channels) == size


def test_eca_gates_each_channel_by_the_means_of_its_neighbors():
    features = np.random.default_rng(1).normal(size=(2, 5, 4, 8)).astype(np.float32)
    inputs = keras.Input(features.shape[1:])
    model = keras.Model(inputs, eca(inputs, "attention"))
    kernel = np.float32([0.5, -1.0, 2.0])
    assert eca_kernel_size(8) == 3
    model.set_weights([kernel.reshape(3, 1, 1)])
    means = np.pad(features.mean((1, 2)), ((0, 0), (1, 1)))
    logits = means[:, :-2] * kernel[0] + means[:, 1:-1] * kernel[1] + means[:, 2:] * kernel[2]
    expected = features / (1 + np.exp(-logits))[:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(model(features), expected, rtol=1e-5)
