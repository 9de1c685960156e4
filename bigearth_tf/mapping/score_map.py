"""Scores of a map of classes against a reference map: accuracy, and F1 of each class, over pixels."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from bigearth_tf.mapping.raster import BandReader, RasterBand, describe_raster, is_same_crs, read_category_names

_BLOCK_ROWS = 512


@dataclasses.dataclass(frozen=True)
class MapScores:
    """Scores over the `num_pixels` pixels that have a class in both maps.

    `accuracy` is the share of pixels with the right class; `constant_accuracy` is that of the best map of one class.
    `f1` has the classes of the reference, in the order of their values.
    """

    num_pixels: int
    accuracy: float
    constant_accuracy: float
    f1: dict[str, float]


def score_map(predicted: str | os.PathLike, reference: str | os.PathLike) -> MapScores:
    """Compares two maps of classes on the same grid; classes are matched by their category names.

    Args:
        predicted: A GeoTIFF of classes, such as the `map_top.tif` of `map_scene`.
        reference: A GeoTIFF of the true classes.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A map has no category names, or their grids differ, or no pixel has a class in both.
    """
    maps = [_describe(path) for path in (predicted, reference)]
    _require_same_grid(*maps)
    names = [_read_names(band) for band in maps]
    classes = list(dict.fromkeys([*names[1], *names[0]]))
    lookups = [_make_lookup(band, own, classes) for band, own in zip(maps, names)]
    counts = np.zeros((len(classes), len(classes)), np.int64)  # Reference, predicted.
    with BandReader() as reader:
        for top in range(0, maps[0].height, _BLOCK_ROWS):
            bottom = min(maps[0].height, top + _BLOCK_ROWS)
            found, true = (
                lookup[reader.read(band.path, 1, (top, bottom), (0, band.width))] for lookup, band in zip(lookups, maps)
            )
            both = (found >= 0) & (true >= 0)
            pairs = true[both] * len(classes) + found[both]
            counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
    total = int(counts.sum())
    if not total:
        raise ValueError(f"{predicted} and {reference}: no pixel has a class in both.")
    hits, of_reference, of_predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    f1 = 2 * hits / np.maximum(of_reference + of_predicted, 1)
    return MapScores(
        total,
        float(hits.sum() / total),
        float(of_reference.max() / total),
        {name: float(value) for name, value, count in zip(classes, f1, of_reference) if count},
    )


def _describe(path: str | os.PathLike) -> RasterBand:
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file. `python -m experiments.map_scene` writes map_top.tif.")
    band = describe_raster(os.fspath(path))[0]
    if band.dtype != "uint8":
        raise ValueError(f"{path}: has {band.dtype} values; a map of classes has uint8, such as map_top.tif.")
    return band


def _require_same_grid(first: RasterBand, second: RasterBand) -> None:
    same = (first.height, first.width, first.geotransform) == (second.height, second.width, second.geotransform)
    if not same or not is_same_crs(first.crs_wkt, second.crs_wkt):
        grids = [
            f"{band.path} has {band.height} x {band.width} pixels from {band.geotransform[0]:.10g}, "
            f"{band.geotransform[3]:.10g}"
            for band in (first, second)
        ]
        raise ValueError(
            f"{grids[0]}; {grids[1]}, or another coordinate system. Warp one to the grid of the other, with "
            "gdalwarp -r near."
        )


def _read_names(band: RasterBand) -> list[str]:
    names = read_category_names(band.path)
    if not names:
        raise ValueError(f"{band.path}: has no names of its classes (category names in {band.path}.aux.xml).")
    return names


def _make_lookup(band: RasterBand, names: list[str], classes: list[str]) -> np.ndarray:
    """Returns the index in `classes` for each value 0 ... 255 of a map, -1 for no data and values without a name."""
    lookup = np.full(256, -1, np.int64)
    lookup[: len(names)] = [classes.index(name) for name in names]
    if band.no_data is not None:
        lookup[int(band.no_data)] = -1
    return lookup
