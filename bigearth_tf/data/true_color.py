"""True-color image of a patch, or a gray image if a visible band is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Optional

import numpy as np

_RGB = ("B04", "B03", "B02")
_PERCENTILES = (2, 98)
# Brightens dark land, which a bright image on the same sheet would leave black.
_COMMON_GAMMA = 0.6


class Stretch(NamedTuple):
    """The values that black and white stand for, [C] each, a value per channel."""

    black: np.ndarray
    white: np.ndarray


def visible_bands(names: Collection[str]) -> tuple[str, ...]:
    """Returns the bands that the image of a patch shows: red, green and blue, else VV, else the first band."""
    if all(name in names for name in _RGB):
        return _RGB
    return ("VV",) if "VV" in names else tuple(names)[:1]


def common_stretch(patches: Iterable[Mapping[str, np.ndarray]], level: Optional[str]) -> Optional[Stretch]:
    """Returns the stretch of several images that are shown together; None if each has its own.

    At Level-1C, the atmosphere brightens blue most, so that forest looks like sea if all channels are stretched alike.
    Each channel is therefore stretched between its own percentiles over all patches.

    Args:
        patches: Band name -> pixels, of each patch.
        level: Processing level of Sentinel-2, "L1C" or "L2A"; None if it is not known.
    """
    images = [_stack(bands) for bands in patches]
    if level != "L1C" or not images or images[0].shape[-1] != len(_RGB):
        return None
    pixels = np.concatenate([image.reshape(-1, len(_RGB)) for image in images])
    return Stretch(*np.percentile(pixels, _PERCENTILES, axis=0))


def describe_stretch(stretch: Optional[Stretch]) -> str:
    """Returns how images are stretched, for a caption."""
    low, high = _PERCENTILES
    if stretch is None:
        return f"each image stretched between its own percentiles {low} and {high}"
    return (
        f"Level-1C: each band stretched between its percentiles {low} and {high} over all images, gamma {_COMMON_GAMMA}"
    )


def true_color(bands: Mapping[str, np.ndarray], stretch: Optional[Stretch] = None) -> np.ndarray:
    """Returns an image in 0 ... 1: [H, W, 3] of red, green and blue, or [H, W] of another band if one is missing.

    Args:
        bands: Band name -> pixels [size_px, size_px].
        stretch: From `common_stretch`. Without, the image is stretched between its own 2nd and 98th percentile over all
            channels together, which keeps hues.
    """
    image = _stack(bands)
    low, high = np.percentile(image, _PERCENTILES) if stretch is None else stretch
    stretched = np.clip((image - low) / np.maximum(high - low, 1e-6), 0, 1).squeeze()
    return stretched if stretch is None else stretched**_COMMON_GAMMA


def _stack(bands: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the visible bands as [H, W, C]."""
    return np.stack([bands[name].astype(np.float32) for name in visible_bands(bands)], axis=-1)
