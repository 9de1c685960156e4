"""A synthetic scene for maps: square fields of one class each, a GeoTIFF per band, and the true class of each pixel."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from bigearth_tf.data.bands import BANDS, PATCH_EXTENT_M, S2_ALL
from bigearth_tf.data.labels import CLASSES_19, CLC_43_TO_19
from bigearth_tf.runtime.files import atomic_folder, write_json_atomically
from bigearth_tf.runtime.progress import progress_bar
from tfrecord_tools.raster import geotiff
from tfrecord_tools.synthetic import land_cover_signatures as signatures

BANDS_FOLDER, TRUTH_NAME, SETTINGS_NAME = "bands", "truth.tif", "scene.json"
# Patches along a side of a field: wide enough that some windows of a map lie inside one field.
FIELD_PATCHES = 3
_SEASON = "Summer"
_UTM_ZONE, _LEFT_M, _TOP_M = 33, 499980, 5300040


def write_scene(output_dir: str | os.PathLike, fields: int, seed: int) -> Path:
    """Writes a scene of `fields` x `fields` fields into a folder, atomically and only once; returns the folder.

    `bands/` has one GeoTIFF per band of Sentinel-2 (Level-2A, digital numbers without an offset), at its native pixel
    size. `truth.tif` has the class of each pixel of 10 m, uint8, as an index of `CLASSES_19`, which are its category
    names. With up to 19 fields, each has another class.

    Raises:
        ValueError: The folder has something else, or a number is out of range.
    """
    if fields < 1 or seed < 0:
        raise ValueError(f"--fields={fields} --seed={seed}: expected at least one field, and a seed of 0 or more.")
    folder, settings = Path(output_dir), {"fields": fields, "seed": seed}
    if folder.exists():
        path = folder / SETTINGS_NAME
        if path.exists() and json.loads(path.read_text(encoding="utf-8")) == settings:
            return folder
        raise ValueError(
            f"{folder}: exists and is not the scene of --fields={fields} --seed={seed}. Name a new folder."
        )
    labels = _draw_labels(fields, seed)
    size_m = fields * FIELD_PATCHES * PATCH_EXTENT_M
    with atomic_folder(folder) as temporary:
        (temporary / BANDS_FOLDER).mkdir(parents=True)
        for name, pixels in _render(labels, seed).items():
            _write(temporary / BANDS_FOLDER / f"{name}.tif", pixels, size_m)
        classes = np.array([[CLASSES_19.index(CLC_43_TO_19[label]) for label in row] for row in labels], np.uint8)
        side_px = FIELD_PATCHES * BANDS["B02"].size_px
        truth = temporary / TRUTH_NAME
        _write(truth, classes.repeat(side_px, axis=0).repeat(side_px, axis=1), size_m)
        geotiff.name_categories(truth, CLASSES_19)
        write_json_atomically(temporary / SETTINGS_NAME, settings)
    return folder


def _draw_labels(fields: int, seed: int) -> list[list[str]]:
    """Returns the label of each field, of the 43 classes: one of each of the 19 before any of them comes again."""
    rng = np.random.default_rng([seed, 2])
    by_class = [[label for label, name in CLC_43_TO_19.items() if name == wanted] for wanted in CLASSES_19]
    order: list[int] = []
    while len(order) < fields**2:
        order += rng.permutation(len(CLASSES_19)).tolist()
    drawn = [str(rng.choice(by_class[index])) for index in order[: fields**2]]
    return [drawn[row * fields : (row + 1) * fields] for row in range(fields)]


def _render(labels: list[list[str]], seed: int) -> dict[str, np.ndarray]:
    """Returns the bands of the scene: name -> uint16 [size, size]."""
    side = len(labels) * FIELD_PATCHES
    bands = {name: np.zeros((side * BANDS[name].size_px,) * 2, np.uint16) for name in S2_ALL}
    with progress_bar(side**2, "scene", "patch") as progress:
        for row in range(side):
            for column in range(side):
                label = labels[row // FIELD_PATCHES][column // FIELD_PATCHES]
                rng = np.random.default_rng([seed, row, column, 3])
                patch = signatures.render_patch((label,), _SEASON, rng)
                for name, pixels in bands.items():
                    px = BANDS[name].size_px
                    pixels[row * px : (row + 1) * px, column * px : (column + 1) * px] = patch[name]
                progress.update()
    return bands


def _write(path: Path, pixels: np.ndarray, size_m: float) -> None:
    pixel_m = size_m / len(pixels)
    place = (_LEFT_M, pixel_m, 0, _TOP_M, 0, -pixel_m)
    geotiff.write_band(path, pixels, geotiff.utm_wkt(_UTM_ZONE), place)
