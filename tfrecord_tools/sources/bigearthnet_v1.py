"""How is BigEarthNet v1.0 read? A folder a patch: a GeoTIFF a band, and a json with labels of the 43 classes.

`S2A_MSIL2A_20170613T101031_87_48/S2A_MSIL2A_20170613T101031_87_48_B02.tif ... _labels_metadata.json`, and the same for
Sentinel-1 under its own name. Times without a leading zero occur in the archive and are taken as they are.
"""

from __future__ import annotations

import collections
import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from bigearth_tf import bands as band_table
from bigearth_tf.labels import CLASSES_43
from tfrecord_tools.geotiff import read_band
from tfrecord_tools.patch import Patch, PatchError
from tfrecord_tools.patch_lists import PatchLists
from tfrecord_tools.sources import PatchRef

_NAMES = {
    "S2": re.compile(r"S2[AB]_MSIL2A_\d{8}T\d{5,6}_\d{1,2}_\d{1,2}"),
    "S1": re.compile(r"S1[AB]_IW_GRDH_1SDV_\d{8}T\d{5,6}_\d{2}[A-Z]{3}_\d{1,2}_\d{1,2}"),
}
_SENSOR_BANDS = {"S2": band_table.get_bands("S2_ALL"), "S1": band_table.get_bands("S1")}


def list_patches(
    s2_dir: str | None,
    s1_dir: str | None,
    lists: PatchLists,
    exclude: Collection[str],
    partial_archive: bool = False,
) -> tuple[list[PatchRef], dict[str, int]]:
    """Returns the patches to convert, and how many were left out for which reason.

    Args:
        s2_dir: Folder of Sentinel-2 patches, or None for Sentinel-1 alone.
        s1_dir: Folder of Sentinel-1 patches, or None for Sentinel-2 alone. With both, a patch is a pair.
        lists: Splits, exclusions and mates.
        exclude: Reasons (keys of `lists.excluded`) that leave a patch out.
        partial_archive: Take listed patches that are not on disk for absent on purpose: count them.

    Raises:
        FileNotFoundError: A folder holds no patches, or listed patches are missing.
    """
    on_disk = {sensor: _scan(folder, sensor) for sensor, folder in (("S2", s2_dir), ("S1", s1_dir)) if folder}
    left_out: collections.Counter[str] = collections.Counter()
    refs, missing = [], []
    for name, split in lists.split_of.items():
        if any(name in lists.excluded[reason] for reason in exclude):
            continue
        names = {"S2": name, "S1": lists.s1_of.get(name, "")}
        if all(names[sensor] in on_disk[sensor] for sensor in on_disk):
            folders = tuple(on_disk[sensor][names[sensor]] for sensor in on_disk)
            refs.append(PatchRef(names[next(iter(on_disk))], split, folders))
        else:
            missing.append(name)
    if missing and not (partial_archive and refs):
        raise FileNotFoundError(
            f"{len(missing)} of {len(refs) + len(missing)} listed patches are not in {s2_dir or ''} {s1_dir or ''}, "
            f"the first is {missing[0]} (S1 mate {lists.s1_of.get(missing[0])}). Finish unpacking the archive, "
            "or pass --partial_archive to convert those that are there."
        )
    left_out["not in the folder"] = len(missing)
    s2_of = {s1: s2 for s2, s1 in lists.s1_of.items()}
    for name in next(iter(on_disk.values())):
        s2_name = name if "S2" in on_disk else s2_of.get(name, "")
        reasons = [reason for reason in lists.excluded if reason in exclude and s2_name in lists.excluded[reason]]
        if reasons:
            left_out[reasons[0]] += 1
        elif s2_name not in lists.split_of:
            left_out["on no split list"] += 1
    return refs, {reason: count for reason, count in left_out.items() if count}


def find_patches(s2_dir: str | None, s1_dir: str | None) -> list[tuple[str, ...]]:
    """Returns the folders of every patch on disk, as `read_patch` takes them, sorted by name and without any list.

    With both folders given these are the pairs that the Sentinel-1 metadata name.

    Raises:
        FileNotFoundError: A folder holds no patches.
    """
    s2 = _scan(s2_dir, "S2") if s2_dir else {}
    if not s1_dir:
        return [(s2[name],) for name in sorted(s2)]
    s1 = _scan(s1_dir, "S1")
    if not s2_dir:
        return [(s1[name],) for name in sorted(s1)]
    mates = {
        _read_metadata(Path(path) / f"{name}_labels_metadata.json").get("corresponding_s2_patch"): path
        for name, path in s1.items()
    }
    return [(s2[name], mates[name]) for name in sorted(s2) if name in mates]


def _scan(folder: str, sensor: str) -> dict[str, str]:
    """Returns patch name -> path of every patch folder of a sensor."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder; expected the folder of the {sensor} patches.")
    with os.scandir(folder) as entries:
        found = {entry.name: entry.path for entry in entries if _NAMES[sensor].fullmatch(entry.name)}
    if not found:
        inner = [path for path in sorted(Path(folder).glob("*/*")) if _NAMES[sensor].fullmatch(path.name)]
        hint = f"Did you mean {inner[0].parent}?" if inner else "Name the folder that holds one folder a patch."
        raise FileNotFoundError(f"{folder}: no {sensor} patches found, such as {_EXAMPLES[sensor]}. {hint}")
    return found


_EXAMPLES = {"S2": "S2A_MSIL2A_20170613T101031_87_48", "S1": "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"}


def read_patch(*folders: str | os.PathLike) -> Patch:
    """Returns the patch of one folder (S2 or S1), or of the two folders of a pair (S2 first).

    `labels` are names of the 43 classes; `patch_id` is the first folder's name.

    Raises:
        PatchError: A file is missing or broken, or the two folders are not mates.
    """
    parts = [_read_folder(Path(folder)) for folder in folders]
    (first, _), (last, mate_metadata) = parts[0], parts[-1]
    if len(parts) > 1:
        mate = mate_metadata.get("corresponding_s2_patch")
        if (first.patch_id, sorted(first.labels)) != (mate, sorted(last.labels)):
            raise PatchError(
                folders[-1],
                f"is not the mate of {first.patch_id}: it names {mate}, or its labels differ",
                "the name and the labels of its Sentinel-2 mate",
            )
    pixels = {name: array for patch, _ in parts for name, array in patch.bands.items()}
    return Patch(first.patch_id, pixels, first.labels)


def _read_folder(folder: Path) -> tuple[Patch, dict[str, Any]]:
    name = folder.name
    sensor = name[:2]
    if sensor not in _NAMES or not _NAMES[sensor].fullmatch(name):
        raise PatchError(folder, "is not named as a patch", f"a name such as {_EXAMPLES['S2']}")
    if not folder.is_dir():
        raise PatchError(folder, "is no folder", f"a folder of {sensor} bands")
    metadata = _read_metadata(folder / f"{name}_labels_metadata.json")
    pixels = {band.name: read_band(folder / f"{name}_{band.name}.tif", band) for band in _SENSOR_BANDS[sensor]}
    return Patch(name, pixels, tuple(metadata["labels"])), metadata


def _read_metadata(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise PatchError(path, "the file is missing", "a json file with the patch's labels")
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
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
