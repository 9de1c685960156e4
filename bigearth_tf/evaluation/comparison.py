"""Is one model better than another on the same patches, or could the choice of patches have made the difference?

Paired bootstrap: both tables are resampled by the same draws of patches, so that what is hard for both cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bigearth_tf.data.label_kind import THRESHOLD, LabelKind
from bigearth_tf.evaluation import bootstrap
from bigearth_tf.evaluation.metrics import compute_ranking_scores, compute_scores, selection_scores
from bigearth_tf.evaluation.prediction_table import StoredPredictions, check_finite

# Name -> (of which ranking, column of `Ranking.score`).
_RANKING_METRICS = {
    f"{average}_{score}": (average, column)
    for average in ("micro", "macro")
    for column, score in enumerate(("average_precision", "auroc"))
}


def comparable_metrics(label_kind: LabelKind) -> tuple[str, ...]:
    """Returns the scores that two models can be compared by; more is better of each."""
    return tuple(dict.fromkeys((*selection_scores(label_kind), *_RANKING_METRICS)))


def compare(
    first: StoredPredictions,
    second: StoredPredictions,
    metric: str,
    *,
    thresholds: tuple[Any, Any] = (THRESHOLD, THRESHOLD),
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns both scores, their difference `second - first` with its 95 % interval, and its p-value.

    The p-value is two-sided: twice the share of draws, one added to both counts, in which the difference is 0 or has
    the other sign. It is at least 2 / (draws + 1).

    Args:
        first: A model's table.
        second: Another's, of the same patches, labels and classes.
        metric: One of `comparable_metrics`.
        thresholds: Of the first and the second, as of `LabelKind.decide`.
        draws: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: The tables are not of the same patches, labels and classes; or the metric is unknown or
            has no value.
    """
    check_comparable(first, second)
    allowed = comparable_metrics(first.label_kind)
    if metric not in allowed:
        raise ValueError(
            f"metric={metric!r}: unknown for {first.label_kind}-label data; allowed: {', '.join(allowed)}."
        )
    values = [_value(stored, metric, threshold) for stored, threshold in zip((first, second), thresholds)]
    drawn = _draw((first, second), metric, thresholds, draws, seed)
    return {
        "metric": metric,
        "num_records": len(first.table.patch_ids),
        "first": values[0],
        "second": values[1],
        "difference": values[1] - values[0],
        **_significance(drawn[1] - drawn[0]),
        "seed": seed,
    }


def _significance(differences: np.ndarray) -> dict[str, Any]:
    """Returns interval and p-value of the draws in which both scores have a value."""
    differences = differences[~np.isnan(differences)]
    other_sign = min(np.sum(differences <= 0), np.sum(differences >= 0))
    p_value = min(1.0, 2 * float(other_sign + 1) / (len(differences) + 1))
    found = bootstrap.interval(differences)
    if found is None:
        raise ValueError("In no draw do both scores have a value: their classes are too rare. Ask for more draws.")
    return {"low": found[0], "high": found[1], "p_value": p_value, "draws": len(differences)}


def _value(stored: StoredPredictions, metric: str, threshold: Any) -> float:
    table = stored.table
    check_finite(table)
    if metric not in _RANKING_METRICS:
        return compute_scores(table.labels, table.probabilities, threshold, stored.label_kind)[metric]
    value = compute_ranking_scores(table.labels, table.probabilities)[metric]
    if value is None:
        raise ValueError(
            f"metric={metric!r} has no value on these records: no class has both a record and one without."
        )
    return value


def _draw(
    pair: tuple[StoredPredictions, StoredPredictions], metric: str, thresholds: tuple[Any, Any], draws: int, seed: int
) -> list[np.ndarray]:
    """Returns the score of each of the two in the same draws, [D] each."""
    label_kind, num_records = pair[0].label_kind, len(pair[0].table.patch_ids)
    if metric in _RANKING_METRICS:
        average, column = _RANKING_METRICS[metric]
        scores = []
        for stored in pair:
            rankings = bootstrap.rank(stored.table.labels, stored.table.probabilities, average)
            drawn = bootstrap.draw_rankings(rankings, num_records, draws, seed)
            scores.append(bootstrap.mean_of_defined(drawn[:, :, column]))
        return scores
    tables = [
        bootstrap.countable(stored.table.labels > 0, label_kind.decide(stored.table.probabilities, threshold))
        for stored, threshold in zip(pair, thresholds)
    ]
    sums = bootstrap.draw_sums(tables, draws, seed)
    return [bootstrap.scores_of_sums(rows, num_records, label_kind)[0][metric] for rows in sums]


def check_comparable(first: StoredPredictions, second: StoredPredictions) -> None:
    """Checks that two tables are answers to the same questions.

    Raises:
        ValueError: Classes, patches or labels differ; the message says which.
    """
    if first.label_kind != second.label_kind:
        raise ValueError(f"The first table is {first.label_kind}-label, the second {second.label_kind}-label.")
    if first.class_names != second.class_names:
        only = [sorted(set(a.class_names) - set(b.class_names)) for a, b in ((first, second), (second, first))]
        if any(only):
            raise ValueError(f"Other classes: only the first has {only[0]}, only the second has {only[1]}.")
        raise ValueError("The classes are the same but in another order.")
    ids = [set(stored.table.patch_ids.tolist()) for stored in (first, second)]
    if ids[0] != ids[1]:
        only = [sorted(ids[0] - ids[1]), sorted(ids[1] - ids[0])]
        raise ValueError(f"Other patches: only the first has {_some(only[0])}; only the second has {_some(only[1])}.")
    differs = (first.table.labels > 0) != (second.table.labels > 0)
    if differs.any():
        row, column = np.argwhere(differs)[0]
        raise ValueError(
            f"Other labels: {differs.any(axis=1).sum()} patches are labelled otherwise, the first of them "
            f"{first.table.patch_ids[row]} in {first.class_names[column]!r}."
        )


def _some(names: list[str]) -> str:
    return f"{len(names)} ({names[0]}{', ...' if len(names) > 1 else ''})" if names else "none"
