"""Maps as Cloud Optimized GeoTIFF, written strip by strip; small rasters of numbers as GeoTIFF."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Optional

import numpy as np
from osgeo import gdal

gdal.UseExceptions()

NO_DATA = 255
_COG = ("COMPRESS=DEFLATE", "BLOCKSIZE=512", "BIGTIFF=IF_SAFER", "NUM_THREADS=ALL_CPUS")
# Percentages change slowly from pixel to pixel. Level 1 takes half the time of the default, and a fifth more bytes.
_COG_OF_PERCENT = ("OVERVIEW_RESAMPLING=AVERAGE", "LEVEL=1", "PREDICTOR=YES")
_COG_OF_CLASSES = ("OVERVIEW_RESAMPLING=MODE",)
# Not compressed: that would take longer than all the rest.
_DRAFT = ("TILED=YES", "BLOCKXSIZE=512", "BLOCKYSIZE=512", "INTERLEAVE=PIXEL", "BIGTIFF=IF_SAFER", "SPARSE_OK=TRUE")


@dataclasses.dataclass(frozen=True)
class MapLayout:
    """The grid and the bands of a map, uint8 with no-data value 255.

    `band_names` has one name a band. `colors` and `category_names` (both by pixel value) make it a map of classes;
    `scale` and `unit` say what its values mean otherwise.
    """

    height: int
    width: int
    geotransform: tuple[float, ...]
    crs_wkt: str
    band_names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...] = ()
    category_names: tuple[str, ...] = ()
    scale: Optional[float] = None
    unit: str = ""


class MapDraft:
    """A map that is written strip by strip, then copied to a Cloud Optimized GeoTIFF."""

    def __init__(self, path: Path, layout: MapLayout) -> None:
        """Creates the file of the draft, which `finish` deletes."""
        self._path, self._layout = path, layout
        shape = (layout.width, layout.height, len(layout.band_names))
        options = list(_DRAFT)
        self._dataset = gdal.GetDriverByName("GTiff").Create(os.fspath(path), *shape, gdal.GDT_Byte, options)
        self._dataset.SetGeoTransform(layout.geotransform)
        self._dataset.SetProjection(layout.crs_wkt)
        for index, name in enumerate(layout.band_names):
            _describe_band(self._dataset.GetRasterBand(index + 1), name, layout)

    def write(self, top: int, left: int, pixels: np.ndarray) -> None:
        """Writes uint8 pixels [h, w, bands] at a row and a column of the map.

        Raises:
            OSError: The disk is full.
        """
        height, width, count = pixels.shape
        try:
            self._dataset.WriteRaster(
                left, top, width, height, np.ascontiguousarray(pixels).tobytes(), width, height, gdal.GDT_Byte,
                buf_pixel_space=count, buf_line_space=width * count, buf_band_space=1,
            )  # fmt: skip
        except RuntimeError as error:
            raise OSError(f"{self._path}: cannot be written ({error}).") from error

    def finish(self, output: Path, report: Callable[[float], object]) -> None:
        """Writes the map as a Cloud Optimized GeoTIFF and deletes the draft.

        Args:
            output: The file to write.
            report: Called with the share that is done, 0 ... 1.

        Raises:
            OSError: The disk is full.
        """

        def go_on(share: float, *_: object) -> int:
            report(share)
            return 1

        self._dataset = None
        options = [*_COG, *(_COG_OF_CLASSES if self._layout.colors else _COG_OF_PERCENT)]
        try:
            gdal.GetDriverByName("COG").CreateCopy(
                os.fspath(output),
                gdal.Open(os.fspath(self._path)),
                options=options,
                callback=go_on,
            )
        except RuntimeError as error:
            raise OSError(f"{output}: cannot be written ({error}).") from error
        for path in (self._path, self._path.with_name(f"{self._path.name}.aux.xml")):
            path.unlink(missing_ok=True)


def _describe_band(band: gdal.Band, name: str, layout: MapLayout) -> None:
    band.SetDescription(name)
    band.SetNoDataValue(NO_DATA)
    if layout.scale is not None:
        band.SetScale(layout.scale)
        band.SetOffset(0.0)
    if layout.unit:
        band.SetUnitType(layout.unit)
    if layout.colors:
        table = gdal.ColorTable()
        for value, color in enumerate(layout.colors):
            table.SetColorEntry(value, (*color, 255))
        band.SetColorTable(table)
        band.SetCategoryNames(list(layout.category_names))


def write_values(
    path: Path, bands: Mapping[str, np.ndarray], geotransform: Sequence[float], crs_wkt: str, unit: str = ""
) -> None:
    """Writes float32 arrays [h, w] as the named bands of a GeoTIFF.

    Args:
        path: The file.
        bands: Description -> values.
        geotransform: GDAL's.
        crs_wkt: CRS.
        unit: Unit of the values.

    Raises:
        OSError: The disk is full.
    """
    height, width = next(iter(bands.values())).shape
    options = ["COMPRESS=DEFLATE", "PREDICTOR=3"]
    try:
        created = gdal.GetDriverByName("GTiff").Create(
            os.fspath(path), width, height, len(bands), gdal.GDT_Float32, options
        )
        created.SetGeoTransform(list(geotransform))
        created.SetProjection(crs_wkt)
        for index, (name, values) in enumerate(bands.items()):
            band = created.GetRasterBand(index + 1)
            band.SetDescription(name)
            band.SetUnitType(unit)
            band.WriteArray(values.astype(np.float32))
        created.FlushCache()
    except RuntimeError as error:
        raise OSError(f"{path}: cannot be written ({error}).") from error
