"""Picture of a map of classes, with a legend."""

from __future__ import annotations

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
_LONGEST_NAME = 44
_MARGIN = 0.03


def draw_quick_look(path: Path, top: Path, class_names: Sequence[str], counts: Sequence[int], title: str) -> None:
    """Writes a PNG of the most probable classes, with the area of each class that covers at least 0.1 %.

    Args:
        path: The PNG to write.
        top: The map of the most probable class.
        class_names: K names.
        counts: Number of pixels of each class.
        title: Text over the picture.
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
    height_in = max(5.0, 0.25 * len(handles) + 1.2)
    figure = matplotlib.figure.Figure(figsize=(height_in + 4.2, height_in))
    axes = figure.add_axes((_MARGIN, _MARGIN, height_in / (height_in + 4.2) - 2 * _MARGIN, 1 - 0.06 - _MARGIN))
    axes.imshow(image, interpolation="nearest")
    axes.set_axis_off()
    axes.set_anchor("NW")
    figure.text(_MARGIN, 0.97, title, fontsize=10, va="center")
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(height_in / (height_in + 4.2), 1 - 0.05), fontsize=8,
        frameon=False, title="most probable class, share of the area", title_fontsize=8, alignment="left",
    )  # fmt: skip
    figure.savefig(path, dpi=150, format="png")


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _label(name: str, share: float) -> str:
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return f"{short}  {100 * share:.1f} %"
