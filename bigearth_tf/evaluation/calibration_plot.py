"""Plot of the calibration of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.runtime.figures import BLUE, save_figure, tidy, wrap


def plot_calibration(stem: Path, evaluation: dict[str, Any], title: str) -> tuple[Path, ...]:
    """Writes a figure of the true share over the probability, a histogram of probabilities, and each class's error."""
    height = max(5.4, 1.1 + 0.31 * len(evaluation["classes"]))
    figure = plt.figure(figsize=(12.5, height), layout="constrained")
    # The diagrams do not grow with the number of classes.
    grid = figure.add_gridspec(3, 2, width_ratios=(1, 1), height_ratios=(3.4, 1.2, height - 5.2))
    diagram = figure.add_subplot(grid[0, 0])
    _draw_reliability(diagram, evaluation)
    _draw_histogram(figure.add_subplot(grid[1, 0], sharex=diagram), evaluation["calibration"]["bins"])
    errors = {name: row["expected_calibration_error"] for name, row in evaluation["classes"].items()}
    _draw_class_errors(figure.add_subplot(grid[:, 1]), errors)
    figure.suptitle(title, fontsize=10)
    return save_figure(figure, stem)


def _draw_reliability(axes: plt.Axes, evaluation: dict[str, Any]) -> None:
    calibration = evaluation["calibration"]
    means, shares = ([row[key] for row in calibration["bins"]] for key in ("mean_probability", "share_true"))
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.9, linestyle=":")
    axes.plot(means, shares, "o-", color=BLUE, markersize=4.5, linewidth=1.2)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_ylabel("share that is true", fontsize=8)
    multi = evaluation["label_kind"] == LabelKind.MULTI
    unit = "each class of each record" if multi else "the most probable class of each record"
    error = calibration["expected_calibration_error"]
    axes.set_title(f"All predictions ({unit})\nexpected calibration error {error:.4f}", fontsize=9, loc="left")
    axes.text(0.03, 0.93, "above the line: underconfident;  below: overconfident", fontsize=7, color="0.4")
    tidy(axes, grid="both")


def _draw_histogram(axes: plt.Axes, bins: list[dict[str, float]]) -> None:
    starts, counts = ([row[key] for row in bins] for key in ("from", "count"))
    width = bins[0]["to"] - bins[0]["from"]
    axes.bar(starts, counts, width, align="edge", color=BLUE, edgecolor="white", linewidth=0.5)
    axes.set_yscale("log")
    # Whole powers of ten, so that counts are read as numbers even if they span less than a decade.
    axes.set_ylim(10 ** int(len(str(int(min(counts)))) - 1) / 1.3, 10 ** len(str(int(max(counts)))))
    axes.yaxis.set_major_locator(LogLocator(base=10, numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("predictions", fontsize=8)
    axes.set_xlabel("predicted probability", fontsize=8)
    tidy(axes, grid="both")


def _draw_class_errors(axes: plt.Axes, errors: dict[str, float]) -> None:
    names = sorted(errors, key=lambda name: -errors[name])
    drawn = axes.barh(range(len(names)), [errors[name] for name in names], height=0.62, color=BLUE)
    axes.bar_label(drawn, [f"{errors[name]:.3f}" for name in names], fontsize=7, padding=2)
    axes.set_yticks(range(len(names)), [wrap(name, 50) for name in names], fontsize=7.5, linespacing=0.9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.1)
    axes.set_title("Expected calibration error by class", fontsize=9, loc="left")
    tidy(axes)
