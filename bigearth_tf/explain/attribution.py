"""The answer of a method: how much each pixel of a patch contributes to the logit of a class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Optional

import numpy as np


@dataclasses.dataclass(frozen=True)
class Attribution:
    """The attribution of one patch to one class by one method.

    `values` is float32 [S, S] on the grid of the patch's finest band: positive where a pixel supports the class. Their
    unit is that of a logit, spread over the pixels; the values of Grad-CAM are 0 or more, and only their ratios mean
    anything. `logit` and `probability` are the model's for the class. `by_band` is the part of each band, which only
    integrated gradients know. `gap` is how far the sum of integrated gradients is from the difference between the
    logit of the patch and that of the baseline: 0 if the number of steps is sufficient.
    """

    method: str
    class_name: str
    logit: float
    probability: float
    values: np.ndarray
    by_band: Optional[Mapping[str, float]] = None
    gap: Optional[float] = None


def spread(values: np.ndarray, size_px: int) -> np.ndarray:
    """Returns [size_px, size_px] with the same sum: each value is shared equally by the finer pixels it covers.

    Args:
        values: [s, s], s <= size_px.
        size_px: Side of the result.
    """
    index = np.arange(size_px) * len(values) // size_px
    share = 1.0 / np.bincount(index, minlength=len(values))[index]
    return values[np.ix_(index, index)] * np.outer(share, share)
