"""Scores of decisions from sums over records: the ratios by class and by average, and the means over records.

The ratio 0 / 0 counts as 0: a class that is neither present nor predicted has F1 0, also in "macro" averages; the
averages "macro_present" leave out the classes that no record has.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.metric_table import DECISION_METRICS, RATIOS, Counts


def compute_ratios(counts: Counts) -> dict[str, np.ndarray]:
    """Returns each of `RATIOS` of counts, elementwise; 0 / 0 is 0."""
    denominators = {name: ratio.denominator(counts) for name, ratio in RATIOS.items()}
    return {name: counts.true_positive / np.where(below > 0, below, 1) for name, below in denominators.items()}


class DecisionSums(NamedTuple):
    """R rows of sums over records. Each row determines every score; a row may be one record.

    `true_positive`, `predicted` and `present` [R, K] count the records of each class. `record_ratios` is the sum of the
    `RATIOS` of the single records, and `record_values` that of the `DECISION_METRICS`, a column for each.
    """

    true_positive: np.ndarray
    predicted: np.ndarray
    present: np.ndarray
    record_ratios: np.ndarray
    record_values: np.ndarray

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
    values = [metric.compute(truth, predicted) for metric in DECISION_METRICS.values()]
    columns = (hits, predicted, truth, np.stack(list(own.values()), axis=1), np.stack(values, axis=1))
    return DecisionSums(*(column.astype(np.float64) for column in columns))


def score_decisions(
    sums: DecisionSums, num_records: int, label_kind: LabelKind, drawn_from: Optional[DecisionSums] = None
) -> DecisionScores:
    """Returns the scores of R tables of `num_records` records each: those of `list_metrics` that depend on decisions.

    Draws of a bootstrap are other tables than the one they are drawn from: they lack rare classes by chance. If
    `drawn_from` is given, a class that a draw lacks has no value in it (NaN), and macro averages are those over the
    classes that the draw contains, times the share of classes that have records in the whole table.

    Args:
        sums: Sums of the R tables.
        num_records: Number of records of each table.
        label_kind: Kind of the labels.
        drawn_from: If the rows are draws, the sums of the whole table, one row.
    """
    counts = sums.class_counts
    present, num_classes = counts.present > 0, counts.present.shape[1]
    by_class = compute_ratios(counts)
    share = counts.present / np.maximum(counts.present.sum(axis=1, keepdims=True), 1)
    found = present.sum(axis=1)
    expected = found if drawn_from is None else (drawn_from.present > 0).sum(axis=1)
    # A table without labels has ratios of 0; in such a draw they have no value.
    unknown = 0.0 if drawn_from is None else np.nan

    def average(means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.where(found > 0, values, unknown) for name, values in means.items()}

    totals = {name: values.sum(axis=1, where=present) for name, values in by_class.items()}
    some = np.maximum(found, 1)
    by_average = {
        "micro": average(compute_ratios(Counts(*(column.sum(axis=1) for column in counts)))),
        "macro": average({name: total * (expected / some) / num_classes for name, total in totals.items()}),
        "macro_present": average({name: total / some for name, total in totals.items()}),
        "weighted": average({name: (values * share).sum(axis=1) for name, values in by_class.items()}),
        "samples": dict(zip(RATIOS, sums.record_ratios.T / num_records)),
    }
    overall = {f"{kind}_{name}": by_average[kind][name] for kind in label_kind.averages for name in RATIOS}
    for (name, metric), column in zip(DECISION_METRICS.items(), sums.record_values.T):
        if label_kind in metric.label_kinds:
            overall[name] = column / num_records
    if drawn_from is not None:
        by_class = {name: np.where(present, values, np.nan) for name, values in by_class.items()}
    return DecisionScores(overall, by_class)
