"""A random scene and an untrained exported model, for benchmarks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.serving.exported_model import CARD_NAME
from tfrecord_tools.raster.geotiff import utm_wkt, write_band

_LEFT, _TOP = 499980, 5300040


def write_random_scene(folder: Path, bands: str, side: int) -> Path:
    """Writes a GeoTIFF per band of [side, side] pixels of 10 m, and returns the folder."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for band in get_bands(bands):
        pixels = rng.integers(1, 6000, (side * 10 // band.resolution_m,) * 2).astype(band.dtype)
        geotransform = (_LEFT, band.resolution_m, 0, _TOP, 0, -band.resolution_m)
        write_band(folder / f"{band.name}.tif", pixels, utm_wkt(33), geotransform)
    return folder


def write_untrained_model(folder: Path, name: str, bands: str) -> Path:
    """Writes the export of a model with random weights and 19 classes, and returns the folder."""
    from bigearth_tf.models.registry import create_model
    from bigearth_tf.serving.export import save_model

    rows = get_bands(bands)
    save_model(create_model(name, bands=rows, num_classes=len(CLASSES_19)), rows, CLASSES_19, folder)
    card = {
        "model": name,
        "class_names": CLASSES_19,
        "inputs": {band.name: dataclasses.asdict(band) for band in rows},
        "dataset": {"name": "bigearthnet_v1", "label_kind": "multi"},
        "threshold": 0.5,
    }
    (folder / CARD_NAME).write_text(json.dumps(card), encoding="utf-8")
    return folder
