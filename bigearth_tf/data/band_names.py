"""Names of bands within other texts: file names and descriptions of bands."""

from __future__ import annotations

import re

# A whole word of a file name or of a description: "T33UUP_20200101T101031_B8A_20m", "B4", "Sentinel-2 B04 (red)".
_BAND_WORD = re.compile(r"(?<![0-9A-Za-z])(B0?[1-9]|B1[0-2]|B8A|VV|VH)(?![0-9A-Za-z])", re.IGNORECASE)


def find_band_name(text: str) -> str:
    """Returns the last band that a text names, spelled as in the table of bands, or "" if it names none.

    `B4` and `b04` are `B04`.
    """
    found = _BAND_WORD.findall(text)
    return normalize_band_name(found[-1]) if found else ""


def split_band_name(stem: str) -> tuple[str, str]:
    """Returns the last band that a file name names, and what precedes it without the separator.

    `patch_7_B02` is band `B02` of `patch_7`. Without a band, both are "".
    """
    matches = list(_BAND_WORD.finditer(stem))
    if not matches:
        return "", ""
    return normalize_band_name(matches[-1][1]), stem[: matches[-1].start()].rstrip("_-. ")


def normalize_band_name(name: str) -> str:
    """Returns the name of a band as in the table of bands: `B04` for `b4`; other names in upper case."""
    name = name.strip().upper()
    return f"B0{name[-1]}" if re.fullmatch(r"B0?[1-9]", name) else name
