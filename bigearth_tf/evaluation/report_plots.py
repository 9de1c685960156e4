"""What does an evaluation look like? F1 by class, precision-recall curves, calibration, errors that come together."""

from __future__ import annotations

import math
import os
import textwrap
from typing import Any, Literal

import matplotlib
import numpy as np

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.metrics import precision_recall_curve
from bigearth_tf.evaluation.prediction_table import Predictions

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

_DPI = 110
# Okabe and Ito's colours, which people of every colour vision tell apart (https://jfly.uni-koeln.de/color/).
_COLOURS = {"fixed": "#0072b2", "tuned": "#d55e00"}
_LABELS = {"fixed": "threshold 0.5", "tuned": "threshold tuned on validation"}


def plot_class_f1(path: str | os.PathLike, evaluation: dict[str, Any]) -> None:
    """Writes a PNG with a row a class, the most frequent at the top: F1, its interval, and the support."""
    rows = sorted(evaluation["classes"].items(), key=lambda item: -item[1]["support"])
    kinds = list(evaluation["decisions"])
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.42 * len(rows)), layout="constrained")
    places = np.arange(len(rows))
    for number, kind in enumerate(kinds):
        f1 = [row[kind]["f1"] for _, row in rows]
        values, low, high = (np.array([score[key] for score in f1]) for key in ("value", "low", "high"))
        label = _LABELS[kind] if evaluation["label_kind"] == LabelKind.MULTI else "likeliest class"
        mean = evaluation["decisions"][kind]["scores"]["macro_f1"]["value"]
        axes.errorbar(
            values,
            places + 0.26 * (number - (len(kinds) - 1) / 2),
            # The interval of a class that is rare may lie beside the value.
            xerr=np.maximum([values - low, high - values], 0),
            fmt="o",
            markersize=4.5,
            capsize=2,
            linewidth=1.2,
            color=_COLOURS[kind],
            label=f"{label}; macro F1 {mean:.3f}",
        )
        axes.axvline(mean, color=_COLOURS[kind], linewidth=0.8, linestyle=":", zorder=0)
    axes.set_yticks(places, [_wrap(name, 50) for name, _ in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    support = axes.secondary_yaxis("right")
    support.set_yticks(places, [f"{row['support']:,}" for _, row in rows], fontsize=8)
    support.tick_params(length=0)
    support.spines[:].set_visible(False)
    support.set_ylabel(f"records that have the class, of {evaluation['num_records']:,}", fontsize=8)
    axes.set_xlabel("F1, with its 95 % bootstrap interval over patches; dotted: macro F1", fontsize=8)
    _tidy(axes)
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, frameon=False, ncols=2, loc="outside upper left")
    _save(figure, path)


def plot_precision_recall(path: str | os.PathLike, table: Predictions, evaluation: dict[str, Any]) -> None:
    """Writes a PNG with a cell a class and one of all together: precision over recall, and where the thresholds lie."""
    class_names = list(evaluation["classes"])
    cells = [("all classes together", table.labels.ravel(), table.probabilities.ravel(), None)]
    cells += [(name, *columns, name) for name, *columns in zip(class_names, table.labels.T, table.probabilities.T)]
    columns = math.ceil(math.sqrt(len(cells)))
    figure, grid = plt.subplots(
        math.ceil(len(cells) / columns),
        columns,
        figsize=(2.6 * columns, 2.75 * math.ceil(len(cells) / columns) + 0.4),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.ravel()[len(cells) :]:
        axes.set_axis_off()
    for axes, (title, present, probabilities, name) in zip(grid.ravel(), cells):
        axes.set_title(_wrap(title, 32, lines=3), fontsize=7.5)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
        _tidy(axes, grid="both", labelsize=7)
        if not present.any():
            axes.text(0.5, 0.5, "no record\nhas this class", ha="center", va="center", fontsize=8, color="0.4")
            continue
        _plot_curve(axes, present, probabilities, evaluation, name)
    for axes in grid.ravel()[: len(cells)][-columns:]:  # The last of each column.
        axes.tick_params(labelbottom=True)
    figure.supxlabel("recall", fontsize=9)
    figure.supylabel("precision", fontsize=9)
    handles, labels = grid.ravel()[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, ncols=len(labels), loc="outside upper left")
    _save(figure, path)


def _plot_curve(
    axes: plt.Axes, present: np.ndarray, probabilities: np.ndarray, evaluation: dict[str, Any], name: str | None
) -> None:
    precision, recall = precision_recall_curve(present, probabilities)
    axes.step(recall, precision, where="pre", color="0.25", linewidth=1.3)
    axes.axhline(
        present.mean(), color="0.6", linewidth=0.8, linestyle=":", label="share of records that have the class"
    )
    for kind, marker in zip(evaluation["decisions"], ("o", "D")):
        scores = evaluation["classes"][name][kind] if name else evaluation["decisions"][kind]["scores"]
        # Where each record gets one class, all classes together have precision and recall equal to the accuracy.
        keys = ("recall", "precision") if name else ("micro_recall", "micro_precision")
        point = [scores[key if key in scores else "accuracy"]["value"] for key in keys]
        label = _LABELS[kind] if evaluation["label_kind"] == LabelKind.MULTI else "likeliest class"
        axes.plot(*point, marker, color=_COLOURS[kind], markersize=5, label=label, clip_on=False, linestyle="none")
    ranked = evaluation["classes"][name] if name else evaluation["ranking"]
    value = ranked["average_precision" if name else "micro_average_precision"]["value"]
    text = f"AP {value:.2f}\n{int(present.sum()):,} present"
    axes.text(0.04, 0.05, text, fontsize=7, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})


def plot_calibration(path: str | os.PathLike, evaluation: dict[str, Any]) -> None:
    """Writes a PNG: the share that is true over the probability, how many answers have it, and each class's error."""
    figure = plt.figure(figsize=(12.5, max(5.2, 0.9 + 0.31 * len(evaluation["classes"]))), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1), height_ratios=(3, 1))
    diagram = figure.add_subplot(grid[0, 0])
    histogram = figure.add_subplot(grid[1, 0], sharex=diagram)
    bars = figure.add_subplot(grid[:, 1])
    bins = evaluation["calibration"]["bins"]
    means, shares, starts, counts = (
        [row[key] for row in bins] for key in ("mean_probability", "share_true", "from", "count")
    )
    diagram.plot([0, 1], [0, 1], color="0.6", linewidth=0.9, linestyle=":")
    diagram.plot(means, shares, "o-", color=_COLOURS["fixed"], markersize=4.5, linewidth=1.2)
    diagram.set(xlim=(0, 1), ylim=(0, 1))
    diagram.set_ylabel("share that is true", fontsize=8)
    answers = (
        "a class in a record" if evaluation["label_kind"] == LabelKind.MULTI else "the likeliest class of a record"
    )
    error = evaluation["calibration"]["expected_calibration_error"]
    title = f"All answers together ({answers})\nexpected calibration error {error:.4f}"
    diagram.set_title(title, fontsize=9, loc="left")
    diagram.text(0.03, 0.93, "above the line: too careful;  below: too sure", fontsize=7, color="0.4")
    width = bins[0]["to"] - bins[0]["from"]
    histogram.bar(starts, counts, width, align="edge", color=_COLOURS["fixed"], edgecolor="white", linewidth=0.5)
    histogram.set_yscale("log")
    histogram.set_ylabel("answers", fontsize=8)
    histogram.set_xlabel("probability that the model gives", fontsize=8)
    _tidy(diagram, grid="both")
    _tidy(histogram, grid="both")
    _plot_class_errors(bars, {name: row["expected_calibration_error"] for name, row in evaluation["classes"].items()})
    _save(figure, path)


def _plot_class_errors(axes: plt.Axes, errors: dict[str, float]) -> None:
    names = sorted(errors, key=lambda name: -errors[name])
    drawn = axes.barh(range(len(names)), [errors[name] for name in names], height=0.62, color=_COLOURS["fixed"])
    axes.bar_label(drawn, [f"{errors[name]:.3f}" for name in names], fontsize=7, padding=2)
    axes.set_yticks(range(len(names)), [_wrap(name, 50) for name in names], fontsize=7.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.1)
    axes.set_title("Expected calibration error by class", fontsize=9, loc="left")
    _tidy(axes)


def plot_errors(path: str | os.PathLike, evaluation: dict[str, Any]) -> None:
    """Writes a PNG with a row a class: what is predicted wrongly in the records where it is missed.

    Of single-label data it is the confusion matrix, as shares of each true class.
    """
    names = list(evaluation["classes"])
    decision, multi = evaluation["decisions"]["fixed"], evaluation["label_kind"] == LabelKind.MULTI
    if multi:
        errors = decision["errors"]
        counts = np.column_stack([errors["predicted_instead"], errors["nothing_instead"]])
        totals, columns = np.array(errors["missed"]), [*names, "nothing is predicted wrongly"]
        title = (
            "Records in which the class of the row is missed: share in which that of the column is predicted wrongly"
        )
        unit = "missed"
    else:
        counts = np.array(decision["confusion_matrix"])
        totals, columns = counts.sum(axis=1), names
        title, unit = "Records of the class of the row: share for which that of the column is predicted", "records"
    shares = counts / np.maximum(totals, 1)[:, np.newaxis]
    darkest = max(0.1, float(shares.max()))
    size = 0.37 * len(names)
    figure, axes = plt.subplots(figsize=(size + 4.8, size + 3.4), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=darkest, aspect="auto")
    _write_shares(axes, shares, 0.6 * darkest)
    axes.set_xticks(range(len(columns)), [_wrap(name, 38) for name in columns], fontsize=7, rotation=55, ha="left",
                    rotation_mode="anchor")  # fmt: skip
    axes.xaxis.tick_top()
    rows = [f"{_wrap(name, 46)}, {count:,} {unit}" for name, count in zip(names, totals.tolist())]
    axes.set_yticks(range(len(names)), rows, fontsize=6.8)
    axes.tick_params(length=0)
    if multi:
        axes.axvline(len(names) - 0.5, color="white", linewidth=3)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=30, format=PercentFormatter(1.0, decimals=0, symbol=" %"))
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    figure.supxlabel(f"{title}, in %", fontsize=8)
    _save(figure, path)


def _write_shares(axes: plt.Axes, shares: np.ndarray, dark_from: float) -> None:
    for row, column in zip(*np.nonzero(shares >= 0.005)):
        colour = "white" if shares[row, column] > dark_from else "0.15"
        text = f"{100 * shares[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)


def plot_evaluation(folder: str | os.PathLike, table: Predictions, evaluation: dict[str, Any]) -> tuple[str, ...]:
    """Writes every picture of an evaluation into a folder, and returns their names."""
    plot_class_f1(os.path.join(folder, "f1_by_class.png"), evaluation)
    plot_precision_recall(os.path.join(folder, "precision_recall.png"), table, evaluation)
    plot_calibration(os.path.join(folder, "calibration.png"), evaluation)
    plot_errors(os.path.join(folder, "errors.png"), evaluation)
    return ("f1_by_class.png", "precision_recall.png", "calibration.png", "errors.png")


def _save(figure: plt.Figure, path: str | os.PathLike) -> None:
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _tidy(axes: plt.Axes, grid: Literal["x", "both"] = "x", labelsize: float = 8) -> None:
    axes.grid(axis=grid, color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis=grid, labelsize=labelsize)


def _wrap(name: str, width: int, lines: int = 2) -> str:
    return "\n".join(textwrap.wrap(name, width, max_lines=lines, placeholder=" ..."))
