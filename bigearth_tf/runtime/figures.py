"""Figures for reports and papers: colors for every kind of color vision, wrapped names, and files as PNG and PDF."""

from __future__ import annotations

import logging
import math
import textwrap
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

# Otherwise a command logs each table of each font that a PDF embeds.
logging.getLogger("fontTools").setLevel(logging.WARNING)
_DPI = 110
# Okabe and Ito's colors, which people can distinguish whatever their color vision (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION = "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"
COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)


def save_figure(figure: plt.Figure, stem: Path, **options: Any) -> tuple[Path, ...]:
    """Writes a figure as `<stem>.png` and, for papers, as `<stem>.pdf`, and closes it; returns the paths.

    The same figure gives the same bytes. `options` are those of `savefig`.
    """
    paths = tuple(stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "pdf"))
    with plt.rc_context({"pdf.fonttype": 42}):  # TrueType fonts, whose text remains searchable and editable.
        for path in paths:
            metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
            figure.savefig(path, dpi=_DPI, metadata=metadata, **options)
    plt.close(figure)
    return paths


def wrap(name: str, width: int) -> str:
    """Returns a name in as few lines of at most `width` characters as it needs, and these of similar length."""
    needed = max(1, math.ceil(len(name) / width))
    for narrow in range(max(1, len(name) // needed), width):
        lines = textwrap.wrap(name, narrow)
        if len(lines) <= needed and max(map(len, lines), default=0) <= width:
            return "\n".join(lines)
    return "\n".join(textwrap.wrap(name, width))


def wrap_id(patch_id: str, width: int) -> str:
    """Returns a patch id in lines of about `width` characters, broken only behind underscores."""
    lines = [""]
    for part in patch_id.replace("_", "_ ").split():
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def tidy(axes: plt.Axes, grid: Literal["x", "both"] = "x", labelsize: float = 8) -> None:
    """Draws a light grid behind the data, without the frame at the top and on the right."""
    axes.grid(axis=grid, color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis=grid, labelsize=labelsize)
