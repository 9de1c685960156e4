"""The bands of a patch in GeoTIFFs of any layout: as they are stored, and as a model takes them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

from bigearth_tf.data.band_names import find_band_name, normalize_band_name
from bigearth_tf.data.bands import Band
from bigearth_tf.serving.model_inputs import ModelInputs
from bigearth_tf.serving.native_size import reduce_to_native
from bigearth_tf.serving.patch_inputs import InputPatch
from bigearth_tf.serving.units import ChosenConversion, StoredBand, find_missing, is_free_of_offset
from tfrecord_tools.listing.archive import File
from tfrecord_tools.raster.geotiff import AnyBand, read_any

# A patch may be stored on a finer grid than its bands have: of a model that takes bands of 60 m alone, six times.
_MAX_FACTOR = 6
_EXTENT_TOLERANCE = 0.05
MAY_HAVE_OFFSET = "may have the offset of baseline 04.00"


@dataclasses.dataclass(frozen=True)
class RasterPatch:
    """A patch and its files: one for each band by name, or one file of several bands under the name "".

    `labels` are None if they are not known.
    """

    patch_id: str
    files: dict[str, File]
    labels: Optional[tuple[str, ...]] = None
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)


class StoredPatch(NamedTuple):
    """The bands of a patch as stored, by name, and what its files state.

    `texts` may name the processing level. `layout` are the names, sizes and pixel sizes of the bands. `pixel_m` is the
    side of a pixel by band, None if it is not known.
    """

    bands: dict[str, StoredBand]
    texts: tuple[str, ...]
    stated_offset: Optional[int]
    layout: frozenset[tuple[str, tuple[int, ...], float]]
    pixel_m: dict[str, Optional[float]]


class PatchReader:
    """Reads the bands of a patch that a model takes."""

    def __init__(self, model: ModelInputs, band_order: Sequence[str]) -> None:
        self._wanted = {band.name for band in model.bands}
        self._band_order = [normalize_band_name(name) for name in band_order]
        self._max_px = _MAX_FACTOR * max(band.size_px for band in model.bands)

    def read(self, patch: RasterPatch, *, with_place: bool = False) -> StoredPatch:
        """Returns the bands of a patch.

        Raises:
            ValueError, OSError: A file is missing or broken, or its bands are not named.
        """
        bands: dict[str, StoredBand] = {}
        texts: list[str] = [str(file) for file in patch.files.values()][:1]
        pixel_m: dict[str, Optional[float]] = {}
        layout = set()
        offset: Optional[int] = None
        # B10 is read for the level that it tells.
        for name, file in patch.files.items():
            if name and name not in self._wanted and not (with_place and name == "B10"):
                continue
            raster = read_any(file, self._max_px, with_place=with_place)
            names = [name] if name else self._name_bands(file, raster.bands)
            if len(names) != len(raster.bands):
                raise ValueError(f"{file}: has {len(raster.bands)} bands, expected band {name} alone.")
            for band_name, band in zip(names, raster.bands):
                if band_name in self._wanted or band_name == "B10":
                    bands[band_name] = _to_stored(band)
                    pixel_m[band_name] = raster.pixel_m
                    offset = 0 if band.offset else offset
                    if band_name in self._wanted:
                        layout.add((band_name, band.pixels.shape, round(raster.pixel_size, 6)))
            texts += raster.metadata.values()
            offset = _find_offset(raster.metadata) if offset is None else offset
        return StoredPatch(bands, tuple(texts), offset, frozenset(layout), pixel_m)

    def _name_bands(self, file: File, bands: Sequence[AnyBand]) -> list[str]:
        """Returns the names of the bands of a file by its descriptions or `--band_order`, "" for others."""
        described = [find_band_name(band.description) for band in bands]
        if self._band_order:
            if len(self._band_order) != len(bands):
                raise ValueError(
                    f"{file}: has {len(bands)} bands, --band_order names {len(self._band_order)}. Name each band in "
                    "the order of the file, and - for one to ignore."
                )
            wrong = [
                f"{index + 1} is {there}, not {said}"
                for index, (there, said) in enumerate(zip(described, self._band_order))
                if there and said not in ("-", there)
            ]
            if wrong:
                raise ValueError(f"{file}: --band_order contradicts its band descriptions: band {'; '.join(wrong)}.")
            names = ["" if name == "-" else name for name in self._band_order]
        else:
            names = described
        if not any(names):
            texts = ", ".join(repr(band.description) for band in bands[:3])
            raise ValueError(
                f"{file}: nothing names its {len(bands)} bands (their descriptions are {texts} ...). Name them in the "
                "order of the file, such as --band_order=B02,B03,B04,B08, or by their data set, such as "
                "--band_order=eurosat_ms."
            )
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            raise ValueError(f"{file}: several of its bands are {', '.join(twice)}. Say which with --band_order.")
        return names


def _to_stored(band: AnyBand) -> StoredBand:
    """Returns the pixels of a band, with the scale and the offset that its file states."""
    if band.scale in (None, 1.0) and not band.offset:
        return StoredBand(band.pixels, band.no_data)
    missing = find_missing(StoredBand(band.pixels, band.no_data))
    values = band.pixels.astype(np.float64) * (1.0 if band.scale is None else band.scale) + (band.offset or 0.0)
    return StoredBand(np.where(missing, np.nan, values))


def _find_offset(metadata: Mapping[str, str]) -> Optional[int]:
    for key, text in metadata.items():
        if key.upper().endswith("ADD_OFFSET") and re.fullmatch(r"-?\d+(\.0*)?", text):
            return round(float(text))
    return None


class PatchFit:
    """The bands of patches at the native sizes and in the units of a model."""

    def __init__(
        self, model: ModelInputs, chosen: ChosenConversion, reader: PatchReader, *, check_extent: bool
    ) -> None:
        self._model, self._conversion, self._reader = model, chosen.conversion, reader
        self._check_offset = chosen.offset_is_inferred
        self._check_extent = check_extent
        # Layouts that cover the right ground: others must be checked, which is slow.
        self._layouts: set[frozenset[tuple[str, tuple[int, ...], float]]] = set()
        self._finest = max((band.size_px for band in model.dn_bands), default=0)

    def read(self, patch: RasterPatch) -> InputPatch:
        """Returns a patch as the model takes it.

        Raises:
            ValueError, OSError: It cannot be read, or does not fit.
        """
        stored = self._reader.read(patch)
        bands, missing = self._convert(patch.patch_id, stored)
        if self._check_extent and stored.layout not in self._layouts:
            try:
                self._require_extent(self._reader.read(patch, with_place=True))
            except ValueError as error:
                raise ValueError(f"{patch.patch_id}: {error}") from error
        no_data = min((float(of_band.mean()) for of_band in missing.values()), default=0.0)
        remark = self._find_remark(bands, missing) if self._check_offset else ""
        return InputPatch(patch.patch_id, bands, patch.labels, patch.attributes, no_data, remark)

    def _find_remark(self, bands: Mapping[str, np.ndarray], missing: Mapping[str, np.ndarray]) -> str:
        numbers = np.concatenate([bands[name][~of_band] for name, of_band in missing.items()])
        return "" if not numbers.size or is_free_of_offset(numbers) else MAY_HAVE_OFFSET

    def find_problem(self, stored: StoredPatch) -> str:
        """Returns why a patch does not fit the model, "" if it does."""
        try:
            self._convert("", stored)
            if self._check_extent:
                self._require_extent(stored)
        except ValueError as error:
            return str(error).lstrip(": ")
        return ""

    def _convert(self, name: str, stored: StoredPatch) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Returns the bands as the model takes them, and where those of Sentinel-2 have no data."""
        missing = [band.name for band in self._model.bands if band.name not in stored.bands]
        if missing:
            raise ValueError(f"{name}: band {', '.join(missing)}, which the model takes, is missing.")
        dn_names = {band.name for band in self._model.dn_bands}
        bands, without_data = {}, {}
        for band in self._model.bands:
            try:
                if band.name in dn_names:
                    numbers = reduce_to_native(self._conversion.apply(stored.bands[band.name]), band.size_px)
                    bands[band.name] = numbers.pixels
                    without_data[band.name] = numbers.missing
                else:
                    bands[band.name] = _cast(stored.bands[band.name].pixels, band)
            except ValueError as error:
                raise ValueError(f"{name}: band {band.name}: {error}.") from error
        return bands, without_data

    def _require_extent(self, stored: StoredPatch) -> None:
        """Checks that a patch covers as much ground as the patches of the model."""
        finest = 0
        for band in self._model.bands:
            pixels, pixel_m = stored.bands[band.name].pixels, stored.pixel_m.get(band.name)
            finest = max(finest, pixels.shape[0] // band.size_px if band.size_px == self._finest else 0)
            expected_m = band.size_px * band.resolution_m
            if pixel_m and abs(pixels.shape[0] * pixel_m / expected_m - 1) > _EXTENT_TOLERANCE:
                raise ValueError(
                    f"band {band.name} covers {pixels.shape[0] * pixel_m:g} m, a patch of the model {expected_m:g} m. "
                    "Cut patches of that size, or map the whole area with experiments.map_scene."
                )
        if finest > 1 and not all(stored.pixel_m.values()):
            raise ValueError(
                f"its finest band has {finest} times as many pixels a side as the model takes, and no georeference "
                f"says how large they are; expected {self._finest} px, or a georeference in meters"
            )
        self._layouts.add(stored.layout)


def _cast(pixels: np.ndarray, band: Band) -> np.ndarray:
    """Returns the pixels of a band that is not of Sentinel-2, in the type that the model takes."""
    if pixels.shape != (band.size_px, band.size_px):
        raise ValueError(
            f"is {pixels.shape[1]} x {pixels.shape[0]} px, the model takes {band.size_px} x {band.size_px} px"
        )
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ValueError("contains numbers that are not finite")
    cast = pixels.astype(band.dtype)
    if cast.dtype.kind != "f" and not (cast == pixels).all():
        raise ValueError(f"has values that {band.dtype} cannot store")
    return cast
