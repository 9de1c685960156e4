"""Plot of predicted efficiency over the number of GPUs: one panel per model, one line per link."""

from __future__ import annotations

import os

from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

from bigearth_tf.runtime.figures import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
_GOAL = 0.9


def plot_scaling(path: str | os.PathLike, curves: dict[str, dict[str, dict[int, float]]]) -> None:
    """Writes a PNG of curves: title -> name of a link -> number of GPUs -> efficiency."""
    figure, panels = plt.subplots(
        1, len(curves), figsize=(4.6 * len(curves), 4), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (title, links) in zip(panels[0], curves.items()):
        for index, (name, values) in enumerate(links.items()):
            color = _COLORS[index % len(_COLORS)]
            axes.plot(list(values), list(values.values()), marker="o", markersize=4, color=color, label=name)
        axes.axhline(_GOAL, color="grey", linewidth=0.8, linestyle=":")
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(next(iter(links.values()))), list(next(iter(links.values()))), fontsize=8)
        axes.minorticks_off()
        axes.set_title(title.replace(", ", "\n", 1), fontsize=9)
        axes.set_xlabel("GPUs")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylim(0, 1.03)
    panels[0][0].yaxis.set_major_formatter(PercentFormatter(1.0))
    panels[0][0].set_ylabel("predicted efficiency")
    figure.legend(
        *panels[0][0].get_legend_handles_labels(), frameon=False, ncols=len(curves), loc="outside lower center"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
