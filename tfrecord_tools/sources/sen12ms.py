"""The source sen12ms: three GeoTIFFs per patch, for Sentinel-1, Sentinel-2, and a land-cover map that gives the labels.

`ROIs1158_spring/{s1_1,s2_1,lc_1}/ROIs1158_spring_{s1,s2,lc}_1_p30.tif`; the first band of the map is IGBP. A scene,
such as ROIs1158_spring_1, belongs to one split as a whole, so that neighboring patches are never in different splits;
each season is split separately.

NOTE: not the splits of the classification benchmark, which names its test scenes but leaves the validation set to the
user (https://github.com/schmitt-muc/SEN12MS, `splits/`): scores cannot be compared with the published ones.

Tried on real files: the map and the Sentinel-1 image of one patch, and the names on the test list of the benchmark. No
real Sentinel-2 image was at hand; its type, uint16, is that of https://github.com/torchgeo/torchgeo/issues/500.
"""

from __future__ import annotations

import collections
import functools
import os
import re
from collections.abc import Mapping

import numpy as np

from bigearth_tf.data.bands import Band
from bigearth_tf.data.datasets.sen12ms import CLASS_NAMES, IGBP_VALUES, MULTI_LABEL_PERCENT, S1_BAND_NAMES, SPEC
from bigearth_tf.data.label_kind import LabelKind
from tfrecord_tools.listing.archive import File
from tfrecord_tools.listing.known_layouts import describe_other_data, explain_renaming
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.listing.seeded_splits import SPLIT_SHARES, assign_splits
from tfrecord_tools.listing.walk import list_files, require_all_groups
from tfrecord_tools.raster.geotiff import read_bands
from tfrecord_tools.source import Patch, PatchError, Source, SourceInputs, require_inputs

_PARTS = ("s2", "s1", "lc")
_SEASONS = ("ROIs1158_spring", "ROIs1868_summer", "ROIs1970_fall", "ROIs2017_winter")
# Hidden files are not images: some systems put `._ROIs....tif` into a tar.
_ANY_TIFF = re.compile(r"[^.].*\.tiff?", re.IGNORECASE)
_NAME = re.compile(rf"({'|'.join(_SEASONS)})_({'|'.join(_PARTS)})_(0|[1-9]\d*)_(p(?:0|[1-9]\d*))\.tif")
_EXAMPLE = "ROIs1158_spring_{part}_1_p30.tif"

_S1_BANDS = tuple(band for band in SPEC.bands if band.name in S1_BAND_NAMES)
_S2_BANDS = tuple(band for band in SPEC.bands if band.name not in S1_BAND_NAMES)
_MAPS = tuple(
    Band(name, "map", 10, 256, "uint8", "class", None, None)
    for name in ("IGBP", "LCCS land cover", "LCCS land use", "LCCS surface hydrology")
)
# Value of IGBP -> index of the class; -1 for a value without a class.
_CLASS_OF_IGBP = np.full(1 + max(max(values) for values in IGBP_VALUES.values()), -1)
for _index, _values in enumerate(IGBP_VALUES.values()):
    _CLASS_OF_IGBP[list(_values)] = _index

# Its Sentinel-1 image is damaged as published, and the benchmark leaves it out:
# https://github.com/schmitt-muc/SEN12MS/blob/887070852c833709822d0f9805df2e932025434f/README.md
_DAMAGED = {"ROIs1868_summer_146_p202": "damaged as published"}


def open_source(inputs: SourceInputs) -> Source:
    """Returns the patches of `input`, split by `seed`, with the labels of `label_kind`, single by default."""
    require_inputs(inputs, SPEC.name, ("input",), ("seed", "label_kind", "partial_archive"))
    if inputs.label_kind not in (None, *SPEC.label_kinds):
        raise ValueError(f"--label_kind={inputs.label_kind}: unknown; allowed are {', '.join(SPEC.label_kinds)}.")
    root, label_kind = str(inputs.input), LabelKind(inputs.label_kind or LabelKind.SINGLE)
    triples, left_out = _list_triples(root)
    seasons = {name.rsplit("_", 2)[0] for name in triples}
    require_all_groups(root, _SEASONS, seasons, inputs.partial_archive)
    exclusions = collections.Counter(_DAMAGED[name] for name in triples if name in _DAMAGED)
    exclusions.update(left_out)
    strata: dict[str, set[str]] = {}
    for name in triples:
        strata.setdefault(_scene_of(name).rsplit("_", 1)[0], set()).add(_scene_of(name))
    split_of = assign_splits(strata, inputs.seed)
    return Source(
        spec=SPEC,
        bands=SPEC.bands,
        class_names=CLASS_NAMES,
        label_kind=label_kind,
        refs=[
            PatchRef(name, split_of[_scene_of(name)], parts) for name, parts in triples.items() if name not in _DAMAGED
        ],
        read=functools.partial(_read_listed, label_kind=label_kind),
        roots=(root,),
        origin=SPEC.source,
        exclusions=dict(exclusions),
        options={"seed": inputs.seed, "split_percent": dict(SPLIT_SHARES), "label_kind": label_kind},
    )


def _scene_of(patch_id: str) -> str:
    return patch_id.rsplit("_", 1)[0]


def find_parts(root: str) -> tuple[dict[str, dict[str, File]], dict[str, int]]:
    """Returns patch id -> its files that are there, by "s2", "s1" and "lc"; and what was left out, by reason.

    Raises:
        ValueError: A file has another name, or a patch has two files of a part.
    """
    found: dict[str, dict[str, File]] = {}
    listing = list_files(root, _ANY_TIFF)
    for file in listing.found:
        match = _NAME.fullmatch(os.path.basename(file.member or file.path))
        if not match:
            raise ValueError(
                f"{file}: not named like a file of SEN12MS; allowed are names such as {_EXAMPLE.format(part='s1')}, of "
                f"the seasons {', '.join(_SEASONS)} and the parts {', '.join(_PARTS)}. {_explain_name(root, file)}"
            )
        season, part, scene, number = match.groups()
        parts = found.setdefault(f"{season}_{scene}_{number}", {})
        if part in parts:
            raise ValueError(f"{root}: {match[0]} is in two places, {parts[part]} and {file}. Keep one.")
        parts[part] = file
    return found, listing.left_out


def _list_triples(root: str) -> tuple[dict[str, tuple[File, ...]], dict[str, int]]:
    """Returns patch id -> its files in the order of `_PARTS`; and what was left out, by reason.

    A missing file raises an error when it is read.
    """
    found, left_out = find_parts(root)
    there = {part for parts in found.values() for part in parts}
    missing = [part for part in _PARTS if part not in there]
    if missing:
        raise FileNotFoundError(
            f"{root}: no files of {', '.join(missing)} found, such as {_EXAMPLE.format(part=missing[0])}. "
            f"Unpack the archives of s1, s2 and lc into one folder.{describe_other_data(root, SPEC.name, 'input')}"
        )
    triples = {
        name: tuple(parts.get(part) or File(os.path.join(root, _path_of(name, part))) for part in _PARTS)
        for name, parts in found.items()
    }
    return triples, left_out


def _explain_name(root: str, file: File) -> str:
    stem, ending = os.path.splitext(os.path.basename(file.member or file.path))
    if _NAME.fullmatch(stem + ".tif"):
        return explain_renaming(root, stem + ending)
    return f"Move other images elsewhere.{describe_other_data(root, SPEC.name, 'input')}"


def _path_of(patch_id: str, part: str) -> str:
    """Returns the path of a file in the published layout."""
    roi, season, scene, number = patch_id.split("_")
    return f"{roi}_{season}/{part}_{scene}/{roi}_{season}_{part}_{scene}_{number}.tif"


def _read_listed(ref: PatchRef, label_kind: LabelKind, *, gdal_only: bool = False) -> Patch:
    files = {part: file for part, file in zip(_PARTS, ref.parts) if isinstance(file, File)}
    assert len(files) == len(_PARTS), ref
    return read_parts(ref.patch_id, files, label_kind, gdal_only=gdal_only)


def read_parts(patch_id: str, files: Mapping[str, File], label_kind: LabelKind, *, gdal_only: bool = False) -> Patch:
    """Returns the patch of some files; without a map, it has no labels.

    Args:
        patch_id: Name of the patch.
        files: "s2", "s1" and "lc" -> file, or some of them.
        label_kind: As for `choose_labels`.
        gdal_only: As for `ReadPatch`.

    Raises:
        PatchError: A file is missing or broken.
    """
    pixels: dict[str, np.ndarray] = {}
    for part, bands in (("s2", _S2_BANDS), ("s1", _S1_BANDS)):
        if part in files:
            pixels.update(zip((band.name for band in bands), read_bands(files[part], bands, gdal_only=gdal_only)))
    if "lc" not in files:
        return Patch(patch_id, pixels, ())
    counts = _count_classes(files["lc"], read_bands(files["lc"], _MAPS, gdal_only=gdal_only)[0])
    return Patch(patch_id, pixels, choose_labels(counts, label_kind))


def _count_classes(file: File, igbp: np.ndarray) -> np.ndarray:
    """Returns the number of pixels of each class in a map [256, 256]."""
    values, counts = np.unique(igbp, return_counts=True)
    classes = [_CLASS_OF_IGBP[value] if value < len(_CLASS_OF_IGBP) else -1 for value in values]
    if -1 in classes:
        wrong = classes.index(-1)
        raise PatchError(
            file,
            f"its band IGBP has the value {values[wrong]} in {counts[wrong]} px",
            f"values 1 ... {len(_CLASS_OF_IGBP) - 1}",
        )
    return np.bincount(classes, weights=counts, minlength=len(CLASS_NAMES)).astype(np.int64)


def choose_labels(counts: np.ndarray, label_kind: LabelKind) -> tuple[str, ...]:
    """Returns the class with the most pixels (the first of equal ones), or those with `MULTI_LABEL_PERCENT` or more.

    Args:
        counts: Pixels of each class [K].
        label_kind: SINGLE for the one class, MULTI for those with enough pixels.
    """
    if label_kind is LabelKind.SINGLE:
        return (CLASS_NAMES[int(np.argmax(counts))],)
    return tuple(name for name, count in zip(CLASS_NAMES, counts) if 100 * count >= MULTI_LABEL_PERCENT * counts.sum())
