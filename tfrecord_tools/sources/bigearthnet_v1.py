"""The source bigearthnet_v1: one folder per patch, with one GeoTIFF per band and the labels of the 43 classes as JSON.

`S2A_MSIL2A_20170613T101031_87_48/S2A_MSIL2A_20170613T101031_87_48_B02.tif ... _labels_metadata.json`, and the same for
Sentinel-1 under its own name. Some names of the archive have times without a leading zero; they are used as they are.

Tried on real files: nine patches of each sensor, six of them pairs, and the names of all 590,326 pairs.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from absl import logging

from bigearth_tf.data.bands import S1, S2_ALL, get_bands
from bigearth_tf.data.datasets.bigearthnet_v1 import SPEC
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_43, NOMENCLATURES, map_to_nomenclature
from tfrecord_tools.listing.archive import File, Folder, FolderFiles
from tfrecord_tools.listing.known_layouts import S1_PATCH, V1_S2_PATCH
from tfrecord_tools.listing.patch_lists import EXCLUSION_LISTS, PatchLists, official_lists_folder, read_patch_lists
from tfrecord_tools.listing.patch_matching import FoldersOf, ListedPatch, find_folders, match_patches
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.raster.folder_bands import locate_files, read_folder_bands
from tfrecord_tools.source import (
    Patch,
    PatchError,
    Source,
    SourceInputs,
    os_errors_as_problems,
    read_exclusions,
    require_inputs,
)

_SENSOR_BANDS = {"S2": get_bands(S2_ALL), "S1": get_bands(S1)}
_FOLDERS = {
    kind: FoldersOf(
        kind, pattern, example, tuple(f"_{band.name}.tif" for band in _SENSOR_BANDS[kind]), SPEC.name, kind.lower()
    )
    for kind, pattern, example in (
        ("S2", V1_S2_PATCH, "S2A_MSIL2A_20170613T101031_87_48"),
        ("S1", S1_PATCH, "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"),
    )
}
_NOT_LISTED = "on no split list"


def open_source(inputs: SourceInputs) -> Source:
    """Returns the patches of `s2` or `s1`, or the pairs of both, by the official lists or those of `lists_dir`."""
    require_inputs(inputs, SPEC.name, (), ("s2", "s1", "lists_dir", "nomenclature", "exclude", "partial_archive"))
    exclude = read_exclusions(inputs, tuple(EXCLUSION_LISTS))
    nomenclature = inputs.nomenclature or "19"
    folder = Path(inputs.lists_dir) if inputs.lists_dir else official_lists_folder()
    lists = read_patch_lists(folder, with_pairs=bool(inputs.s1), reasons=inputs.exclude or ())
    refs, exclusions = list_patches(inputs.s2, inputs.s1, lists, exclude, inputs.partial_archive)
    roots = tuple(root for root in (inputs.s2, inputs.s1) if root)
    return Source(
        spec=SPEC,
        bands=get_bands((S2_ALL if inputs.s2 else ()) + (S1 if inputs.s1 else ())),
        class_names=NOMENCLATURES[nomenclature],
        label_kind=LabelKind.MULTI,
        refs=refs,
        read=functools.partial(_read_listed, nomenclature=nomenclature, take_unlabeled="no_label" not in exclude),
        roots=roots,
        origin=lists.origin or SPEC.source,
        exclusions=exclusions,
        attributes=("country", "season"),
        options={"nomenclature": nomenclature, "exclude": sorted(exclude)},
    )


def _read_listed(ref: PatchRef, nomenclature: str, take_unlabeled: bool, *, gdal_only: bool = False) -> Patch:
    patch = read_patch(*ref.parts, gdal_only=gdal_only)  # type: ignore[arg-type]  # This source lists folders only.
    labels = map_to_nomenclature(patch.labels, nomenclature)
    if not labels and not take_unlabeled:
        raise PatchError(
            ref.parts[0],
            f"none of its labels ({'; '.join(patch.labels)}) belongs to one of the {nomenclature} classes",
            f"such a label, or its name on the list {EXCLUSION_LISTS['no_label']}",
            "Add it to that list (--lists_dir), or convert with --nomenclature=43.",
        )
    return dataclasses.replace(patch, labels=labels, attributes=dict(ref.attributes))


def list_patches(
    s2: str | None,
    s1: str | None,
    lists: PatchLists,
    exclude: Collection[str],
    partial_archive: bool = False,
) -> tuple[list[PatchRef], dict[str, int]]:
    """Returns the patches to convert, and the number left out for each reason.

    Args:
        s2: Folder or tar of Sentinel-2 patches, or None for Sentinel-1 alone.
        s1: Folder or tar of Sentinel-1 patches, or None for Sentinel-2 alone. With both, a patch is a pair.
        lists: Splits, exclusions and pairs.
        exclude: Reasons (keys of `lists.excluded`) that leave a patch out.
        partial_archive: Count listed patches that are missing, instead of raising an error.

    Raises:
        FileNotFoundError: A folder contains no patches, or listed patches are missing.
    """
    roots = {sensor: root for sensor, root in (("S2", s2), ("S1", s1)) if root}
    found = [find_folders(root, _FOLDERS[sensor]) for sensor, root in roots.items()]
    return match_patches(found, _listed_patches(lists, tuple(roots), exclude), _NOT_LISTED, partial_archive)


def _listed_patches(lists: PatchLists, sensors: tuple[str, ...], exclude: Collection[str]) -> Iterator[ListedPatch]:
    """Yields the patches of all lists; those to leave out have the first reason that applies."""
    reasons = [reason for reason in lists.excluded if reason in exclude]
    reason_of = {name: reason for reason in reversed(reasons) for name in lists.excluded[reason]}
    for name in dict.fromkeys((*lists.split_of, *reason_of, *lists.s1_of)):
        of_sensor = {"S2": name, "S1": lists.s1_of.get(name) or f"(unknown counterpart of {name})"}
        names = tuple([of_sensor[sensor] for sensor in sensors])
        split = lists.split_of.get(name, "")
        reason = reason_of.get(name, "" if split else _NOT_LISTED)
        yield ListedPatch(names, split, reason, (), _attributes(name, lists))


def _attributes(name: str, lists: PatchLists) -> tuple[tuple[str, str], ...]:
    known = (("country", lists.country_of.get(name)), ("season", lists.season_of.get(name)))
    return tuple((key, text) for key, text in known if text)


def find_patches(s2: str | None, s1: str | None) -> list[tuple[Folder, ...]]:
    """Returns the place of every patch in the folders, as `read_patch` takes it, sorted by name; uses no list.

    With both sensors, these are the pairs that the Sentinel-1 metadata name.

    Raises:
        FileNotFoundError: A folder or tar contains no patches.
    """
    s2_folders = find_folders(s2, _FOLDERS["S2"]).by_name if s2 else {}
    if not s1:
        return [(s2_folders[name],) for name in sorted(s2_folders)]
    s1_folders = find_folders(s1, _FOLDERS["S1"]).by_name
    if not s2:
        return [(s1_folders[name],) for name in sorted(s1_folders)]
    s1_of = {_read_counterpart(folder): folder for folder in s1_folders.values()}
    pairs: list[tuple[Folder, ...]] = [(s2_folders[name], s1_of[name]) for name in sorted(s2_folders) if name in s1_of]
    patches = len(s2_folders) + len(s1_folders)
    if unpaired := patches - 2 * len(pairs):
        logging.warning("%d of %d patches in %s and %s have no counterpart and are left out", unpaired, patches, s2, s1)
    return pairs


def _read_counterpart(folder: Folder) -> str:
    """Returns the name of the S2 patch of an S1 patch, "" if its json is broken: it is then counted as unpaired."""
    try:
        return str(_read_metadata(folder.locate()).get("corresponding_s2_patch"))
    except (PatchError, OSError) as error:
        logging.warning("%s", error)
        return ""


def read_patch(*folders: Folder, gdal_only: bool = False, labels_optional: bool = False) -> Patch:
    """Returns the patch of one folder (S2 or S1), or of the two folders of a pair (S2 first).

    `labels` are names of the 43 classes; `patch_id` is the first folder's name.

    Args:
        folders: The folder of the patch, or both of the pair.
        gdal_only: As for `ReadPatch`.
        labels_optional: Return a patch of one folder without labels if it has no json.

    Raises:
        PatchError: A file is missing or broken, or the two folders are not a pair.
    """
    parts = [_read_folder(folder, gdal_only, labels_optional and len(folders) == 1) for folder in folders]
    (first, _), (last, last_metadata) = parts[0], parts[-1]
    if len(parts) > 1:
        named = last_metadata.get("corresponding_s2_patch")
        if (first.patch_id, sorted(first.labels)) != (named, sorted(last.labels)):
            raise PatchError(
                folders[-1],
                f"is not the counterpart of {first.patch_id}: it names {named}, or its labels differ",
                "the name and the labels of its Sentinel-2 counterpart",
            )
    pixels = {name: array for patch, _ in parts for name, array in patch.bands.items()}
    return Patch(first.patch_id, pixels, first.labels)


def _read_folder(folder: Folder, gdal_only: bool, labels_optional: bool) -> tuple[Patch, dict[str, Any]]:
    name = folder.name
    sensor = name[:2]
    if sensor not in _FOLDERS or not _FOLDERS[sensor].pattern.fullmatch(name):
        raise PatchError(folder, "is not named like a patch", f"a name such as {_FOLDERS['S2'].example}")
    files = locate_files(folder, sensor)
    metadata = {"labels": []} if labels_optional and not _metadata_file(files).exists() else _read_metadata(files)
    pixels = read_folder_bands(files, _SENSOR_BANDS[sensor], gdal_only=gdal_only)
    return Patch(name, pixels, tuple(metadata["labels"])), metadata


def _metadata_file(files: FolderFiles) -> File:
    return files.file(f"{files.folder.name}_labels_metadata.json")


def _read_metadata(files: FolderFiles) -> dict[str, Any]:
    path = _metadata_file(files)
    with os_errors_as_problems(path, "a json file with the patch's labels"):
        path.check()
        content = path.read_bytes()
    try:
        metadata = json.loads(content.decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise PatchError(path, f"cannot be read ({error})", "a json object with a list of labels") from error
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise PatchError(path, "has no list of labels", '{"labels": ["Pastures", ...], ...}')
    wrong = [label for label in labels if label not in CLASSES_43 or labels.count(label) > 1]
    if wrong:
        raise PatchError(path, f"label {wrong[0]!r} is unknown or given twice", "names of the 43 classes, each once")
    return metadata


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result
