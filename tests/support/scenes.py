"""Synthetic scenes of Sentinel-2 with a known content, and a model whose answers are known."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from osgeo import gdal, osr

from bigearth_tf.data.bands import BANDS

CORNER = (499980, 5300040)  # Of tile 33TWN, in meters.
EPSG = 32633
SAFE_NAME = "S2B_MSIL2A_20240830T100559_N0511_R022_T33TWN_20240830T134009.SAFE"
_GRANULE = "L2A_T33TWN_A038765_20240830T100558"
_BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


def wkt(epsg: int = EPSG) -> str:
    """Returns a coordinate system as WKT."""
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    return reference.ExportToWkt()


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the pixels of a file lie."""

    pixel_m: float = 10
    corner: tuple[float, float] = CORNER
    crs_wkt: str = ""


def write_raster(
    path: Path,
    bands: Sequence[np.ndarray],
    grid: Grid,
    *,
    names: Sequence[str] = (),
    no_data: float | None = None,
    driver: str = "GTiff",
    options: Sequence[str] = (),
) -> Path:
    """Writes bands [h, w] of one type as a file, lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    memory = gdal.GetDriverByName("MEM").Create("", bands[0].shape[1], bands[0].shape[0], 0)
    for index, pixels in enumerate(bands):
        code = {"uint16": gdal.GDT_UInt16, "uint8": gdal.GDT_Byte, "int16": gdal.GDT_Int16}.get(
            pixels.dtype.name, gdal.GDT_Float32
        )
        memory.AddBand(code)
        band = memory.GetRasterBand(index + 1)
        band.WriteArray(pixels)
        if names:
            band.SetDescription(names[index])
        if no_data is not None:
            band.SetNoDataValue(no_data)
    memory.SetProjection(grid.crs_wkt or wkt())
    memory.SetGeoTransform((grid.corner[0], grid.pixel_m, 0, grid.corner[1], 0, -grid.pixel_m))
    gdal.GetDriverByName(driver).CreateCopy(os.fspath(path), memory, options=list(options))
    return path


def write_band_files(folder: Path, bands: Mapping[str, np.ndarray], grid: Grid | None = None) -> Path:
    """Writes a folder with a GeoTIFF per band, at the band's native pixel size."""
    for name, pixels in bands.items():
        pixel_m = BANDS[name].resolution_m if name in BANDS else 20
        place = dataclasses.replace(grid or Grid(), pixel_m=pixel_m)
        write_raster(folder / f"{name}.tif", [pixels], place)
    return folder


def write_safe(
    folder: Path,
    bands: Mapping[str, np.ndarray],
    *,
    level: str = "L2A",
    baseline: str = "05.11",
    offset: int | None = -1000,
) -> Path:
    """Writes a product with the names and metadata of the Products Specification Document, issue 15; JP2 images.

    The files that nothing of this project reads are left out. The layout of a real product is described in
    https://sentiwiki.copernicus.eu/web/s2-products, section Level-2A.
    """
    root = folder / SAFE_NAME.replace("L2A", level)
    images = []
    for name, pixels in bands.items():
        pixel_m = BANDS[name].resolution_m if name in BANDS else 20
        image = f"GRANULE/{_GRANULE}/IMG_DATA/R{pixel_m}m/T33TWN_20240830T100559_{name}_{pixel_m}m"
        write_raster(
            root / f"{image}.jp2",
            [pixels],
            Grid(pixel_m),
            driver="JP2OpenJPEG",
            options=["QUALITY=100", "REVERSIBLE=YES"],
        )
        images.append(image)
    images.append(f"GRANULE/{_GRANULE}/IMG_DATA/R10m/T33TWN_20240830T100559_TCI_10m")
    (root / f"MTD_MSI{level}.xml").write_text(_metadata(root.name, level, baseline, offset, images), encoding="utf-8")
    return root


def _metadata(name: str, level: str, baseline: str, offset: int | None, images: Sequence[str]) -> str:
    tag, quantification = ("BOA_ADD_OFFSET", "BOA_QUANTIFICATION_VALUE")
    if level == "L1C":
        tag, quantification = "RADIO_ADD_OFFSET", "QUANTIFICATION_VALUE"
    offsets = "".join(f'<{tag} band_id="{index}">{offset}</{tag}>' for index in range(len(_BAND_IDS)))
    files = "".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in images)
    long = {"L2A": "Level-2A", "L1C": "Level-1C"}[level]
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:{long}_User_Product xmlns:n1="https://psd-15.sentinel2.eo.esa.int/PSD/User_Product_{long}.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_URI>{name}</PRODUCT_URI>
      <PROCESSING_LEVEL>{long}</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI{level[1:]}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
      <Product_Organisation><Granule_List><Granule granuleIdentifier="x" imageFormat="JPEG2000">{files}</Granule>
      </Granule_List></Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
      <QUANTIFICATION_VALUES_LIST><{quantification} unit="none">10000</{quantification}></QUANTIFICATION_VALUES_LIST>
      {f"<{tag}_VALUES_LIST>{offsets}</{tag}_VALUES_LIST>" if offset is not None else ""}
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:{long}_User_Product>
"""


def write_zip(path: Path, root: Path) -> Path:
    """Writes a folder as the zip in which products are downloaded."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root.parent))
    return path


def write_mean_model(
    folder: Path, names: Sequence[str], classes: Sequence[str], dataset: str = "bigearthnet_v1"
) -> Path:
    """Writes an export whose probability of class i is the mean of band i in reflectance."""
    import tensorflow as tf

    bands = [BANDS[name] for name in names]

    def serve(**pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        means = [tf.reduce_mean(tf.cast(pixels[name], tf.float32), axis=(1, 2)) / 10_000 for name in names]
        return {"probabilities": tf.stack(means, axis=-1), "class_names": tf.constant(list(classes))}

    signature = tf.function(serve, autograph=False).get_concrete_function(
        **{band.name: tf.TensorSpec([None, band.size_px, band.size_px], band.dtype, band.name) for band in bands}
    )
    tf.saved_model.save(tf.Module(), os.fspath(folder), signatures=signature)
    card = {
        "model": "mean",
        "class_names": list(classes),
        "inputs": {band.name: dataclasses.asdict(band) for band in bands},
        "dataset": {"name": dataset, "label_kind": "multi"},
        "threshold": 0.5,
    }
    (folder / "model_card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder
