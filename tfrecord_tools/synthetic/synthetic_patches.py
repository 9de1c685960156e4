"""Synthetic patches in the archive layout of BigEarthNet v1, in any number.

Patch `i` depends on the seed and `i` only: the first 400 of 1,000 patches are the patches of a set of 400, for any
number of processes. Labels can be learned from spectra and textures together, not from the mean of a single band.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import datetime
import functools
import itertools
import json
import os
from pathlib import Path

import numpy as np

from bigearth_tf.data.bands import BANDS, PATCH_EXTENT_M, S1, S2_ALL
from bigearth_tf.runtime.files import atomic_folder, write_json_atomically
from bigearth_tf.runtime.locks import hold_lock
from bigearth_tf.runtime.progress import progress_bar
from bigearth_tf.runtime.system_files import list_own_files, shorten_names
from tfrecord_tools.listing.patch_lists import ORIGIN_NAME
from tfrecord_tools.parallel import map_in_processes, report_progress
from tfrecord_tools.raster import geotiff
from tfrecord_tools.source import Patch
from tfrecord_tools.synthetic import land_cover_signatures as signatures

S2_FOLDER, S1_FOLDER, LISTS_FOLDER = "BigEarthNet-v1.0", "BigEarthNet-S1-v1.0", "lists"
SETTINGS_FILE = "synthesize.json"
# Group of patches -> the file and the line end of its list in the package data of bigearthnet-common 2.8.0.
GROUPS: dict[str, tuple[str, str]] = {
    "train": ("train.csv", "\r\n"),
    "val": ("val.csv", "\r\n"),
    "test": ("test.csv", "\r\n"),
    "snow": ("patches_with_seasonal_snow.csv", "\r\n"),
    "cloud": ("patches_with_cloud_and_shadow.csv", "\r\n"),
    "no_19_class": ("patches_with_no_19_class_targets.csv", "\n"),
}
PAIRS_FILE = "s1_s2_name_country_season.csv"
# A few percent, so that there is something to exclude; in the archive, 10.5 % are listed as snowy, 1.6 % as cloudy.
SNOW_SHARE = {"Spring": 0.05, "Summer": 0.0, "Fall": 0.02, "Winter": 0.12}
CLOUD_SHARE, NO_19_CLASS_SHARE = 0.02, 0.01
TRAIN_SHARE, VAL_SHARE = 0.52, 0.24  # The official split: 269,695 / 123,723 / 125,866.

# Tiles of the archive, for each country in proportion to its patches, with the upper left corner of their 10 m grid.
TILES: tuple[tuple[str, str, int, int], ...] = (
    ("Finland", "35VPK", 600000, 7000020),
    ("Portugal", "29SND", 499980, 4400040),
    ("Serbia", "34TEP", 499980, 4900020),
    ("Finland", "34WFS", 600000, 7200000),
    ("Lithuania", "34UEG", 499980, 6200040),
    ("Ireland", "29UPU", 600000, 5900040),
    ("Finland", "35VNL", 499980, 7100040),
    ("Austria", "33TWN", 499980, 5300040),
    ("Portugal", "29SNC", 499980, 4300020),
    ("Finland", "35VNJ", 499980, 6900000),
    ("Belgium", "31UER", 499980, 5600040),
    ("Serbia", "34TCR", 300000, 5100000),
    ("Finland", "34VDM", 399960, 6700020),
    ("Switzerland", "32TMT", 399960, 5300040),
    ("Finland", "35VNH", 499980, 6800040),
    ("Lithuania", "35UMB", 399960, 6200040),
    ("Portugal", "29SNB", 499980, 4200000),
    ("Finland", "35VNK", 499980, 7000020),
    ("Austria", "33UWP", 499980, 5400000),
    ("Serbia", "34TEQ", 499980, 5000040),
    ("Ireland", "29UPV", 600000, 6000000),
    ("Finland", "34VDN", 399960, 6800040),
)
TILE_SIDE = 90  # Patches along one side of a tile.
_PATCHES_PER_ROUND = len(TILES) * TILE_SIDE**2
_STRIDE = 110137  # Coprime to a round, about 0.618 of it: visits all places, the next one far away.
_FIRST_DAY, _DAYS = datetime.datetime(2017, 6, 1), 365
_FIRST_SECOND, _SECONDS = 9 * 3600 + 20 * 60, 2 * 3600 + 30 * 60
MAX_PATCHES = TILE_SIDE**2 * _DAYS * _SECONDS  # More patches would need more distinct seconds than there are.


@dataclasses.dataclass(frozen=True)
class Place:
    """Where and when a patch was acquired: `ulx` and `uly` are the UTM coordinates of its upper left corner in meters.

    `time` is the part of `s2_name` with date and time, sometimes without a leading zero.
    """

    s2_name: str
    s1_name: str
    country: str
    season: str
    tile: str
    ulx: int
    uly: int
    time: str
    s2_acquired: datetime.datetime
    s1_acquired: datetime.datetime


def place_patch(seed: int, index: int) -> Place:
    """Returns the names and the place of a patch; no two indices have the same name."""
    round_index, within = divmod(index, _PATCHES_PER_ROUND)
    tile_index, position = divmod(within * _STRIDE % _PATCHES_PER_ROUND, TILE_SIDE**2)
    column, row = divmod(position, TILE_SIDE)
    # A scene is one tile in one round. Scenes of the same day differ by a multiple of _DAYS, so no two share a second.
    scene = round_index * len(TILES) + tile_index
    day = (151 * scene + seed) % _DAYS
    second = _FIRST_SECOND + (1571 * (scene // _DAYS) + 3571 * (scene % _DAYS)) % _SECONDS
    acquired = _FIRST_DAY + datetime.timedelta(days=day, seconds=second)
    country, tile, left, top = TILES[tile_index]
    clock = acquired.strftime("%H%M%S")
    time = f"{acquired:%Y%m%d}T{clock.lstrip('0') if scene % 3 == 0 else clock}"
    satellite = "AB"[scene % 2]
    s1_acquired = acquired + datetime.timedelta(days=1, hours=-5)
    return Place(
        s2_name=f"S2{satellite}_MSIL2A_{time}_{column}_{row}",
        s1_name=f"S1{satellite}_IW_GRDH_1SDV_{s1_acquired:%Y%m%dT%H%M%S}_{tile}_{column}_{row}",
        country=country,
        season=("Winter", "Spring", "Summer", "Fall")[acquired.month % 12 // 3],
        tile=tile,
        ulx=left + column * PATCH_EXTENT_M,
        uly=top - row * PATCH_EXTENT_M,
        time=time,
        s2_acquired=acquired,
        s1_acquired=s1_acquired,
    )


def draw_group(seed: int, index: int, season: str) -> str:
    """Returns the group of a patch, a key of `GROUPS`."""
    chances = [NO_19_CLASS_SHARE, CLOUD_SHARE, SNOW_SHARE[season]]
    used = 1.0 - sum(chances)
    chances += [used * TRAIN_SHARE, used * VAL_SHARE]
    names = ("no_19_class", "cloud", "snow", "train", "val", "test")
    chance = np.random.default_rng([seed, index, 0]).random()
    return names[bisect.bisect_right(list(itertools.accumulate(chances)), chance)]


def create_patch(seed: int, index: int) -> Patch:
    """Returns a patch: all bands as the archive stores them, labels of the 43-class nomenclature."""
    place = place_patch(seed, index)
    group = draw_group(seed, index, place.season)
    labels, rng = _draw_labels(seed, index, group)
    overlay = group if group in ("snow", "cloud") else None
    return Patch(
        patch_id=place.s2_name,
        bands=signatures.render_patch(labels, place.season, rng, overlay=overlay),
        labels=labels,
    )


def locate_labels(seed: int, index: int) -> dict[str, np.ndarray]:
    """Returns where each label of a patch is: label of the 43-class nomenclature -> bool [120, 120], on the 10 m grid.

    Every pixel has one label. Snow and clouds, which may cover the land, are not labels.
    """
    group = draw_group(seed, index, place_patch(seed, index).season)
    labels, rng = _draw_labels(seed, index, group)
    regions = signatures.draw_regions(len(labels), rng)
    return {label: regions == number for number, label in enumerate(labels)}


def _draw_labels(seed: int, index: int, group: str) -> tuple[tuple[str, ...], np.random.Generator]:
    """Returns the labels of a patch, and the generator that draws the rest of it."""
    rng = np.random.default_rng([seed, index, 1])
    labels = signatures.draw_dropped_labels(rng) if group == "no_19_class" else signatures.draw_labels(rng)
    return labels, rng


def describe_patch(place: Place, patch: Patch) -> tuple[dict, dict]:
    """Returns the label JSON of Sentinel-2 and that of Sentinel-1, each with the keys of its archive."""
    left, top, right, bottom = place.ulx, place.uly, place.ulx + PATCH_EXTENT_M, place.uly - PATCH_EXTENT_M
    satellite, start = place.s2_name[:3], place.s1_acquired
    common = {"labels": list(patch.labels)}
    s2 = common | {
        "coordinates": {"ulx": left, "uly": top, "lrx": right, "lry": bottom},
        "projection": _utm_wkt(place),
        "tile_source": f"{satellite}_MSIL1C_{place.time}_N0205_R036_T{place.tile}_"
        f"{place.s2_acquired + datetime.timedelta(minutes=5):%Y%m%dT%H%M%S}.SAFE",
        "acquisition_date": f"{place.s2_acquired:%Y-%m-%d %H:%M:%S}",
    }
    s1 = common | {
        "coordinates": {"ulx": left, "uly": top, "lrx": right, "lly": bottom},
        "projection": _utm_wkt(place),
        "corresponding_s2_patch": place.s2_name,
        "scene_source": f"{place.s1_name[:25]}_{start:%H%M%S}_"
        f"{start + datetime.timedelta(seconds=25):%Y%m%dT%H%M%S}_017018_01C579_7EEC",
        "acquisition_time": f"{start:%Y-%m-%dT%H:%M:%S}",
    }
    return s2, s1


def write_patch(output_dir: str, seed: int, with_s1: bool, index: int) -> None:
    """Writes the folders of one patch that are missing or not complete, and reports it as progress."""
    place = place_patch(seed, index)
    patch = create_patch(seed, index)
    crs_wkt = _utm_wkt(place)
    folders = _folders(output_dir, place, with_s1)
    for (folder, names), description in zip(folders.items(), describe_patch(place, patch)):
        if _is_complete(folder, names):
            continue
        name = os.path.basename(folder)
        with atomic_folder(Path(folder)) as part:
            part.mkdir(parents=True)
            for band_name in names:
                size_m = BANDS[band_name].resolution_m
                geotransform = (place.ulx, size_m, 0, place.uly, 0, -size_m)
                geotiff.write_band(part / f"{name}_{band_name}.tif", patch.bands[band_name], crs_wkt, geotransform)
            with (part / f"{name}_labels_metadata.json").open("w", encoding="utf-8") as file:
                json.dump(description, file)
    report_progress()


def _utm_wkt(place: Place) -> str:
    return geotiff.utm_wkt(int(place.tile[:2]))


def _folders(output_dir: str, place: Place, with_s1: bool) -> dict[str, tuple[str, ...]]:
    """Returns the folders of a patch and the bands of each."""
    folders: dict[str, tuple[str, ...]] = {os.path.join(output_dir, S2_FOLDER, place.s2_name): S2_ALL}
    if with_s1:
        folders[os.path.join(output_dir, S1_FOLDER, place.s1_name)] = S1
    return folders


def _is_complete(folder: str, names: tuple[str, ...]) -> bool:
    return len(list_own_files(folder)) == len(names) + 1


def write_lists(output_dir: str, seed: int, num_patches: int) -> None:
    """Writes the split and exclusion lists and the list of pairs; every patch is in exactly one of the groups."""
    with contextlib.ExitStack() as stack:
        part = stack.enter_context(atomic_folder(Path(output_dir, LISTS_FOLDER)))
        part.mkdir()
        (part / ORIGIN_NAME).write_text(
            f"synthetic patches of tfrecord_tools.synthesize, seed {seed}, number {num_patches}\n", encoding="utf-8"
        )
        names = [name for name, _ in GROUPS.values()] + [PAIRS_FILE]
        files = {name: stack.enter_context((part / name).open("w", encoding="utf-8", newline="")) for name in names}
        pairs = files[PAIRS_FILE]
        pairs.write("s1_name,s2_name,country,season\n")
        for index in range(num_patches):
            place = place_patch(seed, index)
            name, line_end = GROUPS[draw_group(seed, index, place.season)]
            files[name].write(place.s2_name + line_end)
            pairs.write(f"{place.s1_name},{place.s2_name},{place.country},{place.season}\n")


def synthesize_archive(output_dir: str, num_patches: int, seed: int, *, with_s1: bool, workers: int = 1) -> int:
    """Writes the patches that are missing or not complete, and the lists; returns the number of patches written.

    Raises:
        ValueError: A number is out of range, or `output_dir` contains something else or is being written.
    """
    if not 1 <= num_patches <= MAX_PATCHES or seed < 0 or workers < 1:
        raise ValueError(
            f"--num_patches={num_patches} --seed={seed} --workers={workers}: allowed are 1 ... {MAX_PATCHES} patches, "
            "a seed of 0 or more and at least 1 worker."
        )
    os.makedirs(output_dir, exist_ok=True)
    with hold_lock(Path(output_dir, ".lock"), output_dir):
        _claim_folder(output_dir, {"seed": seed, "num_patches": num_patches, "s1": with_s1})
        return _write_missing(output_dir, num_patches, seed, with_s1, workers)


def _write_missing(output_dir: str, num_patches: int, seed: int, with_s1: bool, workers: int) -> int:
    missing = [
        index
        for index in range(num_patches)
        if not all(_is_complete(*item) for item in _folders(output_dir, place_patch(seed, index), with_s1).items())
    ]
    write = functools.partial(write_patch, output_dir, seed, with_s1)
    with progress_bar(len(missing), "synthesize", "patch", disable=not missing) as progress:
        list(map_in_processes(write, missing, workers, chunk_size=16, on_progress=progress.update))
    lists = [PAIRS_FILE, ORIGIN_NAME] + [name for name, _ in GROUPS.values()]
    if not all(os.path.exists(os.path.join(output_dir, LISTS_FOLDER, name)) for name in lists):
        write_lists(output_dir, seed, num_patches)
    return len(missing)


def _claim_folder(output_dir: str, settings: dict[str, int | bool]) -> None:
    """Writes the settings into a new folder, or checks that an existing folder has the same."""
    path = os.path.join(output_dir, SETTINGS_FILE)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if found != settings:
            raise ValueError(
                f"{output_dir} contains synthetic patches made with {found}, not with {settings}. Use those settings, "
                "name another --output_dir, or delete the folder."
            )
    elif others := list_own_files(output_dir):
        raise ValueError(
            f"{output_dir} is not empty and has no {SETTINGS_FILE}: it contains {shorten_names(others)}. Name a new or "
            "empty --output_dir."
        )
    else:
        write_json_atomically(Path(path), settings)
