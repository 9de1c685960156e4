"""Plots of an evaluation: F1 by class, precision-recall curves, and errors by pairs of classes."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.calibration_plot import plot_calibration
from bigearth_tf.evaluation.prediction_table import Predictions
from bigearth_tf.evaluation.ranking_scores import precision_recall_curve
from bigearth_tf.runtime.figures import BLUE, VERMILION, save_figure, tidy, wrap

_COLORS = {"fixed": BLUE, "tuned": VERMILION}
_LABELS = {"fixed": "threshold 0.5", "tuned": "threshold tuned on validation"}
# The scale of colors ends at the largest share, but not below this one: a few errors should not look like many.
_MIN_SCALE_END = 0.1
# Points of a curve, which may have one for each record.
_CURVE_POINTS = 1000


def plot_evaluation(folder: str | os.PathLike, table: Predictions, evaluation: dict[str, Any]) -> tuple[str, ...]:
    """Writes every plot of an evaluation into a folder, as PNG and as PDF; returns the names of the PNG files first."""
    stem = Path(folder)
    paths = (
        plot_class_f1(stem / "f1_by_class", evaluation),
        plot_precision_recall(stem / "precision_recall", table, evaluation),
        plot_calibration(stem / "calibration", evaluation, describe(evaluation)),
        plot_errors(stem / "errors", evaluation),
    )
    return tuple(path.name for same_kind in zip(*paths) for path in same_kind)


def describe(evaluation: dict[str, Any]) -> str:
    """Returns the title of every plot: the model, the data set, the split and its number of records."""
    about = evaluation["about"]
    return f"{about['model']} on {about['dataset']}, {about['split']} ({evaluation['num_records']:,} records)"


def plot_class_f1(stem: Path, evaluation: dict[str, Any]) -> tuple[Path, ...]:
    """Writes a figure with one row per class, the most frequent at the top: F1, its interval, and the support."""
    rows = sorted(evaluation["classes"].items(), key=lambda item: -item[1]["support"])
    kinds = list(evaluation["decisions"])
    figure, axes = plt.subplots(figsize=(9, 1.7 + 0.42 * len(rows)), layout="constrained")
    places = np.arange(len(rows))
    for number, kind in enumerate(kinds):
        offset = 0.26 * (number - (len(kinds) - 1) / 2)
        _draw_f1_of_classes(axes, places + offset, [row[kind]["f1"] for _, row in rows], evaluation, kind)
    for place, (_, row) in zip(places, rows):
        if not row["support"]:
            axes.text(0.01, place, "no record has this class", fontsize=7, color="0.4", va="center")
    axes.set_yticks(places, [wrap(name, 50) for name, _ in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    support = axes.secondary_yaxis("right")
    support.set_yticks(places, [f"{row['support']:,}" for _, row in rows], fontsize=8)
    support.tick_params(length=0)
    support.spines[:].set_visible(False)
    support.set_ylabel(f"records that have the class, of {evaluation['num_records']:,}", fontsize=8)
    axes.set_xlabel("F1, with its 95 % bootstrap interval over patches; dotted: macro F1", fontsize=8)
    tidy(axes)
    axes.set_title(describe(evaluation), fontsize=9, loc="left")
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, frameon=False, ncols=2, loc="outside upper left")
    return save_figure(figure, stem)


def _draw_f1_of_classes(
    axes: plt.Axes, places: np.ndarray, scores: list[dict[str, float]], evaluation: dict[str, Any], kind: str
) -> None:
    # A class without records has no interval, and is not drawn.
    values, low, high = (
        np.array([score[key] if "low" in score else np.nan for score in scores]) for key in ("value", "low", "high")
    )
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


def plot_precision_recall(stem: Path, table: Predictions, evaluation: dict[str, Any]) -> tuple[Path, ...]:
    """Writes a figure of precision over recall, with the thresholds' points: all classes together, then each class."""
    curves = [_Curve("all classes together", table.labels.ravel(), table.probabilities.ravel(), None)]
    curves += [
        _Curve(name, present, probabilities, name)
        for name, present, probabilities in zip(evaluation["classes"], table.labels.T, table.probabilities.T)
    ]
    columns = math.ceil(math.sqrt(len(curves)))
    rows = math.ceil(len(curves) / columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(max(2.6 * columns, 7.5), 2.85 * rows + 0.7),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    cells = grid.ravel()
    for axes in cells[len(curves) :]:
        axes.set_axis_off()
    for axes, curve in zip(cells, curves):
        axes.set_title(wrap(curve.title, 44), fontsize=7.5)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
        tidy(axes, grid="both", labelsize=7)
        _draw_curve(axes, curve, evaluation)
    for axes in cells[: len(curves)][-columns:]:  # The last cell of each column.
        axes.tick_params(labelbottom=True)
    figure.supxlabel("recall", fontsize=9)
    figure.supylabel("precision", fontsize=9)
    handles, labels = cells[0].get_legend_handles_labels()
    figure.legend(handles, labels, title=describe(evaluation), title_fontsize=9, fontsize=8, frameon=False,
                  ncols=len(labels), loc="outside upper center")  # fmt: skip
    return save_figure(figure, stem)


def _draw_curve(axes: plt.Axes, curve: _Curve, evaluation: dict[str, Any]) -> None:
    present, name = curve.present, curve.name
    if not present.any():
        axes.text(0.5, 0.5, "no record\nhas this class", ha="center", va="center", fontsize=8, color="0.4")
        return
    precision, recall = precision_recall_curve(present, curve.probabilities)
    kept = np.unique(np.linspace(0, len(recall) - 1, _CURVE_POINTS).round().astype(int))
    axes.step(recall[kept], precision[kept], where="pre", color="0.25", linewidth=1.3)
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


def plot_errors(stem: Path, evaluation: dict[str, Any]) -> tuple[Path, ...]:
    """Writes a figure with one row per class: which classes are predicted wrongly in the records that miss it.

    For single-label data it is the confusion matrix, as shares of each true class.
    """
    names = list(evaluation["classes"])
    table = _tabulate_errors(evaluation, names)
    shares = table.counts / np.maximum(table.totals, 1)[:, np.newaxis]
    scale_end = max(_MIN_SCALE_END, float(shares.max()))
    size = 0.37 * len(names)
    figure, axes = plt.subplots(figsize=(max(size + 5.2, 8.5), size + 3.9), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=scale_end, aspect="auto")
    _write_shares(axes, shares, 0.6 * scale_end)
    columns = [wrap(name, 46) for name in table.columns]
    axes.set_xticks(range(len(columns)), columns, fontsize=7, rotation=90, linespacing=1.1)
    axes.xaxis.tick_top()
    rows = [wrap(f"{name}, {count:,} {table.unit}", 56) for name, count in zip(names, table.totals.tolist())]
    axes.set_yticks(range(len(names)), rows, fontsize=6.8, linespacing=1.05)
    axes.tick_params(length=0)
    if len(table.columns) > len(names):
        axes.axvline(len(names) - 0.5, color="white", linewidth=3)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=30, format=PercentFormatter(1.0, decimals=0, symbol=" %"))
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    figure.suptitle(describe(evaluation), fontsize=9)
    figure.supxlabel(wrap(f"{table.title}, in %", round(20 * (size + 5.2))), fontsize=8)
    return save_figure(figure, stem)


def _write_shares(axes: plt.Axes, shares: np.ndarray, dark_from: float) -> None:
    for row, column in zip(*np.nonzero(shares >= 0.005)):
        color = "white" if shares[row, column] > dark_from else "0.15"
        text = f"{100 * shares[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)


def _label_of(evaluation: dict[str, Any], kind: str) -> str:
    return _LABELS[kind] if evaluation["label_kind"] == LabelKind.MULTI else "most probable class"
