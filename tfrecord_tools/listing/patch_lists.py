"""The lists that assign patches to splits, exclude patches, and pair Sentinel-2 with Sentinel-1.

A folder of lists contains, each as `.csv` or `.csv.bz2`, files like those of the package bigearthnet-common 2.8.0
(https://pypi.org/project/bigearthnet-common, Apache-2.0). Required are `train`, `val` and `test`, with one patch name
per line. Optional are `patches_with_seasonal_snow`, `patches_with_cloud_and_shadow` and
`patches_with_no_19_class_targets`, of the same form, and `s1_s2_name_country_season`, a table with these four columns
and a header, which Sentinel-1 requires. `origin.txt` is for patches that are not from a satellite.
The official lists are package data of bigearthnet-common, whose code does not import with current dependencies.
"""

from __future__ import annotations

import bz2
import csv
import dataclasses
import importlib.util
import io
import sys
from collections.abc import Collection
from pathlib import Path

SPLITS = ("train", "val", "test")
# Reason for leaving a patch out -> the list of such patches. A patch with several reasons is counted for the first.
EXCLUSION_LISTS = {
    "snow": "patches_with_seasonal_snow",
    "cloud": "patches_with_cloud_and_shadow",
    "no_label": "patches_with_no_19_class_targets",
}
_PAIRS = "s1_s2_name_country_season"
_PAIRS_COLUMNS = ["s1_name", "s2_name", "country", "season"]
# File that names what produced the patches, if not a satellite; the manifest gives it as the source.
ORIGIN_NAME = "origin.txt"


@dataclasses.dataclass(frozen=True)
class PatchLists:
    """The content of the lists, by the names of the Sentinel-2 patches.

    `excluded` maps a reason to names; the other mappings have names as keys. `origin` is what produced the patches, if
    not a satellite.
    """

    split_of: dict[str, str]
    excluded: dict[str, frozenset[str]]
    s1_of: dict[str, str]
    country_of: dict[str, str]
    season_of: dict[str, str]
    origin: str = ""


def official_lists_folder() -> Path:
    """Returns the folder of the official lists and of the six example pairs.

    Raises:
        FileNotFoundError: bigearthnet-common is not installed.
    """
    spec = importlib.util.find_spec("bigearthnet_common")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "The official split lists are not installed: `pip install --no-deps bigearthnet-common==2.8.0`, "
            "or name a folder of lists with --lists_dir."
        )
    return Path(spec.submodule_search_locations[0])


def read_patch_lists(folder: Path, *, with_pairs: bool = False, reasons: Collection[str] = ()) -> PatchLists:
    """Returns the lists of a folder; an optional list that is missing is empty.

    Args:
        folder: Folder of lists.
        with_pairs: Require the table of pairs.
        reasons: Require the lists of these reasons, keys of `EXCLUSION_LISTS`.

    Raises:
        FileNotFoundError: A list is missing.
        ValueError: A patch is on two split lists, or a line of the table of pairs has other columns.
    """
    split_of: dict[str, str] = {}
    for split in SPLITS:
        for name in _read_text(folder, split).split():
            if split_of.setdefault(name, split) != split:
                raise ValueError(f"{folder}: patch {name} is on the lists of both {split_of[name]} and {split}.")
    excluded = {
        reason: frozenset(_read_text(folder, name, reason in reasons).split())
        for reason, name in EXCLUSION_LISTS.items()
    }
    table = _read_text(folder, _PAIRS, with_pairs) or ",".join(_PAIRS_COLUMNS)
    rows = [row for row in csv.reader(io.StringIO(table)) if row]
    if not rows or rows[0] != _PAIRS_COLUMNS:
        raise ValueError(f"{folder}/{_PAIRS}: first line {rows[:1]}; expected {','.join(_PAIRS_COLUMNS)}.")
    short = next((row for row in rows if len(row) != len(_PAIRS_COLUMNS)), None)
    if short is not None:
        raise ValueError(f"{folder}/{_PAIRS}: a line {','.join(short)!r}; expected {','.join(_PAIRS_COLUMNS)}.")
    origin = folder / ORIGIN_NAME
    note = origin.read_text(encoding="utf-8").strip() if origin.exists() else ""
    s1_of, country_of, season_of = ({row[1]: sys.intern(row[column]) for row in rows[1:]} for column in (0, 2, 3))
    return PatchLists(split_of, excluded, s1_of, country_of, season_of, note)


def _read_text(folder: Path, name: str, required: bool = True) -> str:
    plain, packed = folder / f"{name}.csv", folder / f"{name}.csv.bz2"
    try:
        if plain.exists():
            return plain.read_text(encoding="utf-8-sig")  # Some editors write a byte order mark first.
        if packed.exists():
            return bz2.decompress(packed.read_bytes()).decode("utf-8-sig")
    except (UnicodeDecodeError, EOFError) as error:
        raise ValueError(f"{plain}[.bz2]: cannot be read ({error}). Get this list again.") from error
    if not required:
        return ""
    form = f"a table {','.join(_PAIRS_COLUMNS)}" if name == _PAIRS else "one patch name per line"
    raise FileNotFoundError(
        f"{plain}[.bz2]: the list is missing; expected {form}. A folder of lists needs train.csv, val.csv and "
        f"test.csv, with Sentinel-1 also {_PAIRS}.csv, and the lists of the reasons that --exclude names."
    )
