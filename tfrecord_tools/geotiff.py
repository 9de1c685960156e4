"""How is one band read from a GeoTIFF, and how is one written? The only importer of GDAL among the tools."""

from __future__ import annotations

import functools
import os

import numpy as np
from osgeo import gdal, osr

from bigearth_tf.bands import Band
from tfrecord_tools.patch import PatchError

gdal.UseExceptions()

_DTYPES = {gdal.GDT_UInt16: "uint16", gdal.GDT_Float32: "float32"}
_GDAL_TYPES = {name: code for code, name in _DTYPES.items()}


def read_band(path: str | os.PathLike, band: Band) -> np.ndarray:
    """Returns the band's pixels [size_px, size_px] as stored.

    Where they lie is not read here: making the CRS takes GDAL ten times as long as reading the pixels.

    Raises:
        PatchError: The file is missing, unreadable or truncated, or its size, type or band count differs from the row
            of `band`.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise PatchError(path, "the file is missing", f"a GeoTIFF of band {band.name}")
    try:
        dataset = gdal.Open(path)
        shape = (dataset.RasterCount, dataset.RasterYSize, dataset.RasterXSize)
        # The band must not outlive its dataset, or the interpreter crashes.
        dtype = _DTYPES.get(dataset.GetRasterBand(1).DataType, "another type") if dataset.RasterCount else "no type"
        wanted = (1, band.size_px, band.size_px)
        if shape != wanted or dtype != band.dtype:
            raise PatchError(
                path,
                f"holds {shape[0]} band(s) of {shape[2]} x {shape[1]} px, {dtype}",
                f"band {band.name} as 1 band of {band.size_px} x {band.size_px} px, {band.dtype}",
            )
        return dataset.ReadAsArray()
    except RuntimeError as error:
        raise PatchError(path, f"cannot be read ({error})", f"a whole GeoTIFF of band {band.name}") from error


def read_georeference(path: str | os.PathLike) -> tuple[str, tuple[float, ...]]:
    """Returns the CRS as WKT, and GDAL's geotransform: left, pixel width, 0, top, 0, minus pixel height; in metres."""
    dataset = gdal.Open(os.fspath(path))
    return dataset.GetProjectionRef(), dataset.GetGeoTransform()


def write_band(path: str | os.PathLike, pixels: np.ndarray, crs_wkt: str, geotransform: tuple[float, ...]) -> None:
    """Writes pixels [H, W], uint16 or float32, as an uncompressed single-band GeoTIFF."""
    height, width = pixels.shape
    driver = gdal.GetDriverByName("GTiff")
    dataset = driver.Create(os.fspath(path), width, height, 1, _GDAL_TYPES[pixels.dtype.name])
    dataset.SetProjection(crs_wkt)
    dataset.SetGeoTransform(geotransform)
    dataset.GetRasterBand(1).WriteArray(pixels)
    dataset.FlushCache()


@functools.cache
def utm_wkt(zone: int) -> str:
    """Returns WGS 84 / UTM of a northern zone (1 ... 60) as WKT."""
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32600 + zone)
    return reference.ExportToWkt()
