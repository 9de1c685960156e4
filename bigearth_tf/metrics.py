"""How good is a table of probabilities? Every score, from the whole table at once, by scikit-learn.

A score of parts cannot be averaged into the score of the whole: ratios do not add. So ranks gather their rows first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn import metrics

THRESHOLD = 0.5
_AVERAGES = ("micro", "macro", "weighted", "samples")
# Scores of which more is better: those that may choose the best checkpoint.
SELECTION_SCORES = (
    *(f"{average}_{score}" for average in _AVERAGES for score in ("precision", "recall", "f1", "f2", "jaccard")),
    "micro_average_precision",
    "macro_average_precision",
    "subset_accuracy",
)


def compute_scores(labels: np.ndarray, probabilities: np.ndarray, threshold: float = THRESHOLD) -> dict[str, float]:
    """Returns precision, recall, F1, F2 and Jaccard by average, average precision, Hamming loss, subset accuracy.

    Keys are `<average>_<score>`, such as "macro_f1". A ratio of 0 by 0 counts as 0. Average precision is over the
    classes that occur in `labels`: it has no value for the others.

    Args:
        labels: Multi-hot [N, K].
        probabilities: [N, K] in 0 ... 1; a class is predicted from `threshold` on.
        threshold: In 0 ... 1.
    """
    truth, predicted = labels.astype(bool), probabilities >= threshold
    scores: dict[str, float] = {}
    for average in _AVERAGES:
        options = {"average": average, "zero_division": 0}
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, predicted, **options)
        scores[f"{average}_precision"] = float(precision)
        scores[f"{average}_recall"] = float(recall)
        scores[f"{average}_f1"] = float(f1)
        scores[f"{average}_f2"] = float(metrics.fbeta_score(truth, predicted, beta=2, **options))
        scores[f"{average}_jaccard"] = float(metrics.jaccard_score(truth, predicted, **options))
    occurring = truth.any(axis=0)
    for average in ("micro", "macro"):
        scores[f"{average}_average_precision"] = float(
            metrics.average_precision_score(truth[:, occurring], probabilities[:, occurring], average=average)
        )
    scores["hamming_loss"] = float(metrics.hamming_loss(truth, predicted))
    scores["subset_accuracy"] = float(metrics.accuracy_score(truth, predicted))
    return scores


def compute_class_scores(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str], threshold: float = THRESHOLD
) -> dict[str, dict[str, float]]:
    """Returns precision, recall, F1 and support of each class, by name, in class order."""
    columns = metrics.precision_recall_fscore_support(
        labels.astype(bool), probabilities >= threshold, average=None, zero_division=0
    )
    keys = ("precision", "recall", "f1", "support")
    return {name: dict(zip(keys, map(float, row))) for name, *row in zip(class_names, *columns)}


def most_frequent_labels(class_counts: Sequence[int], num_records: int) -> tuple[int, ...]:
    """Returns the ascending indices of the labels that, always predicted, give the best micro F1 on these counts.

    With S predicted for each of N records, micro F1 is 2 n(S) / (N |S| + n), n(S) being the occurrences of S and n
    those of all labels: so the best S of a size are the most frequent ones, and only the size is to be found.
    """
    order = np.argsort(class_counts, kind="stable")[::-1]
    hits = np.cumsum(np.asarray(class_counts)[order])
    f1 = 2 * hits / (num_records * np.arange(1, len(order) + 1) + hits[-1])
    return tuple(sorted(int(index) for index in order[: int(np.argmax(f1)) + 1]))
