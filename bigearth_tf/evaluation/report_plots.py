"""Plots of an evaluation: F1 by class, precision-recall curves, calibration, and errors by pairs of classes."""

from __future__ import annotations

import math
import os
import textwrap
from typing import Any, Literal, NamedTuple, Optional

import matplotlib
import numpy as np

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.prediction_table import Predictions
from bigearth_tf.evaluation.ranking_scores import precision_recall_curve

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

_DPI = 110
# Okabe and Ito's colors, which people can distinguish whatever their color vision (https://jfly.uni-koeln.de/color/).
_COLORS = {"fixed": "#0072b2", "tuned": "#d55e00"}
_LABELS = {"fixed": "threshold 0.5", "tuned": "threshold tuned on validation"}
# The scale of colors ends at the largest share, but not below this one: a few errors should not look like many.
_MIN_SCALE_END = 0.1


def plot_evaluation(folder: str | os.PathLike, table: Predictions, evaluation: dict[str, Any]) -> tuple[str, ...]:
    """Writes every plot of an evaluation into a folder, and returns their file names."""
    plot_class_f1(os.path.join(folder, "f1_by_class.png"), evaluation)
    plot_precision_recall(os.path.join(folder, "precision_recall.png"), table, evaluation)
    plot_calibration(os.path.join(folder, "calibration.png"), evaluation)
    plot_errors(os.path.join(folder, "errors.png"), evaluation)
    return ("f1_by_class.png", "precision_recall.png", "calibration.png", "errors.png")


def plot_class_f1(path: str | os.PathLike, evaluation: dict[str, Any]) -> None:
    """Writes a PNG with one row per class, the most frequent at the top: F1, its interval, and the support."""
    rows = sorted(evaluation["classes"].items(), key=lambda item: -item[1]["support"])
    kinds = list(evaluation["decisions"])
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.42 * len(rows)), layout="constrained")
    places = np.arange(len(rows))
    for number, kind in enumerate(kinds):
        offset = 0.26 * (number - (len(kinds) - 1) / 2)
        _draw_f1_of_classes(axes, places + offset, [row[kind]["f1"] for _, row in rows], evaluation, kind)
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


def _draw_f1_of_classes(
    axes: plt.Axes, places: np.ndarray, scores: list[dict[str, float]], evaluation: dict[str, Any], kind: str
) -> None:
    # A class without records has no interval.
    values, low, high = (np.array([score.get(key, np.nan) for score in scores]) for key in ("value", "low", "high"))
    mean = evaluation["decisions"][kind]["scores"]["macro_f1"]["value"]
    axes.errorbar(
        values,
        places,
        # The interval of a rare class may not contain the value.
        xerr=np.maximum([values - low, high - values], 0),
        fmt="o",
        markersize=4.5,
        capsize=2,
        linewidth=1.2,
        color=_COLORS[kind],
        label=f"{_label_of(evaluation, kind)}; macro F1 {mean:.3f}",
    )
    axes.axvline(mean, color=_COLORS[kind], linewidth=0.8, linestyle=":", zorder=0)


class _Curve(NamedTuple):
    """A panel of the precision-recall plot; `name` is None for the panel of all classes together."""

    title: str
    present: np.ndarray
    probabilities: np.ndarray
    name: Optional[str]


def plot_precision_recall(path: str | os.PathLike, table: Predictions, evaluation: dict[str, Any]) -> None:
    """Writes a PNG of precision over recall and the points of the thresholds: all classes together, then each class."""
    curves = [_Curve("all classes together", table.labels.ravel(), table.probabilities.ravel(), None)]
    curves += [
        _Curve(name, present, probabilities, name)
        for name, present, probabilities in zip(evaluation["classes"], table.labels.T, table.probabilities.T)
    ]
    columns = math.ceil(math.sqrt(len(curves)))
    rows = math.ceil(len(curves) / columns)
    size = (2.6 * columns, 2.75 * rows + 0.4)
    figure, grid = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    cells = grid.ravel()
    for axes in cells[len(curves) :]:
        axes.set_axis_off()
    for axes, curve in zip(cells, curves):
        axes.set_title(_wrap(curve.title, 32, lines=3), fontsize=7.5)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
        _tidy(axes, grid="both", labelsize=7)
        _draw_curve(axes, curve, evaluation)
    for axes in cells[: len(curves)][-columns:]:  # The last cell of each column.
        axes.tick_params(labelbottom=True)
    figure.supxlabel("recall", fontsize=9)
    figure.supylabel("precision", fontsize=9)
    handles, labels = cells[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, ncols=len(labels), loc="outside upper left")
    _save(figure, path)


def _draw_curve(axes: plt.Axes, curve: _Curve, evaluation: dict[str, Any]) -> None:
    present, name = curve.present, curve.name
    if not present.any():
        axes.text(0.5, 0.5, "no record\nhas this class", ha="center", va="center", fontsize=8, color="0.4")
        return
    precision, recall = precision_recall_curve(present, curve.probabilities)
    axes.step(recall, precision, where="pre", color="0.25", linewidth=1.3)
    axes.axhline(
        present.mean(), color="0.6", linewidth=0.8, linestyle=":", label="share of records that have the class"
    )
    for kind, marker in zip(evaluation["decisions"], ("o", "D")):
        scores = evaluation["classes"][name][kind] if name else evaluation["decisions"][kind]["scores"]
        # If each record gets one class, precision and recall of all classes together equal the accuracy.
        keys = ("recall", "precision") if name else ("micro_recall", "micro_precision")
        point = [scores[key if key in scores else "accuracy"]["value"] for key in keys]
        label = _label_of(evaluation, kind)
        axes.plot(*point, marker, color=_COLORS[kind], markersize=5, label=label, clip_on=False, linestyle="none")
    ranked = evaluation["classes"][name] if name else evaluation["ranking"]
    value = ranked["average_precision" if name else "micro_average_precision"]["value"]
    text = f"AP {value:.2f}\n{int(present.sum()):,} present"
    axes.text(0.04, 0.05, text, fontsize=7, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})


def plot_calibration(path: str | os.PathLike, evaluation: dict[str, Any]) -> None:
    """Writes a PNG of the true share over the probability, a histogram of probabilities, and each class's error."""
    figure = plt.figure(figsize=(12.5, max(5.2, 0.9 + 0.31 * len(evaluation["classes"]))), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1), height_ratios=(3, 1))
    diagram = figure.add_subplot(grid[0, 0])
    _draw_reliability(diagram, evaluation)
    _draw_histogram(figure.add_subplot(grid[1, 0], sharex=diagram), evaluation["calibration"]["bins"])
    errors = {name: row["expected_calibration_error"] for name, row in evaluation["classes"].items()}
    _draw_class_errors(figure.add_subplot(grid[:, 1]), errors)
    _save(figure, path)


def _draw_reliability(axes: plt.Axes, evaluation: dict[str, Any]) -> None:
    calibration = evaluation["calibration"]
    means, shares = ([row[key] for row in calibration["bins"]] for key in ("mean_probability", "share_true"))
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.9, linestyle=":")
    axes.plot(means, shares, "o-", color=_COLORS["fixed"], markersize=4.5, linewidth=1.2)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_ylabel("share that is true", fontsize=8)
    multi = evaluation["label_kind"] == LabelKind.MULTI
    unit = "each class of each record" if multi else "the most probable class of each record"
    error = calibration["expected_calibration_error"]
    axes.set_title(f"All predictions ({unit})\nexpected calibration error {error:.4f}", fontsize=9, loc="left")
    axes.text(0.03, 0.93, "above the line: underconfident;  below: overconfident", fontsize=7, color="0.4")
    _tidy(axes, grid="both")


def _draw_histogram(axes: plt.Axes, bins: list[dict[str, float]]) -> None:
    starts, counts = ([row[key] for row in bins] for key in ("from", "count"))
    width = bins[0]["to"] - bins[0]["from"]
    axes.bar(starts, counts, width, align="edge", color=_COLORS["fixed"], edgecolor="white", linewidth=0.5)
    axes.set_yscale("log")
    axes.set_ylabel("predictions", fontsize=8)
    axes.set_xlabel("predicted probability", fontsize=8)
    _tidy(axes, grid="both")


def _draw_class_errors(axes: plt.Axes, errors: dict[str, float]) -> None:
    names = sorted(errors, key=lambda name: -errors[name])
    drawn = axes.barh(range(len(names)), [errors[name] for name in names], height=0.62, color=_COLORS["fixed"])
    axes.bar_label(drawn, [f"{errors[name]:.3f}" for name in names], fontsize=7, padding=2)
    axes.set_yticks(range(len(names)), [_wrap(name, 50) for name in names], fontsize=7.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.1)
    axes.set_title("Expected calibration error by class", fontsize=9, loc="left")
    _tidy(axes)


class _ErrorTable(NamedTuple):
    """Counts [rows, columns] of records, and their totals by row; `unit` names what a total counts."""

    title: str
    columns: list[str]
    counts: np.ndarray
    totals: np.ndarray
    unit: str


def _tabulate_errors(evaluation: dict[str, Any], names: list[str]) -> _ErrorTable:
    decision = evaluation["decisions"]["fixed"]
    if evaluation["label_kind"] == LabelKind.MULTI:
        errors = decision["errors"]
        return _ErrorTable(
            "Records in which the class of the row is missed: share in which that of the column is predicted wrongly",
            [*names, "no class is predicted wrongly"],
            np.column_stack([errors["predicted_instead"], errors["nothing_instead"]]),
            np.array(errors["missed"]),
            "missed",
        )
    counts = np.array(decision["confusion_matrix"])
    title = "Records of the class of the row: share for which that of the column is predicted"
    return _ErrorTable(title, names, counts, counts.sum(axis=1), "records")


def plot_errors(path: str | os.PathLike, evaluation: dict[str, Any]) -> None:
    """Writes a PNG with one row per class: which classes are predicted wrongly in the records that miss it.

    For single-label data it is the confusion matrix, as shares of each true class.
    """
    names = list(evaluation["classes"])
    table = _tabulate_errors(evaluation, names)
    shares = table.counts / np.maximum(table.totals, 1)[:, np.newaxis]
    scale_end = max(_MIN_SCALE_END, float(shares.max()))
    size = 0.37 * len(names)
    figure, axes = plt.subplots(figsize=(size + 4.8, size + 3.4), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=scale_end, aspect="auto")
    _write_shares(axes, shares, 0.6 * scale_end)
    axes.set_xticks(range(len(table.columns)), [_wrap(name, 38) for name in table.columns], fontsize=7, rotation=55,
                    ha="left", rotation_mode="anchor")  # fmt: skip
    axes.xaxis.tick_top()
    rows = [f"{_wrap(name, 46)}, {count:,} {table.unit}" for name, count in zip(names, table.totals.tolist())]
    axes.set_yticks(range(len(names)), rows, fontsize=6.8)
    axes.tick_params(length=0)
    if len(table.columns) > len(names):
        axes.axvline(len(names) - 0.5, color="white", linewidth=3)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=30, format=PercentFormatter(1.0, decimals=0, symbol=" %"))
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    figure.supxlabel(f"{table.title}, in %", fontsize=8)
    _save(figure, path)


def _write_shares(axes: plt.Axes, shares: np.ndarray, dark_from: float) -> None:
    for row, column in zip(*np.nonzero(shares >= 0.005)):
        color = "white" if shares[row, column] > dark_from else "0.15"
        text = f"{100 * shares[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)


def _label_of(evaluation: dict[str, Any], kind: str) -> str:
    return _LABELS[kind] if evaluation["label_kind"] == LabelKind.MULTI else "most probable class"


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
