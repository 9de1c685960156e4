"""Plot of predictions: patches in true color with their most probable classes and true labels."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np

from bigearth_tf.data.true_color import true_color
from tfrecord_tools.source import Patch

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_COLUMNS = 3
_TOP = 5
_ROW_INCHES, _HEAD_INCHES = 3.1, 0.4
_RIGHT, _WRONG = "#1b7837", "#b2182b"


def plot_predictions(
    path: str | os.PathLike,
    patches: Sequence[Patch],
    probabilities: np.ndarray,
    truths: Sequence[Sequence[str]],
    class_names: Sequence[str],
    threshold: float | None,
) -> None:
    """Writes a PNG with a cell for each patch: image, bars of its most probable classes, and the true labels below.

    Args:
        path: File to write.
        patches: The N patches to show.
        probabilities: float [M, K], M >= N; those of the patches come first.
        truths: True labels of each patch, among `class_names`; at least N.
        class_names: K names.
        threshold: Probability from which a class is predicted; None if only the most probable class is.
    """
    rows = -(-len(patches) // _COLUMNS)
    columns = min(_COLUMNS, len(patches))
    # All cells have the same layout: solving for a layout takes time quadratic in their number.
    figure = plt.figure(figsize=(6.4 * columns, _ROW_INCHES * rows + _HEAD_INCHES))
    heights = (_HEAD_INCHES, _ROW_INCHES * rows)
    head, body = figure.subfigures(2, 1, squeeze=False, height_ratios=heights).ravel()
    head.text(0.5, 0.5, "bars: green is a true label of the patch, red is not", ha="center", va="center", fontsize=9)
    cells = body.subfigures(rows, columns, squeeze=False).ravel()
    for cell, patch, row, truth in zip(cells, patches, probabilities, truths):
        image, bars = cell.subplots(1, 2, width_ratios=(1, 1))
        cell.subplots_adjust(left=0.02, right=0.98, bottom=0.16, top=0.9, wspace=0.06)
        cell.suptitle(patch.patch_id, fontsize=8)
        image.imshow(true_color(patch.bands), cmap="gray")
        image.set_xticks([])
        image.set_yticks([])
        image.set_xlabel(textwrap.fill("true: " + "; ".join(_short(name) for name in truth), 44), fontsize=7)
        _plot_bars(bars, row, truth, class_names)
        if threshold is not None:
            bars.axvline(threshold, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_bars(axes: plt.Axes, row: np.ndarray, truth: Sequence[str], class_names: Sequence[str]) -> None:
    top = np.argsort(row)[::-1][:_TOP]
    colors = [_RIGHT if class_names[index] in truth else _WRONG for index in top]
    axes.barh(range(len(top)), row[top], color=colors, height=0.42)
    for position, index in enumerate(top):
        text = f"{_short(class_names[index])} {row[index]:.2f}"
        axes.text(0.0, position - 0.3, text, fontsize=7, va="bottom")
    axes.set_xlim(0, 1)
    axes.set_ylim(len(top) - 0.5, -0.8)
    axes.set_yticks([])
    axes.tick_params(labelsize=6)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _short(name: str) -> str:
    return textwrap.shorten(name, 34, placeholder=" ...")
