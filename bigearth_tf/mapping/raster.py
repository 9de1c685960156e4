"""Raster files of any size and format that GDAL reads: what they are, and reading parts of them."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Optional

import numpy as np
from osgeo import gdal, osr

gdal.UseExceptions()

_DTYPES = {
    gdal.GDT_Byte: "uint8",
    gdal.GDT_UInt16: "uint16",
    gdal.GDT_Int16: "int16",
    gdal.GDT_UInt32: "uint32",
    gdal.GDT_Int32: "int32",
    gdal.GDT_Float32: "float32",
    gdal.GDT_Float64: "float64",
}
_NO_GEOTRANSFORM = (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# Holds the blocks that two strips share: a row of JPEG 2000 tiles of 12 bands is 170 MB.
_CACHE_BYTES = 512 << 20
_END_OF_CODESTREAM = b"\xff\xd9"  # Marker EOC of JPEG 2000, ISO/IEC 15444-1.


@dataclasses.dataclass(frozen=True)
class RasterBand:
    """One band of a file. `pixel_m` is the side of its pixels; `scale` and `offset` are None if the file states none.

    `index` counts from 1. `geotransform` is GDAL's: left, pixel width, 0, top, 0, minus pixel height, for north-up.
    """

    path: str
    index: int
    height: int
    width: int
    dtype: str
    no_data: Optional[float]
    description: str
    scale: Optional[float]
    offset: Optional[float]
    pixel_m: float
    geotransform: tuple[float, ...]
    crs_wkt: str


def describe_raster(path: str, shown: str = "") -> list[RasterBand]:
    """Returns the bands of a raster file.

    Args:
        path: A path of GDAL.
        shown: The path for messages, if another.

    Raises:
        ValueError: The file cannot be opened, is cut, or has no CRS in a unit of length or no square pixels.
    """
    shown = shown or path
    dataset = _open(path, shown)
    geotransform, crs_wkt = dataset.GetGeoTransform(), dataset.GetProjectionRef()
    if not crs_wkt or tuple(geotransform) == _NO_GEOTRANSFORM:
        raise ValueError(
            f"{shown}: has no georeference (no coordinate system or no geotransform), so its map would have no place. "
            "Give it one, for example with gdal_translate -a_srs EPSG:... -a_ullr ..."
        )
    reference = osr.SpatialReference()
    reference.ImportFromWkt(crs_wkt)
    if not reference.IsProjected():
        raise ValueError(
            f"{shown}: its coordinate system {reference.GetName()} counts in degrees, the model needs meters. Project "
            "it, for example with gdalwarp -t_srs EPSG:32633 -tr 10 10 for zone 33 north."
        )
    _, a, b, _, c, d = geotransform
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not math.isclose(across, down, rel_tol=1e-6):
        raise ValueError(f"{shown}: its pixels are {across:g} x {down:g}, not square. Warp it to square pixels.")
    _require_complete(path, dataset, shown)
    bands = []
    for index in range(1, dataset.RasterCount + 1):
        band = dataset.GetRasterBand(index)
        bands.append(
            RasterBand(
                path=path,
                index=index,
                height=dataset.RasterYSize,
                width=dataset.RasterXSize,
                dtype=_DTYPES.get(band.DataType, gdal.GetDataTypeName(band.DataType)),
                no_data=band.GetNoDataValue(),
                description=band.GetDescription(),
                scale=band.GetScale(),
                offset=band.GetOffset(),
                pixel_m=across * reference.GetLinearUnits(),
                geotransform=tuple(geotransform),
                crs_wkt=crs_wkt,
            )
        )
    return bands


def _open(path: str, shown: str) -> gdal.Dataset:
    try:
        return gdal.OpenEx(path, gdal.OF_RASTER | gdal.OF_READONLY)
    except RuntimeError as error:
        if path.lower().endswith((".jp2", ".j2k")) and not _has_jpeg2000():
            raise ValueError(
                f"{shown}: this GDAL cannot read JPEG 2000. The libgdal of Debian and Ubuntu can; with conda, install "
                "libgdal-jp2openjpeg."
            ) from error
        raise ValueError(
            f"{shown}: cannot be opened as a raster ({error}). Is it cut, or not a raster? Copy it again."
        ) from error


def _has_jpeg2000() -> bool:
    drivers = (gdal.GetDriver(index) for index in range(gdal.GetDriverCount()))
    return any("jp2" in (driver.GetMetadataItem("DMD_EXTENSIONS") or "").split() for driver in drivers)


def _require_complete(path: str, dataset: gdal.Dataset, shown: str) -> None:
    """Raises ValueError if a file ends before its pixels do."""
    driver, complete = dataset.GetDriver().ShortName, True
    if driver == "GTiff":
        end = file_bytes(path)
        complete = all(_last_byte(dataset.GetRasterBand(i + 1)) <= end for i in range(dataset.RasterCount))
    elif driver.startswith("JP2") and not path.startswith("/vsizip/"):  # A zip knows how long its members are.
        with open(path, "rb") as file:
            file.seek(-len(_END_OF_CODESTREAM), os.SEEK_END)
            complete = file.read() == _END_OF_CODESTREAM
    if not complete:
        raise ValueError(f"{shown}: is cut: the file ends before its pixels do. Copy it again.")
    with BandReader() as reader:  # Also finds a missing source of a VRT, and a damaged end.
        for index in range(1, dataset.RasterCount + 1):
            last_row = (dataset.RasterYSize - 1, dataset.RasterYSize)
            last_column = (dataset.RasterXSize - 1, dataset.RasterXSize)
            reader.read(path, index, last_row, last_column, shown=shown)


def file_bytes(path: str) -> int:
    """Returns the size of the file at a path of GDAL."""
    return gdal.VSIStatL(path).size


def _last_byte(band: gdal.Band) -> int:
    """Returns where the last stored block of a GeoTIFF's band ends; blocks that are not stored are no data."""
    width, height = band.GetBlockSize()
    ends = [0]
    for y in range(-(-band.YSize // height)):
        for x in range(-(-band.XSize // width)):
            start = band.GetMetadataItem(f"BLOCK_OFFSET_{x}_{y}", "TIFF")
            if start not in (None, "0"):
                ends.append(int(start) + int(band.GetMetadataItem(f"BLOCK_SIZE_{x}_{y}", "TIFF") or 0))
    return max(ends)


def is_same_crs(first_wkt: str, second_wkt: str) -> bool:
    """Returns whether two coordinate systems are the same."""
    first, second = osr.SpatialReference(), osr.SpatialReference()
    first.ImportFromWkt(first_wkt)
    second.ImportFromWkt(second_wkt)
    return bool(first.IsSame(second))


class BandReader:
    """Reads parts of bands and keeps their files open; one thread uses it."""

    def __init__(self) -> None:
        """Opens nothing yet."""
        self._datasets: dict[str, gdal.Dataset] = {}
        gdal.SetCacheMax(_CACHE_BYTES)

    def read(
        self, path: str, index: int, rows: tuple[int, int], columns: tuple[int, int], *, shown: str = ""
    ) -> np.ndarray:
        """Returns the pixels of band `index` of a file; `rows` and `columns` are the first one and the end, exclusive.

        Raises:
            OSError: They cannot be read.
        """
        (top, bottom), (left, right) = rows, columns
        try:
            if path not in self._datasets:
                # Blocks of JPEG 2000 are decoded by all cores.
                self._datasets[path] = gdal.OpenEx(path, gdal.OF_RASTER, open_options=_open_options(path))
            dataset = self._datasets[path]  # Stays open while it is read, even if another thread closes this reader.
            pixels = dataset.GetRasterBand(index).ReadAsArray(left, top, right - left, bottom - top)
        except RuntimeError as error:
            raise OSError(f"{shown or path}: cannot be read ({error}). It is cut or damaged: copy it again.") from error
        if pixels is None:
            raise OSError(f"{shown or path}: cannot be read. It is cut or damaged: copy it again.")
        return pixels

    def __enter__(self) -> BandReader:
        """Returns the reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the files."""
        self._datasets.clear()


def _open_options(path: str) -> list[str]:
    return ["NUM_THREADS=ALL_CPUS"] if path.lower().endswith((".tif", ".tiff")) else []


def read_overview(path: str | os.PathLike, most_px: int) -> np.ndarray:
    """Returns band 1 of a map, reduced so that no side is longer than `most_px`."""
    dataset = gdal.Open(os.fspath(path))
    factor = max(1.0, max(dataset.RasterXSize, dataset.RasterYSize) / most_px)
    size = (max(1, round(dataset.RasterXSize / factor)), max(1, round(dataset.RasterYSize / factor)))
    return dataset.GetRasterBand(1).ReadAsArray(buf_xsize=size[0], buf_ysize=size[1])


def read_category_names(path: str | os.PathLike) -> list[str]:
    """Returns the names of the values 0, 1, ... of band 1 of a map of classes; an empty list if there are none."""
    dataset = gdal.Open(os.fspath(path))
    dataset.GetGeoTransform()  # Makes GDAL read `<path>.aux.xml`; asking for category names does not.
    return list(dataset.GetRasterBand(1).GetCategoryNames() or [])
