"""GeoTIFFs as the data sets have them, and what is compared between those of tests and real ones."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from osgeo import gdal

from tfrecord_tools.raster.geotiff import utm_wkt

_TYPES = {"uint8": gdal.GDT_Byte, "uint16": gdal.GDT_UInt16, "float32": gdal.GDT_Float32}


class Form(NamedTuple):
    """The facts about a GeoTIFF that decide whether and how it is read."""

    num_bands: int
    size: tuple[int, int]
    type_name: str
    no_data: float | None
    block_size: tuple[int, int]
    compression: str | None
    interleave: str
    has_crs: bool


def write_image(path: Path, pixels: np.ndarray, no_data: float | None = None, options: tuple[str, ...] = ()) -> None:
    """Writes pixels [bands, H, W] with GDAL's defaults, which the published files have: strips, not compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    driver = gdal.GetDriverByName("GTiff")
    dataset = driver.Create(str(path), width, height, count, _TYPES[pixels.dtype.name], list(options))
    dataset.SetProjection(utm_wkt(33))
    dataset.SetGeoTransform((404400.0, 10.0, 0.0, 5342400.0, 0.0, -10.0))
    if no_data is not None:
        dataset.GetRasterBand(1).SetNoDataValue(no_data)
    dataset.WriteArray(pixels)
    dataset.FlushCache()


def describe_image(path: Path) -> Form:
    """Returns the form of a GeoTIFF."""
    dataset = gdal.Open(str(path))
    band = dataset.GetRasterBand(1)
    structure = dataset.GetMetadata("IMAGE_STRUCTURE")
    return Form(
        dataset.RasterCount,
        (dataset.RasterYSize, dataset.RasterXSize),
        gdal.GetDataTypeName(band.DataType),
        band.GetNoDataValue(),
        tuple(band.GetBlockSize()),
        structure.get("COMPRESSION"),
        structure.get("INTERLEAVE"),
        bool(dataset.GetProjectionRef()),
    )
