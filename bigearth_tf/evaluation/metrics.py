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
from sklearn import metrics

from bigearth_tf.data.label_kind import THRESHOLD, LabelKind
from bigearth_tf.evaluation.decision_scores import RATIOS, count_decisions, score_decisions

# The scores of a summary, and their titles. Each kind of labels has some of them.
MAIN_SCORES = {"accuracy": "accuracy", "micro_f1": "micro F1", "macro_f1": "macro F1"}
Score = Optional[float]


def selection_scores(label_kind: LabelKind) -> tuple[str, ...]:
    """Returns the names of the scores that may select the best checkpoint: those for which higher is better."""
    ratios = (f"{average}_{ratio}" for average in label_kind.averages for ratio in RATIOS)
    return (*ratios, "micro_average_precision", "macro_average_precision", label_kind.exact_score)


SELECTION_SCORES = selection_scores(LabelKind.MULTI)


def format_main_scores(scores: Mapping[str, float]) -> str:
    """Returns the `MAIN_SCORES` among the scores, as text."""
    return ", ".join(f"{title} {scores[name]:.3f}" for name, title in MAIN_SCORES.items() if name in scores)


def compute_scores(
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: Union[float, np.ndarray] = THRESHOLD,
    label_kind: LabelKind = LabelKind.MULTI,
) -> dict[str, float]:
    """Returns the scores that are cheap enough for every epoch: those of `selection_scores`, and the Hamming loss.

    They are precision, recall, F1, F2 and Jaccard for each average, such as "macro_f1"; average precision; and the
    share of records with every class correct. Average precision is 0 if no record has a label.

    Args:
        labels: Multi-hot or one-hot [N, K].
        probabilities: [N, K] in 0 ... 1.
        threshold: As in `LabelKind.decide`.
        label_kind: Only MULTI has a Hamming loss.
    """
    truth = labels.astype(bool)
    sums = count_decisions(truth, label_kind.decide(probabilities, threshold)).total()
    overall = score_decisions(sums, len(truth), label_kind).overall
    scores = {name: float(value) for name, (value,) in overall.items()}
    of_records = {name: scores.pop(name) for name in ("hamming_loss", label_kind.exact_score) if name in scores}
    scores["micro_average_precision"] = (
        float(metrics.average_precision_score(truth.ravel(), probabilities.ravel())) if truth.any() else 0.0
    )
    scores["macro_average_precision"] = mean_of_defined(class_average_precision(truth, probabilities)) or 0.0
    return {**scores, **of_records}


def compute_ranking_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Score]:
    """Returns the scores that depend only on the order of the probabilities; some take seconds for 10^5 records.

    They are average precision and AUROC, micro and macro; and, over the classes of each record, `ranking_loss` (the
    share of pairs of a present and an absent class that are in the wrong order; 0 for a record without such pairs),
    `coverage_error` (how many of the most probable classes include all present ones; 0 if none is present) and
    `label_ranking_average_precision` (1 if none is present).
    """
    truth = labels.astype(bool)
    both = truth.any() and not truth.all()
    rankable = probabilities.shape[1] > 1
    flat = truth.ravel(), probabilities.ravel()
    return {
        "micro_average_precision": float(metrics.average_precision_score(*flat)) if truth.any() else None,
        "macro_average_precision": mean_of_defined(class_average_precision(truth, probabilities)),
        "micro_auroc": float(metrics.roc_auc_score(*flat)) if both else None,
        "macro_auroc": mean_of_defined(class_auroc(truth, probabilities)),
        "ranking_loss": float(metrics.label_ranking_loss(truth, probabilities)) if rankable else None,
        "coverage_error": float(metrics.coverage_error(truth, probabilities)) if rankable else None,
        "label_ranking_average_precision": (
            float(metrics.label_ranking_average_precision_score(truth, probabilities)) if rankable else None
        ),
    }


def class_average_precision(truth: np.ndarray, probabilities: np.ndarray) -> list[Score]:
    """Returns the average precision of each class; None for a class that no record has."""
    return [
        float(metrics.average_precision_score(present, column)) if present.any() else None
        for present, column in zip(truth.astype(bool).T, probabilities.T)
    ]


def class_auroc(truth: np.ndarray, probabilities: np.ndarray) -> list[Score]:
    """Returns the area under the ROC curve of each class; None for a class that no record or every record has."""
    return [
        float(metrics.roc_auc_score(present, column)) if present.any() and not present.all() else None
        for present, column in zip(truth.astype(bool).T, probabilities.T)
    ]


def mean_of_defined(values: Sequence[Score]) -> Score:
    """Returns the mean of the values that are not None; None if all values are None."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def compute_class_scores(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    threshold: Union[float, np.ndarray] = THRESHOLD,
    label_kind: LabelKind = LabelKind.MULTI,
) -> dict[str, dict[str, Score]]:
    """Returns each class's precision, recall, F1, F2, Jaccard, support, average precision and AUROC, in class order.

    Classes of multi-label data also have their threshold.
    """
    truth = labels.astype(bool)
    sums = count_decisions(truth, label_kind.decide(probabilities, threshold)).total()
    by_class = score_decisions(sums, len(truth), label_kind).by_class
    columns = {name: values[0] for name, values in by_class.items()}
    columns["support"] = sums.present[0]
    if label_kind is LabelKind.MULTI:
        columns["threshold"] = np.broadcast_to(threshold, len(class_names))
    ranking = {"average_precision": class_average_precision(truth, probabilities)}
    ranking["auroc"] = class_auroc(truth, probabilities)
    return {
        name: {
            **{key: float(column[index]) for key, column in columns.items()},
            **{key: values[index] for key, values in ranking.items()},
        }
        for index, name in enumerate(class_names)
    }


def precision_recall_curve(present: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns precision and recall at every threshold, from recall 1 down to 0, of a class that some record has."""
    precision, recall, _ = metrics.precision_recall_curve(present.astype(bool), probabilities)
    return precision, recall


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
