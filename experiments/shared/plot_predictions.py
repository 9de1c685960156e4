"""Plot of predictions: patches in true color with their most probable classes, their true labels and the decisions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch as Box

from bigearth_tf.data.true_color import describe_stretch, true_color
from bigearth_tf.runtime.figures import BLUE, VERMILION, save_figure, wrap
from experiments.shared.predict_patches import PatchPredictions
from tfrecord_tools.source import Patch

_COLUMNS = 3
_TOP = 5
_CELL_INCHES, _BAR_INCHES, _HEAD_INCHES = 6.4, 0.47, 1.0
_NAME_WIDTH = 58


class _Style(NamedTuple):
    """How the bar of a class is drawn, and the meaning for the legend."""

    meaning: str
    color: str
    filled: bool


# (Predicted, true) -> style. Color is whether the decision is right, filling whether the class is predicted.
_STYLES = {
    (True, True): _Style("predicted, and a true label", BLUE, True),
    (True, False): _Style("predicted, but not a true label", VERMILION, True),
    (False, True): _Style("a true label that is not predicted", VERMILION, False),
    (False, False): _Style("rightly not predicted", BLUE, False),
}


class _Bar(NamedTuple):
    """A class of a patch: its name, probability, rank by probability (from 1), and style."""

    name: str
    probability: float
    rank: int
    style: _Style


def plot_predictions(stem: Path, found: PatchPredictions, title: str) -> tuple[Path, ...]:
    """Writes a figure with a cell for each of the first patches: its image, and the bars of its classes.

    The bars are those of the most probable classes and of all true labels.

    Args:
        stem: Path of the files without their suffix.
        found: Predictions, and the first patches.
        title: Names the model.
    """
    bars = list_bars(found)
    columns = min(_COLUMNS, len(bars))
    lines = [bars[start : start + columns] for start in range(0, len(bars), columns)]
    heights = [max(3.1, 0.5 + _BAR_INCHES * max(map(len, line))) for line in lines]
    # All cells have a fixed layout: solving for a layout takes time quadratic in their number.
    figure = plt.figure(figsize=(_CELL_INCHES * columns, sum(heights) + _HEAD_INCHES))
    head, body = figure.subfigures(2, 1, squeeze=False, height_ratios=(_HEAD_INCHES, sum(heights))).ravel()
    _draw_head(head, found, title, columns)
    cells = body.subfigures(len(lines), columns, squeeze=False, height_ratios=heights)
    for number, (patch, patch_bars) in enumerate(zip(found.first, bars)):
        row, column = divmod(number, columns)
        _draw_cell(cells[row, column], patch, patch_bars, heights[row], found.predictions.label_kind.threshold)
    return save_figure(figure, stem)


def list_bars(found: PatchPredictions) -> list[list[_Bar]]:
    """Returns the bars of each of the first patches, by descending probability."""
    table, names = found.predictions.table, found.predictions.class_names
    decided, truth = found.predictions.label_kind.decide(table.probabilities), table.labels.astype(bool)
    listed = []
    for number in range(len(found.first)):
        order = np.argsort(-table.probabilities[number], kind="stable")
        listed.append(
            [
                _Bar(
                    names[index],
                    float(table.probabilities[number, index]),
                    rank,
                    _STYLES[bool(decided[number, index]), bool(truth[number, index])],
                )
                for rank, index in enumerate(order, start=1)
                if rank <= _TOP or truth[number, index]
            ]
        )
    return listed


def _draw_head(head: plt.Figure, found: PatchPredictions, title: str, columns: int) -> None:
    threshold = found.predictions.label_kind.threshold
    counted = f"{len(found.first)} of {len(found.predictions.table.patch_ids):,} patches"
    text = f"{title}\n{counted}; {describe_stretch(None)}"
    head.text(0.5, 0.97, text, ha="center", va="top", fontsize=8, linespacing=1.1)
    handles: list[Box | Line2D] = [
        Box(facecolor=style.color if style.filled else "white", edgecolor=style.color, label=style.meaning)
        for style in _STYLES.values()
    ]
    if threshold is not None:
        label = f"probability {threshold}: a class is predicted from here on"
        handles.append(Line2D([], [], color="0.4", linewidth=0.9, linestyle=":", label=label))
    head.legend(
        handles=handles,
        ncols=2 if columns == 1 else len(handles),
        fontsize=7.5,
        frameon=False,
        loc="lower center",
        columnspacing=1.2,
        labelspacing=0.25,
    )


def _draw_cell(cell: plt.Figure, patch: Patch, bars: list[_Bar], height: float, threshold: float | None) -> None:
    image, axes = cell.subplots(1, 2, width_ratios=(1, 1.25))
    cell.subplots_adjust(left=0.01, right=0.99, bottom=0.22 / height, top=1 - 0.26 / height, wspace=0.04)
    cell.suptitle(patch.patch_id, fontsize=8, y=1 - 0.06 / height, va="top")
    image.imshow(true_color(patch.bands), cmap="gray", interpolation="nearest")
    image.set_anchor("N")
    image.set_axis_off()
    if threshold is not None:
        axes.axvline(threshold, color="0.4", linewidth=0.9, linestyle=":", zorder=0)
    # Bars have the same height in all cells.
    for place, bar in enumerate(bars):
        color = bar.style.color
        axes.barh(place, bar.probability, height=0.3, facecolor=color if bar.style.filled else "white", edgecolor=color,
                  linewidth=0.9)  # fmt: skip
        rank = f" (rank {bar.rank})" if bar.rank > _TOP else ""
        text = wrap(f"{bar.name} {bar.probability:.2f}{rank}", _NAME_WIDTH)
        axes.text(0.0, place - 0.2, text, fontsize=6.6, va="bottom", linespacing=0.95)
    axes.set_xlim(0, 1)
    axes.set_ylim((height - 0.48) / _BAR_INCHES - 0.75, -0.75)
    axes.set_yticks([])
    axes.tick_params(labelsize=6)
    axes.spines[["top", "right", "left"]].set_visible(False)
