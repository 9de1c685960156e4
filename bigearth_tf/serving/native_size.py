"""Reduction of a band to its native size, where an image has all bands on one grid.

Bands of 20 m and 60 m in an image of 10 m were enlarged by whoever wrote it. The average over the k x k pixels that
cover a native pixel is exactly that pixel if it was enlarged by repetition, and otherwise close to it. The reverse is
refused: enlarging would invent detail, and there is no one way to do it.
"""

from __future__ import annotations

import numpy as np

from bigearth_tf.serving.units import NO_DATA_DN, DnPixels


def reduce_to_native(band: DnPixels, size_px: int) -> DnPixels:
    """Returns a band as [size_px, size_px]: each pixel is the average of the data in a block, rounded.

    A block without data has none afterwards.

    Raises:
        ValueError: The band is not square, is smaller, or its size is not a multiple.
    """
    height, width = band.pixels.shape
    if height == width == size_px:
        return band
    if height != width or height < size_px or height % size_px:
        raise ValueError(
            f"is {width} x {height} px, the model takes {size_px} x {size_px} px or whole multiples of it on one grid"
        )
    factor = height // size_px
    blocks = (size_px, factor, size_px, factor)
    valid = ~band.missing.reshape(blocks)
    counts = valid.sum(axis=(1, 3))
    sums = band.pixels.reshape(blocks).sum(axis=(1, 3), where=valid, dtype=np.float64)
    missing = counts == 0
    averages = np.rint(sums / np.maximum(counts, 1)).astype(np.uint16)
    return DnPixels(np.where(missing, np.uint16(NO_DATA_DN), averages), missing)
