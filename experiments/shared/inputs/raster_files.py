"""Patches in a folder, a tar or a list of GeoTIFFs without known names: files of one band each, or of several.

A file is a band if its name ends in the name of one, such as `patch_7_B02.tif` or `B8A_20m.tif`. The bands of one
folder are one patch, named like the folder; in a folder with several files of one band, what precedes the name of the
band is the patch. Every other file is a patch with several bands.
"""

from __future__ import annotations

import collections
import glob
import os
import re
from collections.abc import Sequence

from bigearth_tf.data.band_names import split_band_name
from bigearth_tf.serving.model_inputs import ModelInputs
from experiments.shared.inputs.options import InputOptions, OpenedInputs
from experiments.shared.inputs.raster_patches import NOTHING_STATED, StatedFacts, open_raster_patches
from experiments.shared.inputs.raster_reader import RasterPatch
from tfrecord_tools.listing.archive import File
from tfrecord_tools.listing.walk import list_files

TIFF = re.compile(r"[^.].*\.tiff?", re.IGNORECASE)
BAND_FILES = "patches with a file for each band"
CHIPS = "files with several bands"


def open_raster_files(
    what: str, model: ModelInputs, options: InputOptions, facts: StatedFacts = NOTHING_STATED
) -> OpenedInputs:
    """Returns the patches of a folder, a tar, a file, or the files that match a pattern such as `chips/*.tif`.

    Raises:
        FileNotFoundError: There is no GeoTIFF.
        ValueError: Some files are bands and others have several, or they do not fit the model.
    """
    files, left_out = _list(what)
    if not files:
        raise FileNotFoundError(
            f"{what}: no GeoTIFF here (*.tif, *.tiff). Name a folder or a tar of patches, a pattern of files in "
            "quotes, a folder of records, a table of paths, or a data set with --source."
        )
    kind, patches = group_files(files)
    opened = open_raster_patches(patches, model, options, what=f"{kind} in {what}", facts=facts)
    more = (f"left out, {reason}: {count}" for reason, count in left_out.items())
    return OpenedInputs(opened.inputs, (*opened.lines, *more))


def _list(what: str) -> tuple[list[File], dict[str, int]]:
    """Returns the files, and the number of those that cannot be followed, by reason."""
    if glob.has_magic(what) and not os.path.exists(what):
        paths = sorted(path for path in glob.glob(what, recursive=True) if TIFF.fullmatch(os.path.basename(path)))
        return [File(path) for path in paths], {}
    if os.path.isfile(what) and TIFF.fullmatch(os.path.basename(what)):
        return [File(what)], {}
    listing = list_files(what, TIFF)
    return listing.found, listing.left_out


def group_files(files: Sequence[File]) -> tuple[str, list[RasterPatch]]:
    """Returns what the files were taken for, and their patches, sorted by id.

    Raises:
        ValueError: Some files are bands and others are not.
    """
    places = [os.path.split(file.member or file.path) for file in files]
    names = [split_band_name(os.path.splitext(name)[0]) for _, name in places]
    bands = [index for index, (band, _) in enumerate(names) if band]
    if not bands:
        return CHIPS, _name_uniquely(
            [(os.path.splitext(name)[0], folder, {"": file}) for (folder, name), file in zip(places, files)]
        )
    if len(bands) < len(files):
        other = next(file for file, (band, _) in zip(files, names) if not band)
        raise ValueError(
            f"{len(bands)} of {len(files)} files are bands by their names, such as {files[bands[0]]}, the others are "
            f"not, such as {other}. Predict the two kinds apart, for example by a pattern of files."
        )
    in_folder: dict[str, list[int]] = {}
    for index, (folder, _) in enumerate(places):
        in_folder.setdefault(folder, []).append(index)
    groups: dict[tuple[str, str], dict[str, File]] = {}
    for folder, indices in in_folder.items():
        is_one = max(collections.Counter(names[index][0] for index in indices).values()) == 1
        for index in indices:
            band, before = names[index]
            patch = groups.setdefault((folder, os.path.basename(folder) if is_one else before), {})
            if band in patch:
                raise ValueError(
                    f"{patch[band]} and {files[index]} are both band {band} of one patch. Move one elsewhere."
                )
            patch[band] = files[index]
    return BAND_FILES, _name_uniquely([(name, folder, patch) for (folder, name), patch in groups.items()])


def _name_uniquely(patches: Sequence[tuple[str, str, dict[str, File]]]) -> list[RasterPatch]:
    """Returns patches named by their names, or by folder and name where two have the same name."""
    counts = collections.Counter(name for name, _, _ in patches)
    named = [
        RasterPatch(name if name and counts[name] == 1 else os.path.join(folder, name), files)
        for name, folder, files in patches
    ]
    return sorted(named, key=lambda patch: patch.patch_id)
