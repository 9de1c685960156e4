"""Picture of a map of classes, with a legend."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np
from matplotlib.patches import Patch

from bigearth_tf.mapping.class_colors import Color, class_colors
from bigearth_tf.mapping.raster import read_overview
from bigearth_tf.mapping.write_raster import NO_DATA

_MOST_PX = 1100
_NO_DATA_COLOR = (255, 255, 255)
_LINE_LENGTH = 52
# Lengths in inches.
_LONG_SIDE_IN, _LEGEND_IN, _TITLE_IN, _MARGIN_IN, _ROW_IN = 7.0, 4.0, 0.5, 0.2, 0.17


def draw_quick_look(path: Path, top: Path, class_names: Sequence[str], counts: Sequence[int], title: str) -> None:
    """Writes a PNG of the most probable classes, with the area of each class that covers at least 0.1 %.

    Args:
        path: The PNG to write.
        top: The map of the most probable class.
        class_names: K names.
        counts: Number of pixels of each class.
        title: Up to two lines over the picture.
    """
    colors = class_colors(class_names)
    table = np.full((NO_DATA + 1, 3), 0, np.uint8)
    table[: len(colors)] = colors
    table[NO_DATA] = _NO_DATA_COLOR
    image = table[read_overview(top, _MOST_PX)]
    shares = np.asarray(counts) / max(1, sum(counts))
    shown = [index for index in np.argsort(-shares, kind="stable") if shares[index] >= 0.001]
    handles = [
        Patch(facecolor=_hex(colors[index]), edgecolor="0.4", label=_label(class_names[index], shares[index]))
        for index in shown
    ]
    handles.append(Patch(facecolor=_hex(_NO_DATA_COLOR), edgecolor="0.4", label="no data or masked"))
    num_lines = sum(str(handle.get_label()).count("\n") + 1 for handle in handles)
    height, width = image.shape[:2]
    image_in = (_LONG_SIDE_IN * width / max(height, width), _LONG_SIDE_IN * height / max(height, width))
    figure_in = (
        image_in[0] + _LEGEND_IN + 2 * _MARGIN_IN,
        max(image_in[1], _ROW_IN * (num_lines + 2)) + _TITLE_IN + _MARGIN_IN,
    )
    figure = matplotlib.figure.Figure(figsize=figure_in)
    top = 1 - _TITLE_IN / figure_in[1]
    axes = figure.add_axes(
        (
            _MARGIN_IN / figure_in[0],
            top - image_in[1] / figure_in[1],
            image_in[0] / figure_in[0],
            image_in[1] / figure_in[1],
        )
    )
    axes.imshow(image, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    figure.text(_MARGIN_IN / figure_in[0], 1 - 0.5 * _TITLE_IN / figure_in[1], title, fontsize=8, va="center")
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=((image_in[0] + 1.5 * _MARGIN_IN) / figure_in[0], top),
        fontsize=8, frameon=False, title="most probable class, share of the area", title_fontsize=8, alignment="left",
        borderaxespad=0,
    )  # fmt: skip
    figure.savefig(path, dpi=150, format="png")


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _label(name: str, share: float) -> str:
    return textwrap.fill(f"{name}  {100 * share:.1f}\N{NO-BREAK SPACE}%", _LINE_LENGTH)
