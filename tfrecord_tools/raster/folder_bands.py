"""The bands of a patch that has a folder with one GeoTIFF per band."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bigearth_tf.data.bands import Band
from tfrecord_tools.listing.archive import File, Folder, FolderFiles, find_other_ending
from tfrecord_tools.raster.geotiff import read_band
from tfrecord_tools.source import MISSING, PatchError, os_errors_as_problems


def read_folder_bands(
    files: FolderFiles, bands: Iterable[Band], endings: tuple[str, ...] = (".tif",), *, gdal_only: bool = False
) -> dict[str, np.ndarray]:
    """Returns band name -> pixels [size_px, size_px] as stored.

    Args:
        files: The folder of the patch, with files such as `<folder>_B02.tif`.
        bands: Rows that the files must match.
        endings: Allowed endings of the names; the first file that exists is read.
        gdal_only: As for `read_band`.

    Raises:
        PatchError: A file is missing or broken.
    """
    return {band.name: _read_band(files, band, endings, gdal_only) for band in bands}


def locate_files(folder: Folder, kind: str) -> FolderFiles:
    """Returns the files of the folder of a patch.

    Args:
        folder: Place of the folder.
        kind: The sensor, for the message.

    Raises:
        PatchError: It is not a folder, or cannot be read.
    """
    expected = f"a folder of {kind} bands"
    with os_errors_as_problems(folder, expected):
        if not folder.exists():
            raise PatchError(folder, "is not a folder", expected)
        return folder.locate()


def _read_band(files: FolderFiles, band: Band, endings: tuple[str, ...], gdal_only: bool) -> np.ndarray:
    file = _find_file(files, f"{files.folder.name}_{band.name}", endings)
    try:
        return read_band(file, band, gdal_only=gdal_only)
    except PatchError as error:
        name = f"{files.folder.name}_{band.name}{endings[0]}"
        other = find_other_ending(_names(files), name) if error.problem == MISSING else ""
        if not other:
            raise
        problem = f"{MISSING}, but {other} is there"
        raise PatchError(file, problem, error.expected, f"Rename {other} to {name}.") from error


def _find_file(files: FolderFiles, stem: str, endings: tuple[str, ...]) -> File:
    first, *others = (files.file(stem + ending) for ending in endings)
    with os_errors_as_problems(first, "a GeoTIFF"):
        return next((file for file in others if not first.exists() and file.exists()), first)


def _names(files: FolderFiles) -> list[str]:
    with os_errors_as_problems(files.folder, "a folder of bands"):
        return files.names()
