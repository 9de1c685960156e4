"""Raw bands to one image, inside the model: cast, standardize, resample and stack.

Because these steps are part of the model, training and serving cannot differ, and 20 m bands are copied to the device
with a quarter of the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from bigearth_tf.data.bands import Band

# Ways to resample a band. Both interpolate bicubically, except that "antialiased" takes the mean where a target pixel
# covers a whole number of finer pixels. NOTE: "bicubic" aliases when it downsamples, as in the benchmark's code.
RESAMPLING = ("antialiased", "bicubic")


def band_inputs(bands: Sequence[Band]) -> dict[str, Any]:
    """Returns one Keras input for each band: name -> [B, size_px, size_px] in storage type and unit."""
    return {band.name: keras.Input((band.size_px, band.size_px), dtype=band.dtype, name=band.name) for band in bands}


def channel_order(bands: Sequence[Band]) -> tuple[str, ...]:
    """Returns the band of each channel of `band_stack`: grouped by native size, otherwise in the given order."""
    return tuple(band.name for group in _by_size(bands).values() for band in group)


def band_stack(inputs: dict[str, Any], bands: Sequence[Band], size_px: int, resampling: str = "antialiased") -> Any:
    """Returns float32 [B, size_px, size_px, C] of zero mean and unit variance, channels as in `channel_order`.

    Always float32: half precision has 11 bits, stored values have 16.

    Args:
        inputs: Band name -> tensor [B, band.size_px, band.size_px].
        bands: Rows of the bands, with their mean and standard deviation.
        size_px: Side of the result.
        resampling: One of `RESAMPLING`.
    """
    groups = [
        _resample(image, native_px, size_px, resampling) for native_px, image in band_groups(inputs, bands).items()
    ]
    return keras.layers.Concatenate(name="band_stack")(groups) if len(groups) > 1 else groups[0]


def band_groups(inputs: dict[str, Any], bands: Sequence[Band]) -> dict[int, Any]:
    """Returns native size -> float32 [B, native_px, native_px, C] of zero mean and unit variance, not resampled.

    Sizes and channels are in the order of `channel_order`. The arguments are those of `band_stack`.
    """
    groups = {}
    for native_px, group in _by_size(bands).items():
        channels = [_standardize(inputs[band.name], band) for band in group]
        stack = keras.layers.Concatenate(name=f"stack_{native_px}px")
        groups[native_px] = stack(channels) if len(channels) > 1 else channels[0]
    return groups


def _by_size(bands: Sequence[Band]) -> dict[int, list[Band]]:
    groups: dict[int, list[Band]] = {}
    for band in bands:
        groups.setdefault(band.size_px, []).append(band)
    return groups


def _standardize(pixels: Any, band: Band) -> Any:
    if band.mean is None or not band.std:
        raise ValueError(f"Band {band.name} has no mean and standard deviation; a model cannot standardize it.")
    # The layer's name is in saved models, so its spelling stays.
    rescaling = keras.layers.Rescaling(
        1.0 / band.std, -band.mean / band.std, dtype="float32", name=f"standardise_{band.name}"
    )
    return keras.layers.Reshape((band.size_px, band.size_px, 1), dtype="float32")(rescaling(pixels))


def _resample(image: Any, native_px: int, size_px: int, resampling: str) -> Any:
    if native_px == size_px:
        return image
    name = f"resample_{native_px}px"
    if resampling == "antialiased" and native_px % size_px == 0:
        return keras.layers.AveragePooling2D(native_px // size_px, dtype="float32", name=name)(image)
    return keras.layers.Resizing(size_px, size_px, interpolation="bicubic", dtype="float32", name=name)(image)
