"""Occlusion: what the logit of a class loses when a square of the patch is replaced by the bands' means.

Source: Zeiler and Fergus, https://arxiv.org/abs/1311.2901, section 4.2. It needs predictions only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

# Raw bands {name: [B, size_px, size_px]} -> logits [B, K].
Score = Callable[[Mapping[str, np.ndarray]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Windows:
    """Squares of `window_px`, each `stride_px` after the one before, on the grid of a patch's finest band."""

    window_px: int = 12
    stride_px: int = 6

    def __post_init__(self) -> None:
        """Checks the sizes.

        Raises:
            ValueError: A size is below 1, or the stride leaves pixels out.
        """
        if not 1 <= self.stride_px <= self.window_px:
            raise ValueError(
                f"A stride of {self.stride_px} px does not fit windows of {self.window_px} px; allowed are strides of "
                f"1 ... {max(self.window_px, 1)} px."
            )

    def starts(self, size_px: int) -> np.ndarray:
        """Returns the first pixel of each window in one direction; the last window ends at the edge of the patch.

        Raises:
            ValueError: The window is larger than the patch.
        """
        if self.window_px > size_px:
            raise ValueError(f"A window of {self.window_px} px is larger than the patch of {size_px} px.")
        last = size_px - self.window_px
        return np.append(np.arange(0, last, self.stride_px), last)


def occlusion(
    score: Score,
    bands: Mapping[str, np.ndarray],
    baseline: Mapping[str, float],
    class_index: int,
    windows: Windows,
    batch_size: int,
) -> np.ndarray:
    """Returns float32 [S, S]: for each pixel, the mean over its windows of the loss of the logit per pixel of a window.

    With windows of one pixel, and a model that is linear, these are the integrated gradients.

    Args:
        score: The model.
        bands: Band name -> [size_px, size_px]. A pixel of a coarser band is replaced if its center is in the window.
        baseline: Band name -> the value that replaces pixels, the mean of the band; rounded for bands of integers.
        class_index: The class.
        windows: The windows.
        batch_size: Number of occluded copies of the patch that are predicted at a time.
    """
    size_px = max(len(pixels) for pixels in bands.values())
    starts = windows.starts(size_px)
    corners = np.stack(np.meshgrid(starts, starts, indexing="ij"), axis=-1).reshape(-1, 2)
    logit = score({name: pixels[np.newaxis] for name, pixels in bands.items()})[0, class_index]
    total, count = np.zeros((size_px, size_px)), np.zeros((size_px, size_px))
    for first in range(0, len(corners), batch_size):
        part = corners[first : first + batch_size]
        losses = logit - score(_occlude(bands, baseline, part, windows.window_px, size_px))[:, class_index]
        for (row, column), loss in zip(part, losses):
            inside = np.s_[row : row + windows.window_px, column : column + windows.window_px]
            total[inside] += loss / windows.window_px**2
            count[inside] += 1
    return (total / count).astype(np.float32)


def _occlude(
    bands: Mapping[str, np.ndarray], baseline: Mapping[str, float], corners: np.ndarray, window_px: int, size_px: int
) -> dict[str, np.ndarray]:
    """Returns a copy of the patch for each window: band name -> [n, size_px, size_px], without the window's pixels."""
    occluded = {}
    for name, pixels in bands.items():
        centers = (np.arange(len(pixels)) + 0.5) * size_px / len(pixels)
        inside = (corners[..., np.newaxis] <= centers) & (centers < corners[..., np.newaxis] + window_px)
        mask = inside[:, 0, :, np.newaxis] & inside[:, 1, np.newaxis, :]
        occluded[name] = np.where(mask, fill_value(pixels, baseline[name]), pixels)
    return occluded


def fill_value(pixels: np.ndarray, mean: float) -> np.generic:
    """Returns the mean of a band in the type of its pixels."""
    return pixels.dtype.type(np.rint(mean) if np.issubdtype(pixels.dtype, np.integer) else mean)
