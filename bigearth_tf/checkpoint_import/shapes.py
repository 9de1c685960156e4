"""What do a stem and rounded channels tell? The bands, and the factor that the channels were multiplied by."""

from __future__ import annotations

import math
from collections.abc import Callable

_TEN = ("B04", "B03", "B02", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
# Channels of the stem -> the bands in the order of the code that wrote the files; before June 2021, with those of 60 m.
# NOTE: its input list is in another order, and so is the stack of its later versions.
BANDS_OF_CHANNELS = {10: _TEN, 12: (*_TEN, "B01", "B09")}


class MismatchError(ValueError):
    """The layers are not those of a family; the message says in what."""


def need(fits: object, why_not: str) -> None:
    """Raises MismatchError where a family's mark is missing."""
    if not fits:
        raise MismatchError(why_not)


def stem_channels(channels: int) -> int:
    """Returns the channels of a stem, where the published code had so many."""
    allowed = " or ".join(map(str, BANDS_OF_CHANNELS))
    need(channels in BANDS_OF_CHANNELS, f"the stem takes {channels} channels; the published models take {allowed}")
    return channels


def roundest(low: float, high: float, fits: Callable[[float], bool], what: str) -> float:
    """Returns the number of fewest decimals in low ... high that fits, the least of these.

    Raises:
        MismatchError: None of up to four decimals does; `what` says what was looked for.
    """
    for decimals in range(5):
        scale = 10**decimals
        for number in range(math.floor(low * scale), math.ceil(high * scale) + 1):
            if number > 0 and fits(number / scale):
                return number / scale
    raise MismatchError(f"no factor on {what}")
