"""Windows of a scene as patches to explain, with their place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from bigearth_tf.explain.patches import Georeference, PatchToExplain
from bigearth_tf.mapping.raster import BandReader
from bigearth_tf.mapping.read_windows import read_window
from bigearth_tf.mapping.scene import open_scene
from bigearth_tf.mapping.scene_input import SceneInput, match_bands
from bigearth_tf.serving.model_inputs import ModelInputs


def read_scene_windows(
    path: str | os.PathLike,
    inputs: ModelInputs,
    corners: Sequence[tuple[int, int]],
    *,
    band_order: Sequence[str] = (),
    dn_offset: int | None = None,
) -> Iterator[PatchToExplain]:
    """Yields windows of a scene, each of the size of the model's patches.

    Args:
        path: A scene, as `bigearth_tf.mapping.scene.open_scene` takes it.
        inputs: What the model takes.
        corners: (x, y) of the upper left pixel of each window, on the grid of the model's finest band.
        band_order: Names of the bands of a file that does not name them.
        dn_offset: What to add to digital numbers, where the scene does not state it.

    Raises:
        FileNotFoundError: There is no scene.
        ValueError: The scene does not fit the model, or a window does not fit the scene.
        OSError: A file cannot be read.
    """
    names = [band.name for band in inputs.bands]
    scene = open_scene(path, names, band_order=band_order, dn_offset=dn_offset)
    scene_input = match_bands(scene, inputs.bands, inputs.level)
    with BandReader() as reader:
        for x, y in corners:
            bands, no_data = read_window(reader, scene_input, y, x)
            yield PatchToExplain(
                patch_id=f"{scene.name}_x{x}_y{y}", bands=bands, no_data=no_data, georeference=_place(scene_input, x, y)
            )


def _place(scene: SceneInput, x: int, y: int) -> Georeference:
    left, across, row_x, top, row_y, down = scene.geotransform
    corner = (left + x * across + y * row_x, top + x * row_y + y * down)
    return Georeference(scene.crs_wkt, (corner[0], across, row_x, corner[1], row_y, down))
