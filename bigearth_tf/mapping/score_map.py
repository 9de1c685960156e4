"""Scores of a map of classes against a reference map: accuracy, and F1 of each class, over pixels."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
from osgeo import gdal

from bigearth_tf.mapping.raster import is_same_crs

gdal.UseExceptions()

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
    maps = [_open(path) for path in (predicted, reference)]
    _require_same_grid(maps[0], maps[1], predicted, reference)
    names = [_category_names(dataset, path) for dataset, path in zip(maps, (predicted, reference))]
    classes = list(dict.fromkeys([*names[1], *names[0]]))
    counts = np.zeros((len(classes), len(classes)), np.int64)  # Reference, predicted.
    lookups = [_make_lookup(dataset, own, classes) for dataset, own in zip(maps, names)]
    for top in range(0, maps[0].RasterYSize, _BLOCK_ROWS):
        rows = min(_BLOCK_ROWS, maps[0].RasterYSize - top)
        found, true = (
            lookup[dataset.GetRasterBand(1).ReadAsArray(0, top, dataset.RasterXSize, rows)]
            for lookup, dataset in zip(lookups, maps)
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


def _open(path: str | os.PathLike) -> gdal.Dataset:
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file. `python -m experiments.map_scene` writes map_top.tif.")
    dataset = gdal.Open(os.fspath(path))
    if dataset.GetRasterBand(1).DataType != gdal.GDT_Byte:
        raise ValueError(f"{path}: is no map of classes, whose values are uint8.")
    return dataset


def _require_same_grid(
    first: gdal.Dataset, second: gdal.Dataset, first_path: str | os.PathLike, second_path: str | os.PathLike
) -> None:
    places = [(one.RasterYSize, one.RasterXSize, one.GetGeoTransform()) for one in (first, second)]
    if places[0] != places[1] or not is_same_crs(first.GetProjectionRef(), second.GetProjectionRef()):
        raise ValueError(
            f"{first_path} has {places[0][0]} x {places[0][1]} pixels from {places[0][2][0]:g}, {places[0][2][3]:g}; "
            f"{second_path} has {places[1][0]} x {places[1][1]} from {places[1][2][0]:g}, {places[1][2][3]:g}, or "
            "another coordinate system. Warp one to the grid of the other, with gdalwarp -r near."
        )


def _category_names(dataset: gdal.Dataset, path: str | os.PathLike) -> list[str]:
    dataset.GetGeoTransform()  # Makes GDAL read `<path>.aux.xml`; asking for category names does not.
    names = dataset.GetRasterBand(1).GetCategoryNames()
    if not names:
        raise ValueError(
            f"{path}: has no names of its classes (category names); they are in {Path(path).name}.aux.xml."
        )
    return list(names)


def _make_lookup(dataset: gdal.Dataset, names: list[str], classes: list[str]) -> np.ndarray:
    """Returns the index in `classes` for each value 0 ... 255 of a map, -1 for no data and values without a name."""
    lookup = np.full(256, -1, np.int64)
    lookup[: len(names)] = [classes.index(name) for name in names]
    no_data = dataset.GetRasterBand(1).GetNoDataValue()
    if no_data is not None:
        lookup[int(no_data)] = -1
    return lookup
