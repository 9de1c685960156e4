"""Table of the bands: name, sensor, native size, storage type, unit, mean and standard deviation.

Names, sizes and units are those of BigEarthNet (https://arxiv.org/abs/2105.07921): patches of 1,200 m x 1,200 m,
Level-2A, which has no B10 (cirrus). Mean and standard deviation are those of the benchmark
(https://arxiv.org/abs/2111.09451), in storage units, over BigEarthNet v1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

PATCH_EXTENT_M = 1200


@dataclasses.dataclass(frozen=True)
class Band:
    """One measurement of a patch, [size_px, size_px] pixels at native resolution.

    `dtype` is the storage type, always little-endian. `unit` is the unit of the stored value: `reflectance x 10000`
    ("digital number", DN) for Sentinel-2, `dB` for Sentinel-1. `mean` and `std` are in that unit, None if they are not
    known yet.
    """

    name: str
    sensor: str
    resolution_m: int
    size_px: int
    dtype: str
    unit: str
    mean: float | None
    std: float | None


def _s2(name: str, resolution_m: int, mean: float, std: float) -> Band:
    size_px = PATCH_EXTENT_M // resolution_m
    return Band(name, "S2", resolution_m, size_px, "uint16", "reflectance x 10000", mean, std)


def _s1(name: str, mean: float, std: float) -> Band:
    return Band(name, "S1", 10, PATCH_EXTENT_M // 10, "float32", "dB", mean, std)


# The bands of BigEarthNet. Other data sets define their own rows (bigearth_tf/data/datasets/).
BANDS: dict[str, Band] = {
    band.name: band
    for band in (
        _s2("B01", 60, 340.76769064, 554.81258967),
        _s2("B02", 10, 429.9430203, 572.41639287),
        _s2("B03", 10, 614.21682446, 582.87945694),
        _s2("B04", 10, 590.23569706, 675.88746967),
        _s2("B05", 20, 950.68368468, 729.89827633),
        _s2("B06", 20, 1792.46290469, 1096.01480586),
        _s2("B07", 20, 2075.46795189, 1273.45393088),
        _s2("B08", 10, 2218.94553375, 1365.45589904),
        _s2("B8A", 20, 2266.46036911, 1356.13789355),
        _s2("B09", 60, 2246.0605464, 1302.3292881),
        _s2("B11", 20, 1594.42694882, 1079.19066363),
        _s2("B12", 20, 1009.32729131, 818.86747235),
        _s1("VV", -12.619993741972035, 5.115911777546365),
        _s1("VH", -19.29044597721542, 5.464428464912864),
    )
}

S1 = ("VV", "VH")
S2_ALL = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
# The benchmark drops the 60 m bands, which measure the atmosphere rather than the ground.
S2 = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")

BAND_SETS: dict[str, tuple[str, ...]] = {
    "RGB": ("B04", "B03", "B02"),
    "S1": S1,
    "S2": S2,
    "S2_ALL": S2_ALL,
    "MM": S2 + S1,
}


def get_bands(names: str | Iterable[str], table: Mapping[str, Band] = BANDS) -> tuple[Band, ...]:
    """Returns the rows of a band set ("S2") or of band names ("B04,B03,B02", or a sequence), in the given order.

    Args:
        names: A band set or band names.
        table: Rows by name, of BigEarthNet or of another data set.

    Raises:
        ValueError: No name is given, a name is neither a band nor a band set, or a name is given twice.
    """
    of_set = f" of the set {names}" if isinstance(names, str) and names in BAND_SETS else ""
    if isinstance(names, str):
        names = BAND_SETS.get(names) or names.split(",")
    names = tuple(names)
    sets = [name for name, members in BAND_SETS.items() if set(members) <= set(table)]
    allowed = f"the bands {', '.join(table)}" + (f" and the sets {', '.join(sets)} of them" if sets else "")
    if not names:
        raise ValueError(f"No band is named; allowed are {allowed}.")
    unknown = [name for name in names if name not in table]
    if unknown:
        raise ValueError(f"Unknown band {', '.join(map(repr, unknown))}{of_set}; allowed are {allowed}.")
    if len(set(names)) != len(names):
        raise ValueError(f"A band is named twice in {', '.join(names)}; name each once.")
    return tuple(table[name] for name in names)
