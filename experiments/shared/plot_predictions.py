"""Plot of predictions: patches in true color with their most probable classes, their true labels and the decisions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch as Box

from bigearth_tf.data.true_color import common_stretch, describe_stretch, true_color
from bigearth_tf.runtime.figures import BLUE, VERMILION, save_figure, wrap
from experiments.shared.first_patches import FirstPatches

_COLUMNS = 3
_TOP = 5
_CELL_INCHES, _BAR_INCHES = 6.4, 0.47
_NAME_WIDTH = 58
_GRAY = "#555555"


class _Style(NamedTuple):
    """How the bar of a class is drawn, and its meaning for the legend."""

    meaning: str
    color: str
    filled: bool


# (Predicted, true or None) -> style. Color is whether the decision is right, filling whether the class is predicted.
_STYLES = {
    (True, True): _Style("predicted, and a true label", BLUE, True),
    (True, False): _Style("predicted, but not a true label", VERMILION, True),
    (False, True): _Style("a true label that is not predicted", VERMILION, False),
    (False, False): _Style("rightly not predicted", BLUE, False),
    (True, None): _Style("predicted; the true labels are not known", _GRAY, True),
    (False, None): _Style("not predicted", _GRAY, False),
}


class _Bar(NamedTuple):
    """A class of a patch: its name, probability, rank by probability (from 1), style, and threshold if it has one."""

    name: str
    probability: float
    rank: int
    style: _Style
    threshold: Optional[float] = None


def plot_predictions(stem: Path, first: FirstPatches, title: str) -> tuple[Path, ...]:
    """Writes a figure with a cell for each of the first patches: its image, and the bars of its classes.

    The bars are those of the most probable classes and of all true labels.

    Args:
        stem: Path of the files without their suffix.
        first: The first patches, with their rows of the table.
        title: Names the model.
    """
    bars = list_bars(first)
    stretch = common_stretch((patch.bands for patch, _ in first.patches), first.level)
    columns = min(_COLUMNS, len(bars))
    lines = [bars[start : start + columns] for start in range(0, len(bars), columns)]
    heights = [max(3.1, 0.5 + _BAR_INCHES * max(map(len, line))) for line in lines]
    # All cells have a fixed layout: solving for a layout takes time quadratic in their number.
    head_inches = 1.0 if columns == 1 else 0.65  # The legend has three lines, or one.
    figure = plt.figure(figsize=(_CELL_INCHES * columns, sum(heights) + head_inches))
    head, body = figure.subfigures(2, 1, squeeze=False, height_ratios=(head_inches, sum(heights))).ravel()
    text = f"{title}\n{len(bars)} of {first.num_patches:,} patches; {describe_stretch(stretch)}"
    _draw_head(head, text, bars, columns)
    cells = body.subfigures(len(lines), columns, squeeze=False, height_ratios=heights)
    for number, ((patch, _), patch_bars) in enumerate(zip(first.patches, bars)):
        row, column = divmod(number, columns)
        image = true_color(patch.bands, stretch)
        _draw_cell(cells[row, column], patch.patch_id, image, patch_bars, heights[row])
    return save_figure(figure, stem)


def list_bars(first: FirstPatches) -> list[list[_Bar]]:
    """Returns the bars of each of the first patches, by descending probability."""
    listed, thresholds = [], first.thresholds or {}
    for _, row in first.patches:
        probabilities = np.array([row[f"probability/{name}"] for name in first.class_names])
        bars = []
        for rank, index in enumerate(np.argsort(-probabilities, kind="stable"), start=1):
            name = first.class_names[index]
            truth = row[f"label/{name}"]
            if rank <= _TOP or truth:
                style = _STYLES[row[f"decision/{name}"], truth]
                bars.append(_Bar(name, float(probabilities[index]), rank, style, thresholds.get(name)))
        listed.append(bars)
    return listed


def _draw_head(head: plt.Figure, text: str, bars: list[list[_Bar]], columns: int) -> None:
    head.text(0.5, 0.97, text, ha="center", va="top", fontsize=8, linespacing=1.1)
    styles = {bar.style for patch_bars in bars for bar in patch_bars}
    handles: list[Box | Line2D] = [
        Box(facecolor=style.color if style.filled else "white", edgecolor=style.color, label=style.meaning)
        for style in _STYLES.values()
        if style in styles
    ]
    thresholds = {bar.threshold for patch_bars in bars for bar in patch_bars}
    if thresholds != {None}:
        which = f"probability {thresholds.pop():g}" if len(thresholds) == 1 else "threshold of a class"
        label = f"{which}: a class is predicted from here on"
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


def _draw_cell(cell: plt.Figure, patch_id: str, pixels: np.ndarray, bars: list[_Bar], height: float) -> None:
    image, axes = cell.subplots(1, 2, width_ratios=(1, 1.25))
    cell.subplots_adjust(left=0.01, right=0.99, bottom=0.22 / height, top=1 - 0.26 / height, wspace=0.04)
    cell.suptitle(patch_id, fontsize=8, y=1 - 0.06 / height, va="top")
    image.imshow(pixels, cmap="gray", interpolation="nearest")
    image.set_anchor("N")
    image.set_axis_off()
    if len({bar.threshold for bar in bars}) == 1 and bars[0].threshold is not None:
        axes.axvline(bars[0].threshold, color="0.4", linewidth=0.9, linestyle=":", zorder=0)
    else:
        for place, bar in enumerate(bars):
            if bar.threshold is not None:
                axes.plot([bar.threshold] * 2, [place - 0.3, place + 0.3], color="0.4", linewidth=0.9, linestyle=":")
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
