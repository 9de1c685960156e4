"""Windows of a scene as patches to explain, with their place."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence

from bigearth_tf.explain.patches import Georeference, PatchToExplain
from bigearth_tf.mapping.raster import BandReader, file_bytes
from bigearth_tf.mapping.read_windows import read_window
from bigearth_tf.mapping.scene import open_scene
from bigearth_tf.mapping.scene_input import SceneInput, match_bands
from bigearth_tf.serving.model_inputs import ModelInputs


@dataclasses.dataclass(frozen=True)
class SceneWindows:
    """A scene that fits a model, and its windows of the size of the model's patches."""

    name: str
    scene: SceneInput

    @classmethod
    def open(
        cls,
        path: str | os.PathLike,
        inputs: ModelInputs,
        *,
        band_order: Sequence[str] = (),
        dn_offset: int | None = None,
    ) -> SceneWindows:
        """Opens a scene.

        Args:
            path: A scene, as `bigearth_tf.mapping.scene.open_scene` takes it.
            inputs: What the model takes.
            band_order: Names of the bands of a file that does not name them.
            dn_offset: What to add to digital numbers, where the scene does not state it.

        Raises:
            FileNotFoundError: There is no scene.
            ValueError: The scene does not fit the model.
        """
        names = [band.name for band in inputs.bands]
        scene = open_scene(path, names, band_order=band_order, dn_offset=dn_offset)
        return cls(scene.name, match_bands(scene, inputs.bands, inputs.level))

    def identity(self) -> str:
        """Returns a text that differs for other scenes, and for other digital numbers of the same scene."""
        sources = [item.layer.source for item in self.scene.bands]
        rows = [(row.name, row.raster.index, row.dn_offset, file_bytes(row.raster.path)) for row in sources]
        place = [self.scene.crs_wkt, *self.scene.geotransform]
        return f"{self.name} {hashlib.sha256(json.dumps([place, rows]).encode()).hexdigest()}"

    def read(self, corners: Sequence[tuple[int, int]]) -> Iterator[PatchToExplain]:
        """Yields windows with their place.

        Args:
            corners: (x, y) of the upper left pixel of each window, on the grid of the model's finest band.

        Raises:
            ValueError: A window does not fit the scene, or has no data.
            OSError: A file cannot be read.
        """
        with BandReader() as reader:
            for x, y in corners:
                bands, no_data = read_window(reader, self.scene, y, x)
                yield PatchToExplain(
                    patch_id=f"{self.name}_x{x}_y{y}", bands=bands, no_data=no_data, georeference=self._place(x, y)
                )

    def _place(self, x: int, y: int) -> Georeference:
        left, across, row_x, top, row_y, down = self.scene.geotransform
        corner = (left + x * across + y * row_x, top + x * row_y + y * down)
        return Georeference(self.scene.crs_wkt, (corner[0], across, row_x, corner[1], row_y, down))
