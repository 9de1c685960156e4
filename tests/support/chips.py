"""GeoTIFFs that users have: of any bands, types, descriptions and georeference; and what a model takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from osgeo import gdal, gdal_array

from bigearth_tf.data.bands import BANDS, get_bands
from bigearth_tf.data.datasets import find_level
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.serving.model_inputs import ModelInputs
from tfrecord_tools.raster.geotiff import utm_wkt


def describe_model(bands="B02,B05,B11", class_names=CLASSES_19, dataset="bigearthnet_v1", table=BANDS) -> ModelInputs:
    """Returns what a model takes that was trained on a data set."""
    return ModelInputs(get_bands(bands, table), tuple(class_names), LabelKind.MULTI, dataset, find_level(dataset))


def write_chip(
    path: Path,
    bands: Mapping[str, np.ndarray],
    *,
    described: bool = True,
    pixel_m: float | None = 10.0,
    no_data: float | None = None,
    metadata: Mapping[str, str] | None = None,
    scale: tuple[float, float] | None = None,
) -> Path:
    """Writes arrays [H, W] of one type as the bands of a GeoTIFF; returns its path.

    Args:
        path: File to write.
        bands: Description of a band -> its pixels, in the order of the file.
        described: Whether the descriptions are written.
        pixel_m: Side of a pixel, None for no georeference.
        no_data: Value of pixels without data that the file states.
        metadata: Texts of the file.
        scale: Scale and offset that the file states.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    first = next(iter(bands.values()))
    code = gdal_array.NumericTypeCodeToGDALTypeCode(first.dtype)
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), first.shape[1], first.shape[0], len(bands), code)
    if pixel_m:
        dataset.SetProjection(utm_wkt(33))
        dataset.SetGeoTransform((404400.0, pixel_m, 0.0, 5342400.0, 0.0, -pixel_m))
    dataset.SetMetadata(dict(metadata or {}))
    for index, (name, pixels) in enumerate(bands.items(), start=1):
        band = dataset.GetRasterBand(index)
        band.WriteArray(pixels)
        if described:
            band.SetDescription(name)
        if no_data is not None:
            band.SetNoDataValue(no_data)
        if scale is not None:
            band.SetScale(scale[0])
            band.SetOffset(scale[1])
    dataset.FlushCache()
    return path


def land(number: int, name: str, size_px: int) -> np.ndarray:
    """Returns digital numbers of land: a different dark constant for each patch and band, with a bright corner."""
    pixels = np.full((size_px, size_px), 100 + 10 * number + list(BANDS).index(name), np.uint16)
    pixels[: size_px // 4, : size_px // 4] += 3000
    return pixels
