"""Scores of a table of labels and probabilities, each computed from the whole table.

The mean of the scores of parts is not the score of the whole, because ratios do not add. Ranks therefore gather their
rows first.

Average precision is undefined for a class without records, AUROC for a class of no record or of every record: such a
score is None and left out of the macro average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional, Union

import numpy as np

from bigearth_tf.data.label_kind import THRESHOLD, LabelKind
from bigearth_tf.evaluation.decision_scores import count_decisions, score_decisions
from bigearth_tf.evaluation.metric_table import MAIN_SCORES, RANKINGS, Metric, list_metrics, title_of
from bigearth_tf.evaluation.ranking_scores import (
    RANK_BY_AVERAGE,
    compute_record_values,
    mean_over_classes,
    rank_records,
    score_rankings,
)

Score = Optional[float]


def format_main_scores(scores: Mapping[str, float]) -> str:
    """Returns the `MAIN_SCORES` among the scores as text.

    The macro F1 of the classes with records is left out where it equals the macro F1.
    """
    shown = {name: scores[name] for name in MAIN_SCORES if name in scores}
    if shown.get("macro_present_f1") == shown.get("macro_f1"):
        shown.pop("macro_present_f1", None)
    return ", ".join(f"{title_of(name)} {value:.3f}" for name, value in shown.items())


def find_classes_without_records(labels: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Returns the names of the classes that no record has, in class order.

    Args:
        labels: Multi-hot [N, K].
        class_names: K names.
    """
    return [name for name, present in zip(class_names, labels.any(axis=0)) if not present]


def format_classes_without_records(names: Sequence[str], num_classes: int, split: str) -> str:
    """Returns a sentence about the classes that no record of a split has, and their part in macro scores; or ""."""
    if not names:
        return ""
    return (
        f"{len(names)} of {num_classes} classes have no record in {split}: they count as 0 in macro scores, and are "
        "left out of macro (classes with records)."
    )


def compute_scores(
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: Union[float, np.ndarray] = THRESHOLD,
    label_kind: LabelKind = LabelKind.MULTI,
) -> dict[str, float]:
    """Returns the scores that are cheap enough for every epoch, of `list_metrics`.

    Average precision is 0 if no record has a label.

    Args:
        labels: Multi-hot or one-hot [N, K].
        probabilities: [N, K] in 0 ... 1.
        threshold: As in `LabelKind.decide`.
        label_kind: Kind of the labels.
    """
    metrics = [metric for metric in list_metrics(label_kind) if metric.every_epoch]
    truth = labels.astype(bool)
    sums = count_decisions(truth, label_kind.decide(probabilities, threshold)).total()
    decided = score_decisions(sums, len(truth), label_kind).overall
    others = _compute_others(labels, probabilities, [metric for metric in metrics if not metric.of_decisions])
    return {
        metric.name: float(decided[metric.name][0]) if metric.of_decisions else others[metric.name] or 0.0
        for metric in metrics
    }


def compute_ranking_scores(
    labels: np.ndarray, probabilities: np.ndarray, label_kind: LabelKind = LabelKind.MULTI
) -> dict[str, Score]:
    """Returns the scores of `list_metrics` that depend only on the order of the probabilities; None if undefined."""
    metrics = [metric for metric in list_metrics(label_kind) if not metric.of_decisions]
    return _compute_others(labels, probabilities, metrics)


def _compute_others(labels: np.ndarray, probabilities: np.ndarray, metrics: Sequence[Metric]) -> dict[str, Score]:
    """Returns scores that do not depend on decisions."""
    found: dict[str, float] = {}
    for average, rank in RANK_BY_AVERAGE.items():
        rows = [metric.row for metric in metrics if metric.average == average]
        if rows:
            scores = score_rankings(rank(labels, probabilities), rows)
            found.update({f"{average}_{row}": float(mean_over_classes(values)) for row, values in scores.items()})
    if any(metric.average is None for metric in metrics):
        values = compute_record_values(labels, probabilities)
        found.update({name: float(column.mean()) for name, column in values.items()})
    return {metric.name: to_score(found[metric.name]) for metric in metrics}


def to_score(value: float) -> Score:
    """Returns a value, or None in place of NaN."""
    return None if np.isnan(value) else float(value)


def compute_class_scores(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    threshold: Union[float, np.ndarray] = THRESHOLD,
    label_kind: LabelKind = LabelKind.MULTI,
) -> dict[str, dict[str, Score]]:
    """Returns each class's `RATIOS`, support and `RANKINGS`, in class order.

    Classes of multi-label data also have their threshold.
    """
    truth = labels.astype(bool)
    sums = count_decisions(truth, label_kind.decide(probabilities, threshold)).total()
    by_class = score_decisions(sums, len(truth), label_kind).by_class
    columns = {name: values[0] for name, values in by_class.items()}
    columns["support"] = sums.present[0]
    if label_kind is LabelKind.MULTI:
        columns["threshold"] = np.broadcast_to(threshold, len(class_names))
    columns.update(score_rankings(rank_records(labels, probabilities), list(RANKINGS)))
    return {
        name: {key: to_score(column[index]) for key, column in columns.items()}
        for index, name in enumerate(class_names)
    }


def most_frequent_labels(class_counts: Sequence[int], num_records: int) -> tuple[int, ...]:
    """Returns the ascending indices of the labels that give the best micro F1 when predicted for every record.

    If the set S is predicted for each of N records, micro F1 is 2 n(S) / (N |S| + n), where n(S) counts the occurrences
    of the labels in S, and n those of all labels. So the best S of a given size has the most frequent labels, and only
    the size has to be found.
    """
    order = np.argsort(class_counts, kind="stable")[::-1]
    hits = np.cumsum(np.asarray(class_counts)[order])
    f1 = 2 * hits / (num_records * np.arange(1, len(order) + 1) + hits[-1])
    return tuple(sorted(int(index) for index in order[: int(np.argmax(f1)) + 1]))
