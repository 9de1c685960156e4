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
from bigearth_tf.evaluation.metrics import compute_ranking_scores, compute_scores, selection_scores
from bigearth_tf.evaluation.prediction_table import NamedPredictions, check_probabilities, read_predictions
from bigearth_tf.evaluation.report import read_tuned_thresholds

# Name -> (average over the classes, column of `Ranking.score`).
_RANKING_METRICS = {
    f"{average}_{score}": (average, column)
    for average in ("micro", "macro")
    for column, score in enumerate(("average_precision", "auroc"))
}
Pair = tuple[NamedPredictions, NamedPredictions]


def comparable_metrics(label_kind: LabelKind) -> tuple[str, ...]:
    """Returns the names of the scores by which two models can be compared; higher is better."""
    return tuple(dict.fromkeys((*selection_scores(label_kind), *_RANKING_METRICS)))


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
        metric: One of `comparable_metrics`.
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
    first, second = (_compute(predictions, metric, value) for predictions, value in zip(pair, thresholds))
    if metric in _RANKING_METRICS:
        drawn = _draw_ranking_scores(pair, metric, draws, seed)
    else:
        drawn = _draw_decision_scores(pair, metric, thresholds, draws, seed)
    return {
        "metric": metric,
        "num_records": len(pair[0].table.patch_ids),
        "first": first,
        "second": second,
        "difference": second - first,
        **_test_significance(drawn[1] - drawn[0]),
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


def _compute(predictions: NamedPredictions, metric: str, threshold: Any) -> float:
    table = predictions.table
    check_probabilities(table)
    if metric not in _RANKING_METRICS:
        return compute_scores(table.labels, table.probabilities, threshold, predictions.label_kind)[metric]
    value = compute_ranking_scores(table.labels, table.probabilities)[metric]
    if value is None:
        raise ValueError(
            f"metric={metric!r} has no value on these records: no class has both a record with it and a record "
            "without it."
        )
    return value


def _draw_ranking_scores(pair: Pair, metric: str, draws: int, seed: int) -> list[np.ndarray]:
    """Returns the score of each of the two in the same draws, [D] each."""
    average, column = _RANKING_METRICS[metric]
    scores = []
    for table in (predictions.table for predictions in pair):
        kind = "micro" if average == "micro" else "class"
        rankings = bootstrap.rank_records(table.labels, table.probabilities, kind)
        drawn = bootstrap.draw_rankings(rankings, len(table.patch_ids), draws, seed)
        scores.append(bootstrap.mean_of_defined(drawn[:, :, column]))
    return scores


def _draw_decision_scores(
    pair: Pair, metric: str, thresholds: tuple[Any, Any], draws: int, seed: int
) -> list[np.ndarray]:
    """Returns the score of each of the two in the same draws, [D] each."""
    label_kind, num_records = pair[0].label_kind, len(pair[0].table.patch_ids)
    counts = [
        count_decisions(predictions.table.labels > 0, label_kind.decide(predictions.table.probabilities, threshold))
        for predictions, threshold in zip(pair, thresholds)
    ]
    drawn = bootstrap.draw_sums(counts, draws, seed)
    return [score_decisions(sums, num_records, label_kind).overall[metric] for sums in drawn]


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
    verdict = "differ significantly" if comparison["p_value"] < 0.05 else "do not differ significantly"
    return "\n".join(
        [
            f"{comparison['metric']} on {comparison['num_records']:,} patches, thresholds: {comparison['thresholds']}",
            f"first   {comparison['first']:.4f}  {names[0]}",
            f"second  {comparison['second']:.4f}  {names[1]}",
            f"second - first  {comparison['difference']:+.4f}, "
            f"95 % interval {comparison['low']:+.4f} ... {comparison['high']:+.4f}, "
            f"p = {comparison['p_value']:.4f} ({comparison['draws']:,} draws)",
            f"At the 5 % level the two models {verdict}.",
        ]
    )
