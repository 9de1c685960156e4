"""The maps of a scene from the answers of its windows: probabilities, and the most probable class, as GeoTIFF."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from bigearth_tf.mapping.class_colors import class_colors
from bigearth_tf.mapping.part_files import PartAnswers, read_part
from bigearth_tf.mapping.scene_input import SceneInput
from bigearth_tf.mapping.windows import Part, WindowGrid, blend, blending_weights
from bigearth_tf.mapping.write_raster import NO_DATA, MapDraft, MapLayout

# Rows and columns that are blended at a time.
_BLOCK_ROWS, _BLOCK_COLUMNS = 128, 11264
# Share of the work that is done when a map is blended, and when its probabilities are copied, for 19 classes.
_BLENDED, _COPIED = 0.3, 0.9


@dataclasses.dataclass(frozen=True)
class MapFiles:
    """The files of a map: probabilities of each class, and the most probable class."""

    probabilities: Path
    top: Path


def write_map(
    folder: Path,
    scene: SceneInput,
    grid: WindowGrid,
    class_names: Sequence[str],
    files: MapFiles,
    report: Callable[[float], object],
) -> list[int]:
    """Writes both maps from the files of all parts, and returns the number of pixels of each class.

    A strip of the map is in memory at a time.

    Args:
        folder: The work folder.
        scene: The grid of the map.
        grid: The windows.
        class_names: K names.
        files: The files to write; drafts are written next to them.
        report: Called with the share that is done, 0 ... 1.

    Raises:
        OSError: A part is gone or damaged, or the maps cannot be written.
    """
    place = (scene.height, scene.width, scene.geotransform, scene.crs_wkt)
    names = tuple(class_names)
    probabilities = MapDraft(
        files.probabilities.with_suffix(".draft"), MapLayout(*place, names, scale=0.01, unit="probability")
    )
    colors = class_colors(names)
    top = MapDraft(files.top.with_suffix(".draft"), MapLayout(*place, ("most probable class",), colors, names))
    counts = np.zeros(NO_DATA + 1, np.int64)
    for block in _blocks(folder, grid, len(names)):
        probabilities.write(block.top, block.left, block.percent)
        top.write(block.top, block.left, block.classes[..., np.newaxis])
        counts += np.bincount(block.classes.ravel(), minlength=NO_DATA + 1)
        report(_BLENDED * (block.top + len(block.classes)) / scene.height)
    probabilities.finish(files.probabilities, lambda share: report(_BLENDED + (_COPIED - _BLENDED) * share))
    top.finish(files.top, lambda share: report(_COPIED + (1 - _COPIED) * share))
    return counts[: len(names)].tolist()


@dataclasses.dataclass(frozen=True)
class _Block:
    """Pixels of the maps from row `top` and column `left` on: percent uint8 [h, w, K], classes uint8 [h, w]."""

    top: int
    left: int
    percent: np.ndarray
    classes: np.ndarray


class _Parts:
    """The answers and the valid pixels of a whole scene, of which only the parts in use are in memory."""

    def __init__(self, folder: Path, grid: WindowGrid) -> None:
        self._folder, self._grid = folder, grid
        self._parts = grid.parts()
        self._loaded: dict[int, PartAnswers] = {}

    def answers(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns the answers [R, C, K] of windows."""
        return self._gather(
            rows,
            columns,
            lambda part: (slice(part.first_row, part.end_row), slice(part.first_column, part.end_column)),
            lambda loaded: loaded.probabilities,
        )

    def is_valid(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns which pixels [h, w] have data."""
        return self._gather(rows, columns, self._grid.pixels_of, lambda loaded: loaded.is_valid)

    def forget_above(self, window_row: int) -> None:
        """Drops the parts that end before a row of windows."""
        for part in self._parts:
            if part.end_row <= window_row:
                self._loaded.pop(part.index, None)

    def _gather(
        self,
        rows: slice,
        columns: slice,
        place_of: Callable[[Part], tuple[slice, slice]],
        content_of: Callable[[PartAnswers], np.ndarray],
    ) -> np.ndarray:
        result = None
        for part in self._parts:
            of_rows, of_columns = place_of(part)
            y, x = _overlap(rows, of_rows), _overlap(columns, of_columns)
            if y.start >= y.stop or x.start >= x.stop:
                continue
            if part.index not in self._loaded:
                self._loaded[part.index] = read_part(self._folder, part)
            content = content_of(self._loaded[part.index])
            if result is None:
                shape = (rows.stop - rows.start, columns.stop - columns.start, *content.shape[2:])
                result = np.zeros(shape, content.dtype)
            result[_shift(y, -rows.start), _shift(x, -columns.start)] = content[
                _shift(y, -of_rows.start), _shift(x, -of_columns.start)
            ]
        assert result is not None, "the parts cover the scene"
        return result


def _overlap(first: slice, second: slice) -> slice:
    return slice(max(first.start, second.start), min(first.stop, second.stop))


def _shift(place: slice, by: int) -> slice:
    return slice(place.start + by, place.stop + by)


def _blocks(folder: Path, grid: WindowGrid, num_classes: int) -> Iterator[_Block]:
    """Yields the pixels of the map from top to bottom."""
    parts = _Parts(folder, grid)
    rows = blending_weights(grid.row_starts, grid.patch_px, grid.height)
    columns = blending_weights(grid.column_starts, grid.patch_px, grid.width)
    for top in range(0, grid.height, _BLOCK_ROWS):
        bottom = min(grid.height, top + _BLOCK_ROWS)
        for left in range(0, grid.width, _BLOCK_COLUMNS):
            right = min(grid.width, left + _BLOCK_COLUMNS)
            (of_rows, y), (of_columns, x) = _windows_over(rows, top, bottom), _windows_over(columns, left, right)
            answers = parts.answers(
                _within(of_rows, len(grid.row_starts)), _within(of_columns, len(grid.column_starts))
            )
            is_valid = parts.is_valid(slice(top, bottom), slice(left, right))
            percent = np.empty((bottom - top, right - left, num_classes), np.uint8)
            classes = np.empty((bottom - top, right - left), np.uint8)
            for index, blended in enumerate(blend(answers, y, x)):
                classes[index] = blended.argmax(axis=-1)
                percent[index] = np.rint(100.0 * blended)
            percent[~is_valid] = NO_DATA
            classes[~is_valid] = NO_DATA
            yield _Block(top, left, percent, classes)
        parts.forget_above(int(rows[0][bottom - 1]))


def _windows_over(
    weights: tuple[np.ndarray, np.ndarray], start: int, stop: int
) -> tuple[slice, tuple[np.ndarray, np.ndarray]]:
    """Returns the windows over pixels `start` ... `stop` - 1, and the weights of these pixels, counted from them."""
    first, of_pixels = weights[0][start:stop], weights[1][start:stop]
    origin = int(first[0])
    return slice(origin, int(first[-1]) + of_pixels.shape[1]), (first - origin, of_pixels)


def _within(windows: slice, count: int) -> slice:
    return slice(windows.start, min(windows.stop, count))
