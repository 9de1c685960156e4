"""How good is a table of probabilities? Every score, from the whole table at once, by scikit-learn.

A score of parts cannot be averaged into the score of the whole: ratios do not add. So ranks gather their rows first.

What has no value: a ratio of 0 by 0 counts as 0 (a class that is neither present nor predicted has F1 0, and counts so
in macro averages). A class of which no record is present has no average precision, one of which none or all are
present has no AUROC; both are None, and left out of the macro average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional, Union

import numpy as np
from sklearn import metrics

from bigearth_tf.data.label_kind import THRESHOLD, LabelKind

# What a person is told first: score -> its title. Not every kind of labels has each.
HEADLINES = {"accuracy": "accuracy", "micro_f1": "micro F1", "macro_f1": "macro F1"}
RATIOS = ("precision", "recall", "f1", "f2", "jaccard")
Score = Optional[float]


def selection_scores(label_kind: LabelKind) -> tuple[str, ...]:
    """Returns the scores of which more is better: those that may choose the best checkpoint."""
    ratios = (f"{average}_{ratio}" for average in label_kind.averages for ratio in RATIOS)
    return (*ratios, "micro_average_precision", "macro_average_precision", label_kind.exact_score)


SELECTION_SCORES = selection_scores(LabelKind.MULTI)


def headline(scores: Mapping[str, float]) -> str:
    """Returns the scores that a person is told first, as text."""
    return ", ".join(f"{title} {scores[name]:.3f}" for name, title in HEADLINES.items() if name in scores)


def compute_scores(
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: Union[float, np.ndarray] = THRESHOLD,
    label_kind: LabelKind = LabelKind.MULTI,
) -> dict[str, float]:
    """Returns the scores that are cheap enough for every epoch: those of `selection_scores`, and the Hamming loss.

    They are precision, recall, F1, F2 and Jaccard by average, such as "macro_f1"; average precision; and the share of
    records with every class right. Average precision is 0 where no record has a label.

    Args:
        labels: Multi-hot or one-hot [N, K].
        probabilities: [N, K] in 0 ... 1.
        threshold: As of `LabelKind.decide`.
        label_kind: MULTI alone has the Hamming loss.
    """
    truth, predicted = labels.astype(bool), label_kind.decide(probabilities, threshold)
    scores: dict[str, float] = {}
    for average in label_kind.averages:
        options = {"average": average, "zero_division": 0}
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, predicted, **options)
        f2 = metrics.fbeta_score(truth, predicted, beta=2, **options)
        jaccard = metrics.jaccard_score(truth, predicted, **options)
        values = map(float, (precision, recall, f1, f2, jaccard))
        scores.update(zip((f"{average}_{ratio}" for ratio in RATIOS), values))
    scores["micro_average_precision"] = (
        float(metrics.average_precision_score(truth.ravel(), probabilities.ravel())) if truth.any() else 0.0
    )
    scores["macro_average_precision"] = mean_of_defined(class_average_precision(truth, probabilities)) or 0.0
    if label_kind is LabelKind.MULTI:
        scores["hamming_loss"] = float(metrics.hamming_loss(truth, predicted))
    scores[label_kind.exact_score] = float(metrics.accuracy_score(truth, predicted))
    return scores


def compute_ranking_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Score]:
    """Returns the scores that look at the order of probabilities alone; some take seconds for 10^5 records.

    Average precision and AUROC, micro and macro; and, over the classes of each record, `ranking_loss` (the share of
    pairs of a present and an absent class in the wrong order; 0 for a record without such pairs), `coverage_error`
    (how many of the likeliest classes it takes to have all present ones; 0 where none is present) and
    `label_ranking_average_precision` (1 where none is present).
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
    """Returns the average precision of each class, None for one that no record has."""
    return [
        float(metrics.average_precision_score(present, column)) if present.any() else None
        for present, column in zip(truth.astype(bool).T, probabilities.T)
    ]


def class_auroc(truth: np.ndarray, probabilities: np.ndarray) -> list[Score]:
    """Returns the area under the receiver operating characteristic of each class, None where none or all have it."""
    return [
        float(metrics.roc_auc_score(present, column)) if present.any() and not present.all() else None
        for present, column in zip(truth.astype(bool).T, probabilities.T)
    ]


def mean_of_defined(values: Sequence[Score]) -> Score:
    """Returns the mean of those that are not None; None where all are."""
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

    Multi-label data have the threshold beside them.
    """
    truth, predicted = labels.astype(bool), label_kind.decide(probabilities, threshold)
    options = {"average": None, "zero_division": 0}
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, predicted, **options)
    columns = {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "f2": metrics.fbeta_score(truth, predicted, beta=2, **options),
        "jaccard": metrics.jaccard_score(truth, predicted, **options),
        "support": support,
    }
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


def confusion_matrix(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns how often each class was taken for each, int [K, K]: a row a true class, a column a predicted one.

    Args:
        labels: One-hot [N, K].
        probabilities: [N, K].
    """
    truth, predicted = np.argmax(labels, axis=1), np.argmax(probabilities, axis=1)
    return metrics.confusion_matrix(truth, predicted, labels=np.arange(labels.shape[1]))


def precision_recall_curve(present: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns precision and recall at every threshold, from recall 1 down to 0, of one class that some record has."""
    precision, recall, _ = metrics.precision_recall_curve(present.astype(bool), probabilities)
    return precision, recall


def most_frequent_labels(class_counts: Sequence[int], num_records: int) -> tuple[int, ...]:
    """Returns the ascending indices of the labels that, always predicted, give the best micro F1 on these counts.

    With S predicted for each of N records, micro F1 is 2 n(S) / (N |S| + n), n(S) being the occurrences of S and n
    those of all labels: so the best S of a size are the most frequent ones, and only the size is to be found.
    """
    order = np.argsort(class_counts, kind="stable")[::-1]
    hits = np.cumsum(np.asarray(class_counts)[order])
    f1 = 2 * hits / (num_records * np.arange(1, len(order) + 1) + hits[-1])
    return tuple(sorted(int(index) for index in order[: int(np.argmax(f1)) + 1]))
