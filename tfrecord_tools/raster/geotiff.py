"""Bands of GeoTIFF files: reading, checking and writing. The only importer of GDAL among the tools."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np
from osgeo import gdal, osr

from bigearth_tf.data.bands import Band
from tfrecord_tools.listing.archive import File
from tfrecord_tools.raster.plain_tiff import HEADER_BYTES, plain_pixels
from tfrecord_tools.source import PatchError, os_errors_as_problems

gdal.UseExceptions()

_DTYPES = {gdal.GDT_Byte: "uint8", gdal.GDT_UInt16: "uint16", gdal.GDT_Float32: "float32"}
_GDAL_TYPES = {name: code for code, name in _DTYPES.items()}


def read_band(file: File, band: Band, *, gdal_only: bool = False) -> np.ndarray:
    """Returns the band's pixels [size_px, size_px] as stored.

    The georeference is not read: creating the CRS takes GDAL ten times as long as reading the pixels.

    Args:
        file: A GeoTIFF of one band.
        band: The row that it must match.
        gdal_only: Read every file with GDAL, plain files too.

    Raises:
        PatchError: The file is missing, unreadable or truncated, its size, type or band count differs from `band`,
            or a value is not finite.
    """
    (pixels,) = read_bands(file, (band,), gdal_only=gdal_only)
    return pixels


def read_bands(file: File, bands: Sequence[Band], *, gdal_only: bool = False) -> list[np.ndarray]:
    """Returns the pixels of a file with one or more bands, all of one size and type, in the order of the file.

    Args:
        file: A GeoTIFF.
        bands: The rows that its bands must match.
        gdal_only: Read every file with GDAL, plain files too.

    Raises:
        PatchError: As for `read_band`.
    """
    plain = _read_plain(file, bands[0]) if len(bands) == 1 and not gdal_only else None
    pixels = _decode(file, bands) if plain is None else [plain]
    if pixels[0].dtype.kind == "f" and not all(np.isfinite(band).all() for band in pixels):
        raise PatchError(
            file, "contains numbers that are not finite", f"finite {bands[0].unit} in band {_names(bands)}"
        )
    return pixels


def _read_plain(file: File, band: Band) -> np.ndarray | None:
    try:
        content = file.read_start(band.size_px**2 * np.dtype(band.dtype).itemsize + HEADER_BYTES)
    except OSError:
        return None  # GDAL gives the better message.
    return plain_pixels(content, band.size_px, band.dtype)


def _decode(file: File, bands: Sequence[Band]) -> list[np.ndarray]:
    """Returns the pixels of a GeoTIFF, read with GDAL."""
    names = _names(bands)
    size_px, expected_dtype = bands[0].size_px, bands[0].dtype
    with os_errors_as_problems(file, f"a GeoTIFF of band {names}"):
        file.check()
    try:
        dataset = gdal.OpenEx(os.fsencode(file.gdal_path), gdal.OF_RASTER, allowed_drivers=["GTiff"])
        shape = (dataset.RasterCount, dataset.RasterYSize, dataset.RasterXSize)
        # A band must not outlive its dataset: the interpreter would crash.
        dtype = _type_name(dataset.GetRasterBand(1).DataType) if dataset.RasterCount else "no type"
        if (shape, dtype) != ((len(bands), size_px, size_px), expected_dtype):
            raise PatchError(
                file,
                f"has {shape[0]} band(s) of {shape[2]} x {shape[1]} px, {dtype}",
                f"band {names} as {len(bands)} band(s) of {size_px} x {size_px} px, {expected_dtype}",
            )
        if not all(_blocks_stored(dataset.GetRasterBand(index + 1)) for index in range(len(bands))):
            raise PatchError(
                file, "does not say where its pixels are in the file", f"a complete GeoTIFF of band {names}"
            )
        pixels = dataset.ReadAsArray()
    except RuntimeError as error:
        with os_errors_as_problems(file, f"a complete GeoTIFF of band {names}"):
            file.read_bytes()  # GDAL does not tell an error of the disk from a damaged file.
        raise PatchError(file, f"cannot be read ({error})", f"a complete GeoTIFF of band {names}") from error
    if pixels is None:
        raise PatchError(file, "cannot be read", f"a complete GeoTIFF of band {names}")
    return [pixels] if len(bands) == 1 else list(pixels)


def _type_name(code: int) -> str:
    """Returns NumPy's name of a type, or GDAL's name of one that no source stores."""
    return _DTYPES.get(code) or f"another type ({gdal.GetDataTypeName(code)})"


def _blocks_stored(band: gdal.Band) -> bool:
    """Returns whether the file says where every block is: GDAL fills others with zeros or with bytes of the header."""
    width, height = band.GetBlockSize()
    columns, rows = -(-band.XSize // width), -(-band.YSize // height)
    offsets = (band.GetMetadataItem(f"BLOCK_OFFSET_{x}_{y}", "TIFF") for y in range(rows) for x in range(columns))
    return all(offset not in (None, "0") for offset in offsets)


def _names(bands: Sequence[Band]) -> str:
    return ", ".join(band.name for band in bands)


def read_georeference(path: str | os.PathLike) -> tuple[str, tuple[float, ...]]:
    """Returns the CRS as WKT, and GDAL's geotransform: left, pixel width, 0, top, 0, minus pixel height; in meters."""
    dataset = gdal.Open(os.fsencode(path))
    return dataset.GetProjectionRef(), dataset.GetGeoTransform()


def write_band(path: str | os.PathLike, pixels: np.ndarray, crs_wkt: str, geotransform: tuple[float, ...]) -> None:
    """Writes pixels [H, W], uint8, uint16 or float32, as an uncompressed single-band GeoTIFF."""
    height, width = pixels.shape
    driver = gdal.GetDriverByName("GTiff")
    dataset = driver.Create(os.fsencode(path), width, height, 1, _GDAL_TYPES[pixels.dtype.name])
    dataset.SetProjection(crs_wkt)
    dataset.SetGeoTransform(geotransform)
    dataset.GetRasterBand(1).WriteArray(pixels)
    dataset.FlushCache()


def name_categories(path: str | os.PathLike, names: Sequence[str]) -> None:
    """Stores a name for each value 0, 1, ... of the first band, in `<path>.aux.xml`, as GIS programs read it."""
    dataset = gdal.Open(os.fsencode(path))
    dataset.GetRasterBand(1).SetCategoryNames(list(names))


@functools.cache
def utm_wkt(zone: int) -> str:
    """Returns WGS 84 / UTM of a northern zone (1 ... 60) as WKT."""
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32600 + zone)
    return reference.ExportToWkt()


class AnyBand(NamedTuple):
    """A band of a file, with what the file states about it; None for what it does not state.

    `scale` and `offset` turn a value into a physical one: value x scale + offset.
    """

    pixels: np.ndarray
    description: str
    no_data: Optional[float]
    scale: Optional[float]
    offset: Optional[float]


class AnyRaster(NamedTuple):
    """A file of any number, size and type of bands. `metadata` are its texts.

    `pixel_size` is the side of a pixel in the unit of its georeference, `pixel_m` the same in meters, which is None if
    there is no georeference in meters, or if it was not asked for.
    """

    bands: tuple[AnyBand, ...]
    metadata: dict[str, str]
    pixel_size: float
    pixel_m: Optional[float]


def read_any(file: File, max_px: int, *, with_place: bool = False) -> AnyRaster:
    """Returns everything that a GeoTIFF contains.

    Args:
        file: A GeoTIFF.
        max_px: The longest side that is read.
        with_place: Find `pixel_m`, which takes ten times as long as reading the pixels.

    Raises:
        PatchError: The file is missing, unreadable, truncated, or larger than `max_px`.
    """
    expected, fix = "a complete GeoTIFF", "Copy or export the file again."
    with os_errors_as_problems(file, expected):
        file.check()
    try:
        dataset = gdal.OpenEx(os.fsencode(file.gdal_path), gdal.OF_RASTER, allowed_drivers=["GTiff"])
        if max(dataset.RasterXSize, dataset.RasterYSize) > max_px:
            found = f"has {dataset.RasterXSize} x {dataset.RasterYSize} px"
            raise PatchError(
                file,
                found,
                f"a patch of at most {max_px} px",
                "Cut it into patches, or map it by `python -m experiments.map_scene`.",
            )
        rows = [dataset.GetRasterBand(index + 1) for index in range(dataset.RasterCount)]
        if not rows or not all(_blocks_stored(row) for row in rows):
            raise PatchError(file, "does not say where its pixels are in the file", expected, fix)
        bands = tuple(
            AnyBand(row.ReadAsArray(), row.GetDescription(), row.GetNoDataValue(), row.GetScale(), row.GetOffset())
            for row in rows
        )
        # A band must not outlive its dataset: the interpreter would crash.
        del rows
        pixel_m = _pixel_m(dataset) if with_place else None
        metadata, pixel_size = dict(dataset.GetMetadata()), abs(dataset.GetGeoTransform()[1])
    except RuntimeError as error:
        raise PatchError(file, f"cannot be read ({error})", expected, fix) from error
    if any(band.pixels is None for band in bands):
        raise PatchError(file, "cannot be read", expected, fix)
    return AnyRaster(bands, metadata, pixel_size, pixel_m)


def _pixel_m(dataset: gdal.Dataset) -> float | None:
    """Returns the side of a pixel in meters, None if the CRS has another unit or there is none."""
    reference = osr.SpatialReference()
    wkt = dataset.GetProjectionRef()
    if not wkt or reference.ImportFromWkt(wkt) or not reference.IsProjected():
        return None
    return abs(dataset.GetGeoTransform()[1]) * reference.GetLinearUnits()
