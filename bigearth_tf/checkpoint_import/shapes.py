"""Bands, and factors of width and depth, derived from the shapes of the layers of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable

_TEN = ("B04", "B03", "B02", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
# Input channels of the stem -> the bands, in the order of the stack in the code that wrote the files; before June 2021
# with the two bands of 60 m. NOTE: the list of inputs in that code, and the stack in later versions, have other orders.
BANDS_BY_STEM_CHANNELS = {10: _TEN, 12: (*_TEN, "B01", "B09")}


class MismatchError(ValueError):
    """The layers are not those of a family; the message says why."""


def require(condition: object, why_not: str) -> None:
    """Raises MismatchError with the message `why_not` if a condition is false."""
    if not condition:
        raise MismatchError(why_not)


def check_stem_channels(channels: int) -> int:
    """Returns the input channels of a stem.

    Raises:
        MismatchError: The benchmark's models never have that number.
    """
    allowed = " or ".join(map(str, BANDS_BY_STEM_CHANNELS))
    require(
        channels in BANDS_BY_STEM_CHANNELS, f"the stem takes {channels} channels; the benchmark's models take {allowed}"
    )
    return channels


def find_shortest_factor(low: float, high: float, fits: Callable[[float], bool], what: str) -> float:
    """Returns the number in low ... high that fits and has the fewest decimals; of several, the smallest.

    Raises:
        MismatchError: No number of up to four decimals fits; `what` completes the message.
    """
    for decimals in range(5):
        scale = 10**decimals
        for number in range(math.floor(low * scale), math.ceil(high * scale) + 1):
            if number > 0 and fits(number / scale):
                return number / scale
    raise MismatchError(f"no factor on {what}")
