"""Inference over the parts of a scene: reads ahead in threads, predicts batches, writes a file per part."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bigearth_tf.mapping.part_files import PartAnswers, write_part
from bigearth_tf.mapping.prefetch import prefetch
from bigearth_tf.mapping.raster import BandReader
from bigearth_tf.mapping.read_windows import Strip, cut_batches, read_strip
from bigearth_tf.mapping.scene_input import SceneInput
from bigearth_tf.mapping.windows import Part, WindowGrid

# Band -> [N, size_px, size_px], to probabilities [N, K].
Predict = Callable[[Mapping[str, np.ndarray]], np.ndarray]
_STRIPS_AHEAD, _BATCHES_AHEAD = 1, 3


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """How the windows of a scene are predicted.

    `folder` receives the files of parts. `masked_classes` are the values of the scene classification that count as no
    data. `report` is called with the number of windows that are done.
    """

    folder: Path
    num_classes: int
    batch_size: int
    masked_classes: tuple[int, ...]
    report: Callable[[int], object]


def predict_parts(
    predict: Predict, scene: SceneInput, grid: WindowGrid, parts: Sequence[Part], options: PredictOptions
) -> None:
    """Predicts the windows of parts and writes the file of each part when it is complete.

    At most two strips and a few batches are in memory, whatever the size of the scene.

    Args:
        predict: Returns the probabilities of a batch.
        scene: The bands to read.
        grid: The windows over the scene.
        parts: The parts to compute.
        options: How, and where to.

    Raises:
        OSError: A file of the scene cannot be read, or a part cannot be written.
    """
    with BandReader() as reader:
        strips = prefetch(
            (read_strip(reader, scene, grid, part, options.masked_classes) for part in parts), _STRIPS_AHEAD
        )
        with contextlib.closing(strips):
            for strip in strips:
                _predict_strip(predict, strip, scene, grid, options)


def _predict_strip(
    predict: Predict, strip: Strip, scene: SceneInput, grid: WindowGrid, options: PredictOptions
) -> None:
    part = strip.part
    shape = (part.end_row - part.first_row, part.end_column - part.first_column)
    probabilities = np.zeros((*shape, options.num_classes), np.float32)
    num_seen = 0
    with contextlib.closing(prefetch(cut_batches(strip, scene, grid, options.batch_size), _BATCHES_AHEAD)) as batches:
        for batch in batches:
            answers = predict(batch.bands)
            for place, answer in zip(batch.places, answers):
                probabilities[place] = answer
            num_seen += len(batch.places)
            options.report(len(batch.places))
    options.report(shape[0] * shape[1] - num_seen)  # Windows without data.
    rows, columns = grid.pixels_of(part)
    is_valid = strip.is_valid[
        rows.start - strip.top : rows.stop - strip.top, columns.start - strip.left : columns.stop - strip.left
    ]
    write_part(options.folder, part, PartAnswers(probabilities, is_valid))
