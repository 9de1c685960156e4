"""What do a stem and rounded channels tell? The bands, and the factor that the channels were multiplied by."""

from __future__ import annotations

import math
from collections.abc import Iterable

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


def roundest_between(low: float, high: float) -> float:
    """Returns the number of fewest decimals in low <= x < high, the least of these."""
    for decimals in range(12):
        near = math.floor(low * 10**decimals)
        for number in (near / 10**decimals, (near + 1) / 10**decimals):
            if low <= number < high:
                return number
    raise MismatchError(f"no factor lies in {low} ... {high}")


def factor_of(rows: Iterable[tuple[float, int]], multiple: int) -> float:
    """Returns the roundest factor by which bases become channels, rounded to the nearest of a multiple.

    Args:
        rows: Base and channels, of each layer that tells.
        multiple: What channels are rounded to; they are at least that.
    """
    bounds = [
        (0.0 if channels == multiple else (channels - multiple / 2) / base, (channels + multiple / 2) / base)
        for base, channels in rows
    ]
    return roundest_between(max(low for low, _ in bounds), min(high for _, high in bounds))
