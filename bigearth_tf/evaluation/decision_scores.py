"""Scores of decisions: precision, recall, F1, F2, Jaccard, accuracy and Hamming loss, from sums over records.

The ratio 0 / 0 counts as 0: a class that is neither present nor predicted has F1 0, also in macro averages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bigearth_tf.data.label_kind import LabelKind


class Counts(NamedTuple):
    """Numbers of records (of a class) or of classes (of a record)."""

    true_positive: np.ndarray
    predicted: np.ndarray
    present: np.ndarray


# Ratio -> its denominator; the numerator is the true positives TP. F_b is (1 + b^2) TP / (predicted + b^2 present).
_DENOMINATORS: dict[str, Callable[[Counts], np.ndarray]] = {
    "precision": lambda counts: counts.predicted,
    "recall": lambda counts: counts.present,
    "f1": lambda counts: (counts.predicted + counts.present) / 2,
    "f2": lambda counts: (counts.predicted + 4 * counts.present) / 5,
    "jaccard": lambda counts: counts.predicted + counts.present - counts.true_positive,
}
RATIOS = tuple(_DENOMINATORS)


def compute_ratios(counts: Counts) -> dict[str, np.ndarray]:
    """Returns each of `RATIOS` of counts, elementwise; 0 / 0 is 0."""
    denominators = {name: denominator(counts) for name, denominator in _DENOMINATORS.items()}
    return {name: counts.true_positive / np.where(below > 0, below, 1) for name, below in denominators.items()}


class DecisionSums(NamedTuple):
    """R rows of sums over records. Each row determines every score; a row may be one record.

    `true_positive`, `predicted` and `present` [R, K] count the records of each class. `record_ratios` [R, 5] is the sum
    of the `RATIOS` of the single records, `wrong` [R, 1] the number of their wrong classes, and `exact` [R, 1] the
    number of records without a wrong class.
    """

    true_positive: np.ndarray
    predicted: np.ndarray
    present: np.ndarray
    record_ratios: np.ndarray
    wrong: np.ndarray
    exact: np.ndarray

    @property
    def class_counts(self) -> Counts:
        """The counts of each class, [R, K]."""
        return Counts(self.true_positive, self.predicted, self.present)

    def total(self) -> DecisionSums:
        """Returns the sums over all rows, as one row."""
        return DecisionSums(*(column.sum(axis=0, keepdims=True) for column in self))


class DecisionScores(NamedTuple):
    """Scores by name: `overall` [R], and the `RATIOS` of each class, `by_class` [R, K]."""

    overall: dict[str, np.ndarray]
    by_class: dict[str, np.ndarray]


def count_decisions(truth: np.ndarray, predicted: np.ndarray) -> DecisionSums:
    """Returns one row per record, float64.

    Args:
        truth: Bool [N, K].
        predicted: Bool [N, K].
    """
    hits = truth & predicted
    own = compute_ratios(Counts(*(table.sum(axis=1) for table in (hits, predicted, truth))))
    wrong = (truth != predicted).sum(axis=1, keepdims=True)
    columns = (hits, predicted, truth, np.stack([own[name] for name in RATIOS], axis=1), wrong, wrong == 0)
    return DecisionSums(*(column.astype(np.float64) for column in columns))


def score_decisions(sums: DecisionSums, num_records: int, label_kind: LabelKind) -> DecisionScores:
    """Returns the scores of R tables of `num_records` records each.

    They are the `RATIOS` by average, such as "macro_f1"; the Hamming loss of multi-label data; and the share of records
    with every class correct, under the name `label_kind.exact_score`.
    """
    counts = sums.class_counts
    num_classes = counts.present.shape[1]
    by_class = compute_ratios(counts)
    share = counts.present / np.maximum(counts.present.sum(axis=1, keepdims=True), 1)
    by_average = {
        "micro": compute_ratios(Counts(*(column.sum(axis=1) for column in counts))),
        "macro": {name: values.mean(axis=1) for name, values in by_class.items()},
        "weighted": {name: (values * share).sum(axis=1) for name, values in by_class.items()},
        "samples": dict(zip(RATIOS, sums.record_ratios.T / num_records)),
    }
    overall = {f"{average}_{name}": by_average[average][name] for average in label_kind.averages for name in RATIOS}
    if label_kind is LabelKind.MULTI:
        overall["hamming_loss"] = sums.wrong[:, 0] / (num_records * num_classes)
    overall[label_kind.exact_score] = sums.exact[:, 0] / num_records
    return DecisionScores(overall, by_class)
