"""True-color image of a patch, or a gray image if a visible band is missing."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

_RGB = ("B04", "B03", "B02")


def visible_bands(names: Collection[str]) -> tuple[str, ...]:
    """Returns the bands that the image of a patch shows: red, green and blue, else VV, else the first band."""
    if all(name in names for name in _RGB):
        return _RGB
    return ("VV",) if "VV" in names else tuple(names)[:1]


def true_color(bands: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns an image in 0 ... 1: [H, W, 3] of red, green and blue, or [H, W] of another band if one is missing.

    Each image is stretched between its own 2nd and 98th percentile over all channels together, which keeps hues.
    """
    names = visible_bands(bands)
    image = np.stack([bands[name].astype(np.float32) for name in names], axis=-1).squeeze()
    low, high = np.percentile(image, (2, 98))
    return np.clip((image - low) / max(high - low, 1e-6), 0, 1)
