"""Comparison of two models on the same patches: the difference of their scores, its interval, and its p-value.

It is a paired bootstrap: both tables are resampled by the same draws of patches, so that the difficulty of a patch,
which both models share, cancels.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from bigearth_tf.data.label_kind import THRESHOLD, LabelKind
from bigearth_tf.evaluation import bootstrap
from bigearth_tf.evaluation.decision_scores import count_decisions, score_decisions
from bigearth_tf.evaluation.metric_table import Metric, list_metrics
from bigearth_tf.evaluation.metrics import (
    compute_ranking_scores,
    find_classes_without_records,
    format_classes_without_records,
)
from bigearth_tf.evaluation.prediction_table import (
    NamedPredictions,
    Predictions,
    check_probabilities,
    read_predictions,
)
from bigearth_tf.evaluation.ranking_scores import RANK_BY_AVERAGE, compute_record_values, mean_over_classes
from bigearth_tf.evaluation.report import read_tuned_thresholds

Pair = tuple[NamedPredictions, NamedPredictions]


def comparable_metrics(label_kind: LabelKind) -> dict[str, Metric]:
    """Returns the scores by which two models can be compared, by name."""
    return {metric.name: metric for metric in list_metrics(label_kind)}


def compare_evaluations(
    paths: tuple[str, str], metric: str, thresholds: str = "fixed", *, draws: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Returns the result of `compare` for two stored tables, with the `thresholds` that were used.

    Args:
        paths: Folders of evaluations, or their `predictions.parquet`.
        metric: One of `comparable_metrics`.
        thresholds: "fixed" for 0.5, "tuned" for those in the `evaluation.json` next to each table.
        draws: Number of draws of the bootstrap.
        seed: Seed of the bootstrap.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is not a table or has no tuned thresholds, or the tables cannot be compared.
    """
    first, second = map(read_predictions, paths)
    check_comparable(first, second)
    values: tuple[Any, Any] = (THRESHOLD, THRESHOLD)
    if thresholds == "tuned":
        folders = [path if os.path.isdir(path) else os.path.dirname(path) for path in paths]
        values = tuple(read_tuned_thresholds(folder, first.class_names) for folder in folders)  # type: ignore[assignment]
    return {**compare((first, second), metric, values, draws=draws, seed=seed), "thresholds": thresholds}


def compare(
    pair: Pair,
    metric: str,
    thresholds: tuple[Any, Any] = (THRESHOLD, THRESHOLD),
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns both scores, their difference `second - first` with its 95 % interval, and its p-value.

    The p-value is two-sided: twice the share of draws in which the difference is 0 or has the other sign, with one
    added to both counts. It is at least 2 / (draws + 1).

    Args:
        pair: Tables of two models on the same patches, labels and classes.
        metric: Name of one of `comparable_metrics`.
        thresholds: Those of the first and of the second model, as in `LabelKind.decide`.
        draws: Number of draws of the bootstrap.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: The tables do not have the same patches, labels and classes; or the metric is unknown or has no
            value.
    """
    check_comparable(*pair)
    label_kind = pair[0].label_kind
    allowed = comparable_metrics(label_kind)
    if metric not in allowed:
        raise ValueError(f"metric={metric!r}: unknown for {label_kind}-label data; allowed: {', '.join(allowed)}.")
    row = allowed[metric]
    (first, first_drawn), (second, second_drawn) = (
        _draw(predictions, row, threshold, draws, seed) for predictions, threshold in zip(pair, thresholds)
    )
    return {
        "metric": metric,
        "lower_is_better": row.lower_is_better,
        "num_records": len(pair[0].table.patch_ids),
        "num_classes": len(pair[0].class_names),
        "classes_without_records": find_classes_without_records(pair[0].table.labels, pair[0].class_names),
        "first": first,
        "second": second,
        "difference": second - first,
        **_test_significance(second_drawn - first_drawn),
        "seed": seed,
    }


def _test_significance(differences: np.ndarray) -> dict[str, Any]:
    """Returns interval and p-value of the draws in which both scores have a value."""
    differences = differences[~np.isnan(differences)]
    other_sign = min(np.sum(differences <= 0), np.sum(differences >= 0))
    p_value = min(1.0, 2 * float(other_sign + 1) / (len(differences) + 1))
    bounds = bootstrap.compute_interval(differences)
    if bounds is None:
        raise ValueError(
            "The difference has no interval: in every draw, one of the two scores has no value, because classes are "
            "too rare. Give more --draws, or choose a micro score."
        )
    return {"low": bounds[0], "high": bounds[1], "p_value": p_value, "draws": len(differences)}


def _draw(
    predictions: NamedPredictions, metric: Metric, threshold: Any, draws: int, seed: int
) -> tuple[float, np.ndarray]:
    """Returns a score of a table, and that of each draw [D]; all tables of as many records have the same draws."""
    table, label_kind = predictions.table, predictions.label_kind
    check_probabilities(table)
    if metric.of_decisions:
        return _draw_decision_score(table, metric, label_kind, threshold, draws, seed)
    value = compute_ranking_scores(table.labels, table.probabilities, label_kind)[metric.name]
    if value is None:
        raise ValueError(f"metric={metric.name!r} has no value on these records: {metric.reason}.")
    if metric.average is None:
        column = compute_record_values(table.labels, table.probabilities)[metric.row][:, np.newaxis]
        return value, bootstrap.draw_columns(column, draws, seed)[:, 0] / len(table.labels)
    rankings = RANK_BY_AVERAGE[metric.average](table.labels, table.probabilities)
    drawn = bootstrap.draw_rankings(rankings, [metric.row], len(table.labels), draws, seed)
    return value, mean_over_classes(drawn[metric.row])


def _draw_decision_score(
    table: Predictions, metric: Metric, label_kind: LabelKind, threshold: Any, draws: int, seed: int
) -> tuple[float, np.ndarray]:
    num_records = len(table.labels)
    counts = count_decisions(table.labels > 0, label_kind.decide(table.probabilities, threshold))
    whole, (drawn,) = counts.total(), bootstrap.draw_sums([counts], draws, seed)
    value = score_decisions(whole, num_records, label_kind).overall[metric.name][0]
    return float(value), score_decisions(drawn, num_records, label_kind, whole).overall[metric.name]


def check_comparable(first: NamedPredictions, second: NamedPredictions) -> None:
    """Checks that two tables have the same classes, patches and labels.

    Raises:
        ValueError: They differ; the message names the difference.
    """
    if first.label_kind != second.label_kind:
        raise ValueError(f"The first table is {first.label_kind}-label, the second {second.label_kind}-label.")
    if first.class_names != second.class_names:
        only = [sorted(set(a.class_names) - set(b.class_names)) for a, b in ((first, second), (second, first))]
        if any(only):
            raise ValueError(f"The classes differ: only the first has {only[0]}, only the second has {only[1]}.")
        raise ValueError("The classes are the same but in another order.")
    ids = [set(predictions.table.patch_ids.tolist()) for predictions in (first, second)]
    if ids[0] != ids[1]:
        here, there = _shorten(ids[0] - ids[1]), _shorten(ids[1] - ids[0])
        raise ValueError(f"The patches differ: only the first has {here}; only the second has {there}.")
    differs = (first.table.labels > 0) != (second.table.labels > 0)
    if differs.any():
        row, column = np.argwhere(differs)[0]
        raise ValueError(
            f"The labels of {differs.any(axis=1).sum()} patches differ, those of {first.table.patch_ids[row]} first: "
            f"in {first.class_names[column]!r}."
        )


def _shorten(names: set[str]) -> str:
    return f"{len(names)} ({min(names)}{', ...' if len(names) > 1 else ''})" if names else "none"


def format_comparison(comparison: dict[str, Any], names: tuple[str, str]) -> str:
    """Returns the result of `compare_evaluations` as text; `names` are those of the models."""
    better = " (lower is better)" if comparison["lower_is_better"] else ""
    note = ""
    if comparison["metric"].startswith("macro"):
        note = format_classes_without_records(
            comparison["classes_without_records"], comparison["num_classes"], "these records"
        )
    verdict = "differ significantly" if comparison["p_value"] < 0.05 else "do not differ significantly"
    return "\n".join(
        [
            f"{comparison['metric']}{better} on {comparison['num_records']:,} patches, "
            f"thresholds: {comparison['thresholds']}",
            f"first   {comparison['first']:.4f}  {names[0]}",
            f"second  {comparison['second']:.4f}  {names[1]}",
            f"second - first  {comparison['difference']:+.4f}, "
            f"95 % interval {comparison['low']:+.4f} ... {comparison['high']:+.4f}, "
            f"p = {comparison['p_value']:.4f} ({comparison['draws']:,} draws)",
            f"At the 5 % level the two models {verdict}.",
            *([note] if note else []),
        ]
    )
