"""Reading of a scene as the windows of a model: native pixels, offsets, no-data and clouds, reflection at the edges."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from bigearth_tf.mapping.raster import BandReader
from bigearth_tf.mapping.scene_input import InputBand, Layer, SceneInput
from bigearth_tf.mapping.windows import Part, WindowGrid, reflect
from bigearth_tf.serving.units import MAX_DN, NO_DATA_DN


@dataclasses.dataclass(frozen=True)
class Strip:
    """The pixels that the windows of a part see.

    `bands` maps a band to pixels in the size and type of the model; `is_valid` [h, w] says which pixels of the base
    grid have data in every band and are not masked. Both start at base row `top` and column `left`, which may be
    negative.
    """

    part: Part
    top: int
    left: int
    bands: dict[str, np.ndarray]
    is_valid: np.ndarray


@dataclasses.dataclass(frozen=True)
class WindowBatch:
    """Windows to predict: band -> [N, size_px, size_px] for a constant N; the first windows are at `places`.

    `places` are (row, column) within the part; the rest of the batch is padding, of zeros.
    """

    part: Part
    places: tuple[tuple[int, int], ...]
    bands: dict[str, np.ndarray]


def read_strip(
    reader: BandReader, scene: SceneInput, grid: WindowGrid, part: Part, masked_classes: Sequence[int]
) -> Strip:
    """Returns the pixels of a part.

    Args:
        reader: Opens the files.
        scene: The bands to read.
        grid: The windows over the scene.
        part: The part of the grid.
        masked_classes: Values of the scene classification that count as no data.

    Raises:
        OSError: A file cannot be read.
    """
    top, left = int(grid.row_starts[part.first_row]), int(grid.column_starts[part.first_column])
    rows = np.arange(top, int(grid.row_starts[part.end_row - 1]) + grid.patch_px)
    columns = np.arange(left, int(grid.column_starts[part.end_column - 1]) + grid.patch_px)
    bands, is_valid = _read_area(reader, scene, rows, columns, masked_classes)
    return Strip(part, top, left, bands, is_valid)


def read_window(reader: BandReader, scene: SceneInput, top: int, left: int) -> tuple[dict[str, np.ndarray], float]:
    """Returns the bands of one window as the model takes them, and the share of its pixels that have no data.

    Pixels without data have the mean of the others.

    Args:
        reader: Opens the files.
        scene: The bands to read.
        top: First row of the window on the base grid, a multiple of `scene.align_px`.
        left: First column, another multiple.

    Raises:
        ValueError: The window is not wholly inside the scene, starts elsewhere than at such multiples, or has no data.
        OSError: A file cannot be read.
    """
    last = {"x": scene.width - scene.patch_px, "y": scene.height - scene.patch_px}
    if min(last.values()) < 0:
        raise ValueError(
            f"The scene is {scene.width} x {scene.height} px, smaller than the model's patches of {scene.patch_px} px."
        )
    for axis, start in (("x", left), ("y", top)):
        if start % scene.align_px or not 0 <= start <= last[axis]:
            raise ValueError(
                f"A window of {scene.patch_px} px cannot start at {axis}={start}: allowed are the multiples of "
                f"{scene.align_px} from 0 to {last[axis]}."
            )
    side = np.arange(scene.patch_px)
    bands, is_valid = _read_area(reader, scene, top + side, left + side, ())
    if not is_valid.any():
        raise ValueError(f"The window at x={left}, y={top} has no data.")
    batch = {name: pixels[np.newaxis] for name, pixels in bands.items()}
    if not is_valid.all():
        _fill(batch, 0, is_valid, scene)
    return {name: pixels[0] for name, pixels in batch.items()}, float(1 - is_valid.mean())


def _read_area(
    reader: BandReader, scene: SceneInput, rows: np.ndarray, columns: np.ndarray, masked_classes: Sequence[int]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns each band under base rows and columns, and which pixels have data in every band and are not masked."""
    is_valid = np.ones((len(rows), len(columns)), bool)
    bands = {}
    for item in scene.bands:
        pixels = _read_layer(reader, item.layer, rows, columns)
        _intersect(is_valid, _has_data(pixels, item), item.layer.factor)
        bands[item.band.name] = _to_model(pixels, item)
    if scene.scl is not None:
        classes = _read_layer(reader, scene.scl, rows, columns)
        _intersect(is_valid, ~np.isin(classes, masked_classes), scene.scl.factor)
    return bands, is_valid


def _read_layer(reader: BandReader, layer: Layer, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the pixels of a layer under base rows and columns, reflected at the edges of the layer."""
    raster = layer.source.raster
    places = []
    for base, size in ((rows, raster.height), (columns, raster.width)):
        first, end = Fraction(int(base[0])) / layer.factor, Fraction(int(base[-1]) + 1) / layer.factor
        places.append(reflect(np.arange(int(first), int(end)), size))
    (y, x), ends = places, [int(place.max()) + 1 for place in places]
    top, left = int(y.min()), int(x.min())
    pixels = reader.read(raster.path, raster.index, (top, ends[0]), (left, ends[1]), shown=layer.source.shown)
    if pixels.shape == (len(y), len(x)) and y[0] == top and x[0] == left:
        return pixels  # Nothing is reflected: the indices ascend.
    return pixels[np.ix_(y - top, x - left)]


def _has_data(pixels: np.ndarray, item: InputBand) -> np.ndarray:
    no_data = item.layer.source.raster.no_data
    if pixels.dtype.kind == "f":
        has_data = np.isfinite(pixels)
        return has_data if no_data is None or np.isnan(no_data) else has_data & (pixels != np.float32(no_data))
    no_data = NO_DATA_DN if no_data is None else no_data
    # Comparing with an integer spares a copy of the pixels as float64.
    return pixels != (int(no_data) if float(no_data).is_integer() else no_data)


def _intersect(is_valid: np.ndarray, of_layer: np.ndarray, factor: Fraction) -> None:
    """Removes the pixels from `is_valid` that a layer of another pixel size does not have."""
    if of_layer.all():
        return
    if factor < 1:
        of_layer = _blocks(of_layer, factor.denominator).all(axis=(1, 3))
    if factor > 1:
        of_layer = of_layer.repeat(factor.numerator, axis=0).repeat(factor.numerator, axis=1)
    is_valid &= of_layer


def _to_model(pixels: np.ndarray, item: InputBand) -> np.ndarray:
    """Returns pixels in the unit, type and size of the model."""
    if item.band.dtype == "uint16":
        offset = item.layer.source.dn_offset
        assert offset is not None, "checked when the bands were matched"
        if offset or pixels.dtype != np.uint16:
            pixels = np.clip(pixels.astype(np.int32) + offset, 0, MAX_DN).astype(np.uint16)
    else:
        pixels = np.nan_to_num(pixels.astype(item.band.dtype, copy=False))
    ratio = Fraction(item.model_factor) / item.layer.factor
    if ratio > 1:
        means = _blocks(pixels, ratio.numerator).mean(axis=(1, 3), dtype=np.float32)
        pixels = (np.rint(means) if item.band.dtype == "uint16" else means).astype(item.band.dtype)
    if ratio < 1:
        pixels = pixels.repeat(ratio.denominator, axis=0).repeat(ratio.denominator, axis=1)
    return pixels


def _blocks(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape
    return pixels.reshape(height // side, side, width // side, side)


def cut_batches(strip: Strip, scene: SceneInput, grid: WindowGrid, batch_size: int) -> Iterator[WindowBatch]:
    """Yields the windows of a strip that have data, row by row, in batches of a constant size.

    The windows of a batch depend on the part alone, so that the same sums are computed whoever computes them.
    """
    part, is_whole = strip.part, bool(strip.is_valid.all())
    tops = grid.row_starts[part.first_row : part.end_row] - strip.top
    lefts = grid.column_starts[part.first_column : part.end_column] - strip.left
    seen = [
        (row, column, top, left)
        for row, top in enumerate(tops.tolist())
        for column, left in enumerate(lefts.tolist())
        if is_whole or strip.is_valid[top : top + grid.patch_px, left : left + grid.patch_px].any()
    ]
    for start in range(0, len(seen), batch_size):
        chunk = seen[start : start + batch_size]
        batch = {
            item.band.name: np.zeros((batch_size, item.band.size_px, item.band.size_px), item.band.dtype)
            for item in scene.bands
        }
        for index, (_, _, top, left) in enumerate(chunk):
            for item in scene.bands:
                y, x, size = top // item.model_factor, left // item.model_factor, item.band.size_px
                batch[item.band.name][index] = strip.bands[item.band.name][y : y + size, x : x + size]
            is_valid = strip.is_valid[top : top + grid.patch_px, left : left + grid.patch_px]
            if not is_whole and not is_valid.all():
                _fill(batch, index, is_valid, scene)
        yield WindowBatch(part, tuple((row, column) for row, column, _, _ in chunk), batch)


def _fill(batch: dict[str, np.ndarray], index: int, is_valid: np.ndarray, scene: SceneInput) -> None:
    """Gives the pixels of a window that are no data or masked the mean of its other pixels, band by band.

    Models were trained on patches without no-data; zeros would look like water or shadow.
    """
    for item in scene.bands:
        pixels = batch[item.band.name][index]
        valid = _blocks(is_valid, item.model_factor).all(axis=(1, 3)) if item.model_factor > 1 else is_valid
        if valid.any():
            mean = pixels[valid].mean(dtype=np.float64)
            pixels[~valid] = np.rint(mean) if item.band.dtype == "uint16" else mean
