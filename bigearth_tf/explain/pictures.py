"""Pictures of explanations: maps over the patch in true color, and the importance of bands."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np
from matplotlib import cm, colors

from bigearth_tf.data.true_color import true_color
from bigearth_tf.explain.attribution import Attribution
from bigearth_tf.explain.band_importance import ImportanceTable
from bigearth_tf.runtime.figures import BLUE
from bigearth_tf.serving.patch_inputs import InputPatch

TITLES = {"grad_cam": "Grad-CAM", "occlusion": "occlusion", "integrated_gradients": "integrated gradients"}
# From purple through white to orange, which people can distinguish whatever their color vision.
_COLORS = "PuOr_r"
# The scale of colors ends at this percentile of the absolute values: single pixels should not make the rest pale.
_PERCENTILE = 99.0
_DPI = 130
_INCHES = 3.1


def draw_attributions(path: Path, patch: InputPatch, attributions: Sequence[Attribution]) -> None:
    """Writes a PNG: the patch in true color, and the map of each method over it, with class, probability and method.

    Each map has its own scale of colors; pixels without attribution show the patch.

    Args:
        path: The file.
        patch: The patch.
        attributions: One or more of the patch.
    """
    count = 1 + len(attributions)
    figure = matplotlib.figure.Figure(figsize=(_INCHES * count, _INCHES + 1.15), layout="constrained")
    axes = figure.subplots(1, count)
    image = true_color(patch.bands)
    extent = (0, attributions[0].values.shape[1], attributions[0].values.shape[0], 0)
    for place in axes:
        place.imshow(image, cmap="gray", extent=extent, vmin=0, vmax=1)
        place.set_xticks([])
        place.set_yticks([])
    axes[0].set_title("true color" if image.ndim == 3 else "gray: no true color", fontsize=9)
    labels = "not known" if patch.labels is None else "; ".join(patch.labels) or "none"
    axes[0].set_xlabel(textwrap.fill(f"labels: {labels}", 44, max_lines=4, placeholder=" ..."), fontsize=7)
    for place, attribution in zip(axes[1:], attributions):
        place.imshow(_colorize(attribution.values), extent=extent, interpolation="nearest")
        place.set_title(TITLES[attribution.method], fontsize=9)
        name = textwrap.fill(attribution.class_name, 40, max_lines=2, placeholder=" ...")
        numbers = f"probability {attribution.probability:.3f}, logit {attribution.logit:+.2f}"
        place.set_xlabel(f"{name}\n{numbers}", fontsize=7)
    scale = cm.ScalarMappable(colors.Normalize(-1, 1), _COLORS)
    bar = figure.colorbar(scale, ax=list(axes), orientation="horizontal", shrink=0.45, aspect=40, pad=0.02)
    bar.set_ticks([-1, 0, 1], labels=["opposes the class", "no part (transparent)", "supports the class"])
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    figure.suptitle(textwrap.shorten(patch.patch_id, 110, placeholder=" ..."), fontsize=9)
    figure.savefig(path, dpi=_DPI, format="png")


def _colorize(values: np.ndarray) -> np.ndarray:
    """Returns RGBA [S, S, 4]: the color says the sign, the opacity the size."""
    end = np.percentile(np.abs(values), _PERCENTILE) or np.abs(values).max() or 1.0
    scaled = np.clip(values / end, -1, 1)
    colored = matplotlib.colormaps[_COLORS](0.5 + 0.5 * scaled)
    colored[..., 3] = 0.85 * np.sqrt(np.abs(scaled))
    return colored


def draw_band_importance(path: Path, table: ImportanceTable) -> None:
    """Writes a PNG: the loss of the score without each band, and the loss of the logit of each class.

    Args:
        path: The file.
        table: The importance of the bands.
    """
    names = [name for name, value in table.rows[0].class_losses.items() if value is not None]
    losses = np.array([[row.class_losses[name] for name in names] for row in table.rows], float)
    height = 1.9 + 0.32 * len(table.rows)
    figure = matplotlib.figure.Figure(figsize=(4.6 + 0.36 * len(names), height + 1.6), layout="constrained")
    bars, heat = figure.subplots(1, 2, sharey=True, width_ratios=(3.4, max(1.5, 0.36 * len(names))))
    places = np.arange(len(table.rows))
    bars.barh(places, [row.score_loss for row in table.rows], color=BLUE, height=0.6)
    bars.set_yticks(places, [row.band for row in table.rows], fontsize=8)
    bars.invert_yaxis()
    bars.axvline(0, color="0.4", linewidth=0.8)
    title = table.score_name.replace("_", " ").replace("f1", "F1")
    bars.set_xlabel(f"loss of {title} without the band\n({table.score:.3f} with all)", fontsize=8)
    bars.tick_params(axis="x", labelsize=7)
    bars.spines[["top", "right"]].set_visible(False)
    end = np.abs(losses).max() or 1.0
    image = heat.imshow(losses, cmap=_COLORS, vmin=-end, vmax=end, aspect="auto")
    labels = [textwrap.shorten(name, 34, placeholder=" ...") for name in names]
    heat.set_xticks(range(len(names)), labels, fontsize=7, rotation=55, ha="left", rotation_mode="anchor")
    heat.xaxis.tick_top()
    heat.tick_params(length=0)
    heat.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=heat, shrink=0.8)
    bar.set_label(f"mean loss of the logit over the records\nof a class, {table.num_records:,} records", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    figure.savefig(path, dpi=_DPI, format="png")
