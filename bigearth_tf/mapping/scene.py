"""A scene: bands by name, each with its file, grid, storage type, no-data value and offset of its digital numbers.

A scene is a Sentinel-2 product in SAFE format (folder or zip), a folder or zip with a file per band, or one file with
several bands. Bands are matched by name, never by their order alone.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from absl import logging

from bigearth_tf.data.band_names import find_band_name, normalize_band_name
from bigearth_tf.mapping.raster import RasterBand, describe_raster
from bigearth_tf.mapping.safe_product import SafeProduct, find_product
from bigearth_tf.mapping.scene_files import SceneFiles, list_files

SCL = "SCL"
_RASTERS = (".jp2", ".tif", ".tiff", ".vrt", ".img")
_SCL_WORD = re.compile(r"(?<![0-9A-Za-z])SCL(?![0-9A-Za-z])", re.IGNORECASE)
# Reflectance x 10,000, as float: the only scale that the models can use.
_SCALE = 1e-4


@dataclasses.dataclass(frozen=True)
class SceneBand:
    """A band of a scene at one pixel size.

    `dn_offset` is added to its digital numbers to get reflectance x 10000; None if the scene does not state it.
    `shown` is the path of its file for messages.
    """

    name: str
    raster: RasterBand
    dn_offset: Optional[int]
    shown: str


@dataclasses.dataclass(frozen=True)
class Scene:
    """The bands of a scene by name; a band may exist at several pixel sizes. `level` is None if nothing states it."""

    name: str
    level: Optional[str]
    baseline: Optional[str]
    offset_source: str
    bands: dict[str, tuple[SceneBand, ...]]


@dataclasses.dataclass(frozen=True)
class _BandFile:
    """A file of a band that is not opened yet."""

    name: str
    path: str
    shown: str


def open_scene(
    path: str | os.PathLike,
    names: Sequence[str],
    *,
    band_order: Sequence[str] = (),
    dn_offset: int | None = None,
) -> Scene:
    """Returns a scene with those of the named bands that it has.

    Args:
        path: A .SAFE folder or its zip, a folder or zip with a file per band, or a file with several bands.
        names: Names of the bands to open; others are listed but not opened.
        band_order: Names of the bands of a file that does not name them, in the order of the file.
        dn_offset: What to add to digital numbers, where the scene does not state it.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        ValueError: It is not a scene, a file is cut or has no georeference, or an option contradicts the scene.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path}: does not exist. Name a scene with --scene.")
    if path.name.startswith("MTD_MSIL") and path.suffix == ".xml":
        path = path.absolute().parent
    if not path.is_dir() and path.suffix.lower() != ".zip":
        bands = _open_file(os.fspath(path), str(path), band_order)
        return _finish(path, None, bands, dn_offset)
    files = list_files(path)
    product = find_product(files)
    listed = _list_product(files, product) if product else _list_folder(files)
    if not listed:
        rasters = [name for name in files.names if name.lower().endswith(_RASTERS)]
        if len(rasters) != 1 or product:
            raise ValueError(
                f"{path}: has {len(rasters)} raster file(s), none named by a band of Sentinel-2, such as "
                "B02.tif. Name a .SAFE folder or its zip, a folder of band files, or a file with several bands."
            )
        return _finish(
            path, None, _open_file(files.gdal_path(rasters[0]), files.shown(rasters[0]), band_order), dn_offset
        )
    if band_order:
        raise ValueError(f"{path}: --band_order is for a file with several bands; here the files name their bands.")
    bands = [_open_band_file(file) for file in listed if file.name in names]
    unopened = [file for file in listed if file.name not in names]
    if product is None and len({(band.name, band.raster.pixel_m) for band in bands}) < len(bands):
        twice = sorted(band.shown for band in bands if sum(other.name == band.name for other in bands) > 1)
        raise ValueError(
            f"{path}: has several files of one band, or several scenes: {', '.join(twice)}. Name one scene."
        )
    return _finish(path, product, bands, dn_offset, [file.name for file in unopened])


def _list_product(files: SceneFiles, product: SafeProduct) -> list[_BandFile]:
    """Returns the files of bands that the metadata of a product lists.

    Raises:
        ValueError: A file is missing.
    """
    found = {posixpath.splitext(name)[0]: name for name in files.names if name.lower().endswith(_RASTERS)}
    listed = []
    for image in product.image_paths:
        band = _find_name(posixpath.basename(image))
        if not band:
            continue  # Aerosol, water vapor, true color.
        if image not in found:
            raise ValueError(
                f"{files.shown(image)}.jp2: is missing, the metadata of the product list it. The product is not "
                "complete: download it again."
            )
        listed.append(_BandFile(band, files.gdal_path(found[image]), files.shown(found[image])))
    if not listed:
        raise ValueError(f"{files.root}: the metadata of {product.name} list no images of bands.")
    return listed


def _list_folder(files: SceneFiles) -> list[_BandFile]:
    listed = []
    for name in files.names:
        band = _find_name(posixpath.splitext(posixpath.basename(name))[0])
        if band and name.lower().endswith(_RASTERS) and not posixpath.basename(name).startswith("."):
            listed.append(_BandFile(band, files.gdal_path(name), files.shown(name)))
    return listed


def _find_name(text: str) -> str:
    """Returns the band or the layer that a file name or a description names, "" if it names none."""
    return SCL if _SCL_WORD.search(text) else find_band_name(text)


def _open_band_file(file: _BandFile) -> SceneBand:
    bands = describe_raster(file.path, file.shown)
    if len(bands) != 1:
        raise ValueError(f"{file.shown}: has {len(bands)} bands, expected band {file.name} alone.")
    return _scene_band(file.name, bands[0], file.shown)


def _open_file(path: str, shown: str, band_order: Sequence[str]) -> list[SceneBand]:
    """Returns the bands of a file with several bands, by their descriptions or by `band_order`."""
    rasters = describe_raster(path, shown)
    if band_order:
        if len(band_order) != len(rasters):
            raise ValueError(
                f"{shown}: has {len(rasters)} bands, --band_order names {len(band_order)}. Name each band of the file; "
                "any other word, such as -, is a band to ignore."
            )
        names = [normalize_band_name(name) for name in band_order]
    else:
        names = [_find_name(raster.description) for raster in rasters]
        if not any(names):
            described = ", ".join(repr(raster.description) for raster in rasters[:4])
            raise ValueError(
                f"{shown}: the descriptions of its {len(rasters)} bands ({described}, ...) name no band of Sentinel-2. "
                "Name them in the order of the file, for example --band_order=B02,B03,B04,B08."
            )
    named = [(name, raster) for name, raster in zip(names, rasters) if name and name == _find_name(name)]
    twice = sorted({name for name, _ in named if sum(name == other for other, _ in named) > 1})
    if twice:
        raise ValueError(f"{shown}: several of its bands are named {', '.join(twice)}. Say which with --band_order.")
    return [_scene_band(name, raster, shown) for name, raster in named]


def _scene_band(name: str, raster: RasterBand, shown: str) -> SceneBand:
    """Returns a band with the offset that its file states, if it states one."""
    scale, offset = raster.scale or 1.0, raster.offset or 0.0
    if scale == 1.0:
        return SceneBand(name, raster, round(offset) if offset else None, shown)
    if name.startswith("B") and abs(scale - _SCALE) > 1e-9:
        raise ValueError(
            f"{shown}: states a scale of {scale:g} for {name}; Sentinel-2's is {_SCALE:g}. Is it another sensor?"
        )
    return SceneBand(name, raster, round(offset / scale), shown)


def _finish(
    path: Path,
    product: SafeProduct | None,
    bands: list[SceneBand],
    dn_offset: int | None,
    unopened: Sequence[str] = (),
) -> Scene:
    """Returns the scene, with the offsets of its product or of the option."""
    by_name: dict[str, list[SceneBand]] = {name: [] for name in unopened}
    source = "the files"
    for band in bands:
        offset = band.dn_offset
        if product is not None and product.dn_offsets is not None:
            offset, source = product.dn_offsets.get(band.name, offset), f"the metadata of {product.name}"
        if dn_offset is not None and band.name.startswith("B"):
            if offset is not None and offset != dn_offset:
                raise ValueError(
                    f"--dn_offset={dn_offset}: {source} state {offset} for {band.name}. Leave the option out."
                )
            if offset is None:
                offset, source = dn_offset, "--dn_offset"
        by_name.setdefault(band.name, []).append(dataclasses.replace(band, dn_offset=offset))
    name = product.name if product else path.name
    level = product.level if product else _guess_level(path, by_name)
    logging.info("%s: %s bands, level %s", name, len(by_name), level or "not stated")
    return Scene(
        name,
        level,
        product.baseline if product else None,
        source,
        {key: tuple(value) for key, value in by_name.items()},
    )


def _guess_level(path: Path, names: dict[str, list[SceneBand]]) -> str | None:
    """Returns the level of a scene without metadata, None if nothing states it: only Level-1C has B10 (cirrus)."""
    if "B10" in names or "MSIL1C" in path.name.upper():
        return "L1C"
    return "L2A" if "MSIL2A" in path.name.upper() or SCL in names else None
