"""The bands of a scene that a model takes, on one grid: checks that they fit, before any pixel is read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Optional

from bigearth_tf.data.bands import Band
from bigearth_tf.mapping.raster import RasterBand, is_same_crs
from bigearth_tf.mapping.scene import SCL, Scene, SceneBand
from bigearth_tf.serving.units import require_same_level

_DN_DTYPES = ("uint16", "int16", "uint32", "int32")
_FLOAT_DTYPES = ("float32", "float64")
# Share by which the side of a pixel may differ from the nominal one: projections have a scale.
_TOLERANCE = 0.01


@dataclasses.dataclass(frozen=True)
class Layer:
    """A band of the scene and its pixel size as a multiple of the base pixel.

    `factor` is a whole number for coarser bands, 1 / a whole number for finer ones.
    """

    source: SceneBand
    factor: Fraction


@dataclasses.dataclass(frozen=True)
class InputBand:
    """A band that the model takes, where it comes from, and the model's pixel size as a multiple of the base pixel."""

    band: Band
    layer: Layer
    model_factor: int


@dataclasses.dataclass(frozen=True)
class SceneInput:
    """What a model reads of a scene.

    The base grid is that of the finest band that the model takes: `height`, `width`, `geotransform`, and `patch_px`,
    the side of the model's patches, are in its pixels. Windows start at multiples of `align_px`.
    """

    bands: tuple[InputBand, ...]
    scl: Optional[Layer]
    height: int
    width: int
    geotransform: tuple[float, ...]
    crs_wkt: str
    patch_px: int
    align_px: int

    def resampled(self) -> list[str]:
        """Returns the names of the bands that the scene has at another pixel size than the model takes."""
        return [item.band.name for item in self.bands if item.layer.factor != item.model_factor]


def match_bands(scene: Scene, bands: Sequence[Band], level: Optional[str], *, mask_scl: bool = False) -> SceneInput:
    """Returns the bands of a scene that a model takes.

    Args:
        scene: Opened with the names of `bands`, and `SCL` if `mask_scl`.
        bands: The rows of the bands that the model takes.
        level: Processing level that the model was trained on, "L2A" or "L1C"; None if it is not known.
        mask_scl: Whether the scene classification is needed.

    Raises:
        ValueError: A band is missing, or the scene does not fit the model; the message says how.
    """
    if level and scene.level:
        require_same_level(level, scene.level, scene.name)
    _require_bands(scene, bands, mask_scl)
    finest = min(bands, key=lambda band: band.resolution_m)
    base = _choose(scene, finest).raster
    if not math.isclose(base.pixel_m, finest.resolution_m, rel_tol=_TOLERANCE):
        raise ValueError(
            f"{scene.name}: {finest.name} has pixels of {base.pixel_m:g} m, the model takes {finest.resolution_m} m. "
            "Is it another sensor, or a reduced scene?"
        )
    items = []
    for band in bands:
        source = _choose(scene, band)
        _require_units(source, band)
        layer = Layer(source, _factor(source, base, finest.resolution_m))
        items.append(InputBand(band, layer, band.resolution_m // finest.resolution_m))
    scl = None
    if mask_scl:
        source = min(scene.bands[SCL], key=lambda item: item.raster.pixel_m)
        scl = Layer(source, _factor(source, base, finest.resolution_m))
    patches = {band.size_px * item.model_factor for band, item in zip(bands, items)}
    assert len(patches) == 1, "the bands of a data set show the same ground"
    layers = [item.layer for item in items] + ([scl] if scl else [])
    factors = [layer.factor.numerator for layer in layers] + [item.model_factor for item in items]
    return SceneInput(
        bands=tuple(items),
        scl=scl,
        height=base.height,
        width=base.width,
        geotransform=base.geotransform,
        crs_wkt=base.crs_wkt,
        patch_px=patches.pop(),
        align_px=_least_common_multiple(factors),
    )


def _require_bands(scene: Scene, bands: Sequence[Band], mask_scl: bool) -> None:
    missing = [band.name for band in bands if not scene.bands.get(band.name)]
    if missing:
        raise ValueError(
            f"{scene.name}: lacks band {', '.join(missing)}, which the model takes. It has "
            f"{', '.join(sorted(scene.bands)) or 'no band of Sentinel-2'}. Is it complete, and of the model's sensor?"
        )
    if mask_scl and not scene.bands.get(SCL):
        raise ValueError(
            f"{scene.name}: has no scene classification (SCL), which --mask_scl needs. Leave the flag out."
        )


def _choose(scene: Scene, band: Band) -> SceneBand:
    """Returns the file of a band with the pixel size of the model, else the next finer one, else the finest."""
    candidates = scene.bands[band.name]
    fine = [item for item in candidates if item.raster.pixel_m <= band.resolution_m * (1 + _TOLERANCE)]
    if fine:
        return max(fine, key=lambda item: item.raster.pixel_m)
    return min(candidates, key=lambda item: item.raster.pixel_m)


def _require_units(source: SceneBand, band: Band) -> None:
    """Raises ValueError if the numbers of a band cannot be those that the model takes."""
    dtype = source.raster.dtype
    if band.dtype == "float32":
        if dtype not in _FLOAT_DTYPES:
            raise ValueError(f"{source.shown}: {band.name} is {dtype}, the model takes {band.unit} as float32.")
        return
    if dtype in _FLOAT_DTYPES:
        raise ValueError(
            f"{source.shown}: {band.name} is {dtype}, the model takes {band.unit} as {band.dtype}. Convert "
            "reflectance, for example with gdal_translate -ot UInt16 -scale 0 1 0 10000."
        )
    if dtype not in _DN_DTYPES:
        raise ValueError(
            f"{source.shown}: {band.name} is {dtype}, the model takes {band.unit} as {band.dtype}. A picture of 8 "
            "bits has lost the reflectance."
        )
    if source.dn_offset is None:
        raise ValueError(
            f"{source.shown}: nothing states whether the digital numbers of {band.name} have an offset. Say "
            "--dn_offset=-1000 for a product of baseline 04.00 or later whose numbers are unchanged, --dn_offset=0 for "
            "an older or a harmonized one."
        )


def _factor(source: SceneBand, base: RasterBand, resolution_m: int) -> Fraction:
    """Returns the pixel size of a band as a multiple of the base pixel; checks that both have one grid."""
    raster = source.raster
    if not is_same_crs(raster.crs_wkt, base.crs_wkt):
        raise ValueError(
            f"{source.shown}: {source.name} has another coordinate system than {base.path}. Project all bands the same "
            "way."
        )
    ratio = raster.pixel_m / base.pixel_m
    factor = Fraction(round(ratio)) if ratio > 1 else Fraction(1, round(1 / ratio))
    if not math.isclose(ratio, factor, rel_tol=1e-4):
        raise ValueError(
            f"{source.shown}: {source.name} has pixels of {raster.pixel_m:g} m, no multiple of the "
            f"{base.pixel_m:g} m of the finest band. Resample it."
        )
    shift = max(abs(raster.geotransform[i] - base.geotransform[i]) for i in (0, 3))
    side = math.hypot(base.geotransform[1], base.geotransform[4])
    if shift > _TOLERANCE * side:
        raise ValueError(
            f"{source.shown}: the grid of {source.name} starts {shift:g} away from that of {base.path}. Cut all bands "
            "at one corner."
        )
    for length, of_base in ((raster.height, base.height), (raster.width, base.width)):
        if abs(length * factor - of_base) >= max(factor, Fraction(1)):
            raise ValueError(
                f"{source.shown}: {source.name} is {raster.width} x {raster.height} px of {raster.pixel_m:g} m, which "
                f"does not cover the {base.width} x {base.height} px of {base.pixel_m:g} m of {base.path}. Cut all "
                "bands in the same way."
            )
    return factor


def _least_common_multiple(numbers: Sequence[int]) -> int:
    result = 1
    for number in numbers:
        result = result * number // math.gcd(result, number)
    return result
