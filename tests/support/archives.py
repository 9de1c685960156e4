"""Small archives of real GeoTIFFs in the layout of BigEarthNet v1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bigearth_tf.data.bands import BANDS, S1, S2_ALL, Band
from tfrecord_tools.listing.archive import Folder
from tfrecord_tools.listing.patch_lists import EXCLUSION_LISTS, SPLITS
from tfrecord_tools.raster.geotiff import utm_wkt, write_band

S2_NAMES = tuple(f"S2A_MSIL2A_20170613T101031_{row}_{row + 1}" for row in range(30))
S1_NAMES = tuple(f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{row}_{row + 1}" for row in range(30))


def folder_of(path: Path) -> Folder:
    """Returns the place of a patch folder, as sources take it."""
    return Folder(str(path.parent), path.name)


def constant_pixels(band: Band) -> np.ndarray:
    """Returns a different constant for every band, so that a swapped band is found."""
    value = list(BANDS).index(band.name) * 100 + 7
    return np.full((band.size_px, band.size_px), value if band.sensor == "S2" else -value / 100, band.dtype)


def random_pixels(band: Band, seed: int) -> np.ndarray:
    """Returns random values over the range of the storage type (uint16), or in usual dB (float32)."""
    rng = np.random.default_rng([seed, list(BANDS).index(band.name)])
    shape = (band.size_px, band.size_px)
    if band.dtype == "uint16":
        return rng.integers(0, 65536, shape, dtype=np.uint16)
    return rng.normal(-15, 5, shape).astype(np.float32)


def write_patch(folder: Path, pixels: dict[str, np.ndarray], labels: list[str], s2_name: str | None = None) -> Path:
    """Writes the bands of one sensor and their JSON; returns the folder of the patch."""
    folder.mkdir(parents=True)
    for name, array in pixels.items():
        resolution = BANDS[name].resolution_m
        grid = (404400.0, resolution, 0.0, 5342400.0, 0.0, -resolution)
        write_band(folder / f"{folder.name}_{name}.tif", array, utm_wkt(33), grid)
    metadata = {"labels": labels, "projection": utm_wkt(33)}
    if s2_name:
        metadata["corresponding_s2_patch"] = s2_name
    (folder / f"{folder.name}_labels_metadata.json").write_text(json.dumps(metadata))
    return folder


def write_pair(root: Path, index: int, labels: list[str], pixels=constant_pixels) -> tuple[Path, Path]:
    """Writes the S2 and S1 folders of pair `index` and returns both; `pixels(band)` returns the array of a band."""
    s2 = {name: pixels(BANDS[name]) for name in S2_ALL}
    s1 = {name: pixels(BANDS[name]) for name in S1}
    return (
        write_patch(root / "s2" / S2_NAMES[index], s2, labels),
        write_patch(root / "s1" / S1_NAMES[index], s1, labels, s2_name=S2_NAMES[index]),
    )


def write_lists(folder: Path, splits: dict[str, list[int]], excluded: dict[str, list[int]] | None = None) -> Path:
    """Writes a folder of lists of the patches of `write_pair`, by index; returns the folder."""
    folder.mkdir(parents=True)
    lists = {split: splits.get(split, []) for split in SPLITS}
    lists.update({name: (excluded or {}).get(reason, []) for reason, name in EXCLUSION_LISTS.items()})
    for name, indices in lists.items():
        (folder / f"{name}.csv").write_text("".join(f"{S2_NAMES[index]}\r\n" for index in indices))
    rows = "".join(f"{s1},{s2},Austria,Summer\n" for s1, s2 in zip(S1_NAMES, S2_NAMES))
    (folder / "s1_s2_name_country_season.csv").write_text("s1_name,s2_name,country,season\n" + rows)
    return folder
