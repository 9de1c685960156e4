"""The plan of a map: model and scene held against each other before any pixel is read and TensorFlow is imported."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from absl import logging

from bigearth_tf.mapping.options import MapOptions
from bigearth_tf.mapping.raster import file_bytes
from bigearth_tf.mapping.scene import SCL, Scene, open_scene
from bigearth_tf.mapping.scene_input import Layer, SceneInput, match_bands
from bigearth_tf.mapping.windows import WindowGrid
from bigearth_tf.mapping.write_raster import NO_DATA
from bigearth_tf.serving.exported_model import read_card
from bigearth_tf.serving.model_inputs import hash_export, read_model_inputs


@dataclasses.dataclass(frozen=True)
class MapPlan:
    """What is computed for a map. `identity` is, as JSON, everything that decides the bytes of the map."""

    model_dir: Path
    class_names: tuple[str, ...]
    scene_input: SceneInput
    grid: WindowGrid
    identity: dict[str, Any]


def plan_map(model_dir: str | os.PathLike, scene_path: str | os.PathLike, options: MapOptions) -> MapPlan:
    """Returns the plan of a map.

    Raises:
        FileNotFoundError: There is no model or no scene.
        ValueError: The scene does not fit the model, or an option is out of range.
    """
    model_dir = Path(model_dir).expanduser()
    model = read_model_inputs(model_dir)
    class_names = model.class_names
    if len(class_names) > NO_DATA:
        raise ValueError(f"{model_dir}: the model has {len(class_names)} classes, a map holds {NO_DATA} at most.")
    names = [*(band.name for band in model.bands), *([SCL] if options.mask_scl else [])]
    scene = open_scene(scene_path, names, band_order=options.band_order, dn_offset=options.dn_offset)
    scene_input = match_bands(scene, model.bands, model.level, mask_scl=options.mask_scl)
    if resampled := scene_input.resampled():
        logging.info("%s: resampled to the pixels of the model: %s", scene.name, ", ".join(resampled))
    grid = WindowGrid(
        height=scene_input.height,
        width=scene_input.width,
        patch_px=scene_input.patch_px,
        stride_px=scene_input.patch_px // 2 if options.stride_px is None else options.stride_px,
        align_px=scene_input.align_px,
    )
    identity = {
        "model": {"name": read_card(model_dir)["model"], "sha256": hash_export(model_dir)},
        "scene": _describe_scene(scene, scene_input),
        "options": {
            "stride_px": grid.stride_px,
            "batch_size": options.batch_size,
            "masked_scl_classes": list(options.scl_classes) if options.mask_scl else [],
        },
    }
    return MapPlan(model_dir, class_names, scene_input, grid, identity)


def _describe_scene(scene: Scene, scene_input: SceneInput) -> dict[str, Any]:
    layers = {item.band.name: item.layer for item in scene_input.bands}
    if scene_input.scl is not None:
        layers[SCL] = scene_input.scl
    return {
        "name": scene.name,
        "level": scene.level,
        "processing_baseline": scene.baseline,
        "dn_offset_from": scene.offset_source,
        "height": scene_input.height,
        "width": scene_input.width,
        "geotransform": list(scene_input.geotransform),
        "crs_wkt": scene_input.crs_wkt,
        "bands": {name: _describe_layer(layer) for name, layer in layers.items()},
    }


def _describe_layer(layer: Layer) -> dict[str, Any]:
    raster = layer.source.raster
    return {
        "file": Path(layer.source.shown).name,
        "bytes": file_bytes(raster.path),
        "index": raster.index,
        "pixel_m": raster.pixel_m,
        "dtype": raster.dtype,
        "no_data": raster.no_data,
        "dn_offset": layer.source.dn_offset,
    }
