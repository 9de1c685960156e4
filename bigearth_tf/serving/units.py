"""Units of Sentinel-2 pixels: what stored values mean, and their conversion to the digital numbers (DN) of models.

A DN is reflectance x 10,000, uint16; 0 is no data. What the pixels and their metadata tell is converted, and each
conversion is said in a line. What they do not tell raises an error that names the option by which the user says it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

DN_UNIT = "reflectance x 10000"
LEVEL_MEANINGS = {"L2A": "reflectance at the surface", "L1C": "reflectance at the top of the atmosphere"}
LEVELS = tuple(LEVEL_MEANINGS)
NO_DATA_DN = 0
MAX_DN = 65535
_DN_PER_REFLECTANCE = 10_000
# BOA_ADD_OFFSET and RADIO_ADD_OFFSET since processing baseline 04.00, which make room for negative reflectance:
# https://sentinels.copernicus.eu/web/sentinel/-/copernicus-sentinel-2-major-products-upgrade-upcoming
USUAL_OFFSET = -1000
_ALLOWED_TYPES = ("uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
# Reflectance of snow, clouds and glint exceeds 1 a little; digital numbers of land exceed 100 nearly everywhere.
_MAX_REFLECTANCE, _MIN_OF_MAX_DN = 2.0, 256.0
# With the offset, a DN below 500 is a reflectance below -0.05, which does not occur in a hundredth of an image.
_DARK_DN, _DARK_SHARE = 500, 0.01
# Values of one band of a sample that are looked at.
_MAX_VALUES = 1 << 16


class StoredBand(NamedTuple):
    """The pixels of a band as stored, [h, w], and the value by which its file marks missing pixels."""

    pixels: np.ndarray
    no_data: Optional[float] = None


class DnPixels(NamedTuple):
    """Digital numbers, uint16 [h, w], and where they are no data, bool [h, w]; they are 0 there."""

    pixels: np.ndarray
    missing: np.ndarray


@dataclasses.dataclass(frozen=True)
class DnConversion:
    """The conversion of stored values to digital numbers: value x `scale` + `dn_offset`, clipped to 0 ... 65535.

    0, NaN, the no-data value of the file and `no_data` are no data, and stay so.
    """

    scale: int = 1
    dn_offset: int = 0
    no_data: Optional[float] = None

    def apply(self, band: StoredBand) -> DnPixels:
        """Returns the digital numbers of a band.

        Raises:
            ValueError: The values do not have the unit of this conversion.
        """
        values = band.pixels
        missing = find_missing(band, self.no_data)
        if values.dtype == np.uint16 and self.scale == 1 and not self.dn_offset:
            return DnPixels(np.where(missing, np.uint16(NO_DATA_DN), values), missing)
        highest = float(values.max(initial=0, where=~missing))
        if self.scale == 1 and values.dtype.kind == "f" and 0 < highest <= _MAX_REFLECTANCE:
            raise ValueError(f"its values are at most {highest:g}, those of other inputs are digital numbers")
        if highest * self.scale + self.dn_offset > MAX_DN:
            raise ValueError(f"its values are up to {highest:g}, too high for {self.unit}")
        filled = np.where(missing, 0, values).astype(np.float64)
        numbers = np.clip(np.rint(filled * self.scale) + self.dn_offset, 0, MAX_DN)
        return DnPixels(np.where(missing, NO_DATA_DN, numbers).astype(np.uint16), missing)

    @property
    def unit(self) -> str:
        """The unit of the stored values, for messages."""
        return "digital numbers" if self.scale == 1 else "reflectance"


class ChosenConversion(NamedTuple):
    """A conversion, and a line for each thing that it does or that was found out.

    `offset_is_inferred` says that only the values of the samples show that there is no offset.
    """

    conversion: DnConversion
    lines: tuple[str, ...]
    offset_is_inferred: bool = False


def find_missing(band: StoredBand, no_data: Optional[float] = None) -> np.ndarray:
    """Returns where a band has no data, bool [h, w]: 0, NaN, the no-data value of its file, or `no_data`."""
    values = band.pixels
    missing = values == NO_DATA_DN
    if values.dtype.kind == "f":
        missing |= ~np.isfinite(values)
    for value in (band.no_data, no_data):
        if value is not None and np.isfinite(value):
            missing |= values == value
    return missing


def choose_conversion(
    samples: Mapping[str, Sequence[StoredBand]],
    *,
    dn_offset: Optional[int] = None,
    stated_offset: Optional[int] = None,
    no_data: Optional[float] = None,
) -> ChosenConversion:
    """Returns how to convert the bands of Sentinel-2 of all inputs, from a few of them.

    Args:
        samples: Name of an input -> its bands of Sentinel-2; several inputs, or windows of a scene.
        dn_offset: What a user says must be added to digital numbers (`--dn_offset`), None if nothing is said.
        stated_offset: What the metadata of the inputs say, None if they say nothing.
        no_data: What a user says marks missing pixels besides 0 (`--no_data`).

    Raises:
        ValueError: The values are not reflectance in a unit that is known, or it is not known whether they have the
            offset of baseline 04.00; the message names the option that says it.
    """
    offset = _merge_offsets(dn_offset, stated_offset)
    for name, bands in samples.items():
        for band in bands:
            if band.pixels.dtype.name not in _ALLOWED_TYPES:
                raise ValueError(
                    f"{name}: its values are {band.pixels.dtype.name}, as of a picture; expected {DN_UNIT} as uint16, "
                    "or reflectance as float32. Export the bands without scaling them to colors."
                )
    values = {name: _valid_values(bands, no_data) for name, bands in samples.items()}
    values = {name: array for name, array in values.items() if array.size}
    if not values:
        raise ValueError(f"{_name_some(samples)}: contain no data: all pixels are 0, NaN or the no-data value.")
    lines = [_describe_types(samples)]
    scale = _choose_scale(values, all(band.pixels.dtype.kind == "f" for bands in samples.values() for band in bands))
    if scale != 1:
        lines.append(f"The values are reflectance in 0 ... 1: they are multiplied by {scale:,}.")
    lowest_name = min(values, key=lambda name: float(values[name].min()))
    lowest = float(values[lowest_name].min()) * scale
    if lowest < USUAL_OFFSET:
        raise ValueError(
            f"{lowest_name}: has the value {lowest / scale:g}, too low for reflectance. If it marks missing pixels, "
            f"say --no_data={lowest / scale:g}."
        )
    if lowest < 0:
        lines.append("Negative reflectance is set to 0.")
    is_inferred = offset is None
    if offset is None:
        offset = _find_offset({name: array * scale for name, array in values.items()}, lines)
    elif offset:
        lines.append(
            f"{offset} is added to digital numbers ({'--dn_offset' if stated_offset is None else 'metadata'})."
        )
    return ChosenConversion(DnConversion(scale, offset, no_data), tuple(line for line in lines if line), is_inferred)


def check_dn_offset(dn_offset: Optional[int]) -> None:
    """Checks the offset that a user has named (`--dn_offset`).

    Raises:
        ValueError: It is positive.
    """
    if dn_offset is not None and dn_offset > 0:
        raise ValueError(
            f"--dn_offset={dn_offset}: is added to digital numbers, as BOA_ADD_OFFSET in the metadata of a product; "
            f"expected 0 or {USUAL_OFFSET}."
        )


def _merge_offsets(dn_offset: Optional[int], stated_offset: Optional[int]) -> Optional[int]:
    check_dn_offset(dn_offset)
    if dn_offset is not None and stated_offset is not None and dn_offset != stated_offset:
        raise ValueError(
            f"--dn_offset={dn_offset}: the metadata of the inputs say {stated_offset}. Leave the flag out."
        )
    return stated_offset if dn_offset is None else dn_offset


def _valid_values(bands: Sequence[StoredBand], no_data: Optional[float]) -> np.ndarray:
    """Returns the values of all bands that are data, float64 [N], or evenly spaced ones if there are many."""
    parts = []
    for band in bands:
        values = band.pixels[~find_missing(band, no_data)]
        parts.append(values[:: max(1, values.size // _MAX_VALUES)].astype(np.float64))
    return np.concatenate(parts) if parts else np.zeros(0)


def _describe_types(samples: Mapping[str, Sequence[StoredBand]]) -> str:
    others = sorted({band.pixels.dtype.name for bands in samples.values() for band in bands} - {"uint16"})
    return f"The values are stored as {', '.join(others)}: they are converted to uint16." if others else ""


def _choose_scale(values: Mapping[str, np.ndarray], are_floats: bool) -> int:
    """Returns 1 for digital numbers, 10,000 for reflectance."""
    highest = {name: float(array.max()) for name, array in values.items()}
    overall = max(highest.values())
    if are_floats and overall <= _MAX_REFLECTANCE:
        return _DN_PER_REFLECTANCE
    low = [name for name, value in highest.items() if are_floats and value <= _MAX_REFLECTANCE]
    if overall >= _MIN_OF_MAX_DN and not low:
        return 1
    name = low[0] if low else next(iter(highest))
    raise ValueError(
        f"{name}: its values are at most {highest[name]:g}, those of all inputs that were looked at {overall:g}; "
        f"expected {DN_UNIT} (hundreds to thousands) or reflectance in 0 ... 1 as float. Pictures of 8 bits and "
        "percent cannot be used; predict inputs of different units apart."
    )


def is_free_of_offset(numbers: np.ndarray) -> bool:
    """Returns whether digital numbers [N] that are data are too dark to have the offset of baseline 04.00."""
    return bool(np.mean(numbers < _DARK_DN) >= _DARK_SHARE)


def _find_offset(numbers: Mapping[str, np.ndarray], lines: list[str]) -> int:
    unclear = [name for name, array in numbers.items() if not is_free_of_offset(array)]
    if unclear:
        raise ValueError(
            f"{_name_some(unclear)}: {len(unclear)} of {len(numbers)} inputs that were looked at have hardly any "
            f"number below {_DARK_DN}, so they may have the offset of processing baseline 04.00, which came in January "
            f"2022. Say --dn_offset={USUAL_OFFSET} if BOA_ADD_OFFSET of the product is {USUAL_OFFSET} and nothing has "
            "removed it since; else say --dn_offset=0. Predict the two kinds apart."
        )
    lines.append(f"The values have no offset of baseline 04.00: too many are below {_DARK_DN / _DN_PER_REFLECTANCE:g}.")
    return 0


def _name_some(names: Sequence[str] | Mapping[str, object]) -> str:
    names = list(names)
    return ", ".join(names[:2]) + (" ..." if len(names) > 2 else "")


def check_level(model_level: Optional[str], stated: Optional[str], said: Optional[str], where: str) -> str:
    """Returns a line on the processing level of the inputs after comparing it with that of the model.

    Args:
        model_level: Level of the data that the model was trained on, None if it is not known.
        stated: What the inputs state, None if they state nothing.
        said: What a user says (`--level`).
        where: What states it, for messages.

    Raises:
        ValueError: The levels differ, or that of the inputs is not known.
    """
    if said and stated and said != stated:
        raise ValueError(f"--level={said}: the inputs are {stated} ({where}). Leave the flag out.")
    level = said or stated
    if not model_level:
        return f"The processing level of the model's data is not known; the inputs are {level or 'of unknown level'}."
    if not level:
        raise ValueError(
            f"The model was trained on {model_level}, and nothing says of which processing level these inputs are. Say "
            f"--level={model_level} if they are {model_level}, as from a product with MSI{model_level} in its name."
        )
    require_same_level(model_level, level, where or "--level")
    return ""


def require_same_level(model_level: str, level: str, where: str) -> None:
    """Compares the processing level of the inputs, which `where` states, with that of the model.

    Raises:
        ValueError: They differ.
    """
    if level != model_level:
        made = " (Sen2Cor also makes it from L1C)" if model_level == "L2A" else ""
        raise ValueError(
            f"The inputs are {_explain(level)} ({where}), the model was trained on {_explain(model_level)}: its "
            f"probabilities would mean nothing. Get the {model_level} product of the same scene{made}, or use a model "
            f"that was trained on {level}."
        )


def _explain(level: str) -> str:
    return f"{level} ({LEVEL_MEANINGS[level]})" if level in LEVEL_MEANINGS else level


def check_decibels(samples: Mapping[str, Sequence[StoredBand]]) -> None:
    """Checks that bands of Sentinel-1 are in dB.

    Raises:
        ValueError: No value is below 0, as in linear backscatter.
    """
    parts = [band.pixels[np.isfinite(band.pixels)].ravel() for bands in samples.values() for band in bands]
    values = np.concatenate(parts) if parts else np.zeros(0)
    if values.size and values.min() >= 0:
        raise ValueError(
            f"{_name_some(samples)}: no value of Sentinel-1 is below 0, as in linear backscatter; expected dB. Convert "
            "it first: 10 log10 of power, 20 log10 of amplitude."
        )
