"""Grid of overlapping windows over a scene, with the weights by which their answers are blended.

All numbers are pixels of the scene's finest band. A window may start outside the scene: the grid holds every window of
an unlimited regular grid that touches the scene, so that a pixel at the edge is seen by as many windows as any other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

# Smallest stride as a share of the patch: a pixel is then in 144 windows.
_MAX_OVERLAP = 12
# Approximate size of a part. A Sentinel-2 tile, 10,980 px wide, is not split in columns.
_PART_HEIGHT_PX, _PART_WIDTH_PX = 1024, 11264


@dataclasses.dataclass(frozen=True)
class Part:
    """Windows `first_row` ... `end_row` - 1 and `first_column` ... `end_column` - 1 of a grid: a unit of work."""

    index: int
    first_row: int
    end_row: int
    first_column: int
    end_column: int


@dataclasses.dataclass(frozen=True)
class WindowGrid:
    """Windows of [patch_px, patch_px] over a scene of [height, width].

    `align_px` is the least number of pixels that is a whole number of pixels of every band: each window starts at a
    multiple of it, the one at or before a multiple of `stride_px`.
    """

    height: int
    width: int
    patch_px: int
    stride_px: int
    align_px: int = 1

    def __post_init__(self) -> None:
        """Checks the stride.

        Raises:
            ValueError: The stride is out of range.
        """
        least = max(self.align_px, -(-self.patch_px // _MAX_OVERLAP))
        if not least <= self.stride_px <= self.patch_px:
            raise ValueError(
                f"--stride={self.stride_px}: allowed are {least} ... {self.patch_px} px, the side of the model's "
                f"patches; {self.patch_px // 2} is usual."
            )

    @property
    def row_starts(self) -> np.ndarray:
        """First pixel row of each row of windows, ascending; negative for windows that start above the scene."""
        return _starts(self.height, self.patch_px, self.stride_px, self.align_px)

    @property
    def column_starts(self) -> np.ndarray:
        """First pixel column of each column of windows."""
        return _starts(self.width, self.patch_px, self.stride_px, self.align_px)

    @property
    def num_windows(self) -> int:
        """Number of windows."""
        return len(self.row_starts) * len(self.column_starts)

    def parts(self) -> list[Part]:
        """Returns the parts of the grid in row-major order; they depend on the grid alone."""
        rows = _split(len(self.row_starts), max(1, _PART_HEIGHT_PX // self.stride_px))
        columns = _split(len(self.column_starts), max(1, _PART_WIDTH_PX // self.stride_px))
        return [Part(index, *row, *column) for index, (row, column) in enumerate((r, c) for r in rows for c in columns)]

    def pixels_of(self, part: Part) -> tuple[slice, slice]:
        """Returns the rows and columns of the scene that belong to a part; each pixel belongs to exactly one."""
        return (
            _owned(self.row_starts, part.first_row, part.end_row, self.height),
            _owned(self.column_starts, part.first_column, part.end_column, self.width),
        )


def _starts(size: int, patch: int, stride: int, align: int) -> np.ndarray:
    regular = np.arange(-(-(align - patch) // stride) - 1, -(-size // stride) + 1) * stride
    starts = regular // align * align
    return starts[(starts > -patch) & (starts < size)]


def _split(count: int, most: int) -> list[tuple[int, int]]:
    """Returns the limits of the least number of nearly equal groups of at most `most`."""
    groups = -(-count // most)
    limits = [count * index // groups for index in range(groups + 1)]
    return list(zip(limits, limits[1:]))


def _owned(starts: np.ndarray, first: int, end: int, size: int) -> slice:
    return slice(max(0, int(starts[first])), size if end == len(starts) else max(0, int(starts[end])))


def reflect(indices: np.ndarray, size: int) -> np.ndarray:
    """Returns pixel indices with those outside 0 ... size - 1 reflected at the edges, each edge pixel counted twice.

    Counted twice, because only this reflection is the same place in bands of all pixel sizes.
    """
    within = indices % (2 * size)
    return np.minimum(within, 2 * size - 1 - within)


def window_profile(patch_px: int) -> np.ndarray:
    """Returns the weight of a window's pixels along one axis [patch_px], sin² from edge to edge, all above 0.

    The weight of a pixel is the product of the weights of its row and its column. With a stride of half a patch, the
    weights of the windows over a pixel add up to 1.
    """
    return np.sin(np.pi * (np.arange(patch_px) + 0.5) / patch_px) ** 2


def blending_weights(starts: np.ndarray, patch_px: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for each pixel along one axis, its first window [size] and the weights [size, n] of n windows from it.

    The weights of a pixel are float32 and add up to 1; those of windows that do not cover the pixel are 0.
    """
    pixels = np.arange(size)
    first = np.searchsorted(starts, pixels - patch_px, side="right")
    count = int((np.searchsorted(starts, pixels, side="right") - first).max())
    windows = first[:, np.newaxis] + np.arange(count)
    offsets = pixels[:, np.newaxis] - starts[np.minimum(windows, len(starts) - 1)]
    covered = (windows < len(starts)) & (offsets >= 0)
    weights = np.where(covered, window_profile(patch_px)[np.where(covered, offsets, 0)], 0.0)
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def blend(answers: np.ndarray, rows: tuple[np.ndarray, np.ndarray], columns: tuple[np.ndarray, np.ndarray]) -> Iterator:
    """Yields the blended answers of each pixel row in turn, float32 [w, K]: sum(weight * answer) / sum(weight).

    Args:
        answers: One answer a window, float32 [R, C, K].
        rows: First window and weights of each pixel row to yield, as `blending_weights` returns them.
        columns: The same for each of the w pixel columns.
    """
    first, weights = columns
    last = answers.shape[1] - 1
    along = weights[:, 0, np.newaxis] * answers[:, first]
    for index in range(1, weights.shape[1]):
        along += weights[:, index, np.newaxis] * answers[:, np.minimum(first + index, last)]
    for window, row_weights in zip(*rows):
        blended = row_weights[0] * along[window]
        for index in range(1, len(row_weights)):
            if row_weights[index]:
                blended += row_weights[index] * along[window + index]
        yield blended
