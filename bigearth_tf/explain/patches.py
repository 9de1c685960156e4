"""Patches to explain: their bands, and their labels and their place where these are known."""

from __future__ import annotations

import dataclasses
from typing import Optional

from bigearth_tf.serving.patch_inputs import InputPatch


@dataclasses.dataclass(frozen=True)
class Georeference:
    """Where the upper left corner of a patch is: a CRS as WKT, and (left, pixel width, 0, top, 0, minus pixel height).

    The pixels are those of the patch's finest band, in units of the CRS.
    """

    crs_wkt: str
    geotransform: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class PatchToExplain(InputPatch):
    """A patch, and its place where it is known: records do not store it."""

    georeference: Optional[Georeference] = None
