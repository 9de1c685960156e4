"""Scores of the order of records by probability: those of each class, and those of all classes together.

A score that is not defined, such as the average precision of a class without records, is NaN, and is left out of the
average over classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from bigearth_tf.evaluation.metric_table import RANK_METRICS, RANKINGS, ClassRanks, Tally


@dataclasses.dataclass(frozen=True)
class Ranking:
    """M pairs of a record and a class, by descending probability.

    `record` [M] is the index of the record, `present` bool [M] whether it has the class, and `tie_ends` the last row of
    each group of equal probabilities.
    """

    record: np.ndarray
    present: np.ndarray
    tie_ends: np.ndarray

    def tally(self, weights: np.ndarray | None = None) -> Tally:
        """Returns the counts down to each probability when record n counts `weights[n]` times; once by default."""
        drawn = np.ones(len(self.record)) if weights is None else weights[self.record]
        return Tally(np.cumsum(drawn)[self.tie_ends], np.cumsum(drawn * self.present)[self.tie_ends])


def rank_records(labels: np.ndarray, probabilities: np.ndarray) -> list[Ranking]:
    """Returns the ranking of the records by each class.

    Args:
        labels: Multi-hot [N, K].
        probabilities: [N, K].
    """
    return [_rank_pairs(present > 0, column, 1) for present, column in zip(labels.T, probabilities.T)]


def rank_all_pairs(labels: np.ndarray, probabilities: np.ndarray) -> list[Ranking]:
    """Returns, as a list of one, the ranking of all pairs of a record and a class; arguments as in `rank_records`."""
    return [_rank_pairs(labels.ravel() > 0, probabilities.ravel(), labels.shape[1])]


# Average of `RANKINGS` -> its rankings; the score is the mean of their scores.
RANK_BY_AVERAGE = {"micro": rank_all_pairs, "macro": rank_records}


def _rank_pairs(present: np.ndarray, probabilities: np.ndarray, rows_per_record: int) -> Ranking:
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    tie_ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return Ranking(order // rows_per_record, present[order], tie_ends)


def score_ranking(ranking: Ranking, names: Iterable[str], weights: np.ndarray | None = None) -> list[float]:
    """Returns the named scores, of `RANKINGS`, of a ranking in which record n counts `weights[n]` times."""
    tally = ranking.tally(weights)
    return [RANKINGS[name].compute(tally) for name in names]


def score_rankings(rankings: Sequence[Ranking], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the named scores, of `RANKINGS`, of each of R rankings: name -> [R]."""
    scores = np.array([score_ranking(ranking, names) for ranking in rankings])
    return {name: scores[:, column] for column, name in enumerate(names)}


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the last axis of the values that are not NaN; NaN where there is none."""
    defined = ~np.isnan(values)
    return np.where(defined, values, 0).sum(axis=-1) / np.where(defined.any(axis=-1), defined.sum(axis=-1), np.nan)


def compute_record_values(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Returns each of `RANK_METRICS` of each record, name -> [N]; NaN if there is only one class.

    Args:
        labels: Multi-hot [N, K].
        probabilities: [N, K].
    """
    if labels.shape[1] == 1:
        return {name: np.full(len(labels), np.nan) for name in RANK_METRICS}
    truth = labels.astype(bool)
    among_all, among_present = np.zeros((2, *truth.shape), np.int64)
    for column in range(truth.shape[1]):
        above = probabilities >= probabilities[:, column, np.newaxis]
        among_all[:, column] = above.sum(axis=1)
        among_present[:, column] = (above & truth).sum(axis=1)
    ranks = ClassRanks(among_all, among_present, truth)
    return {name: metric.compute(ranks) for name, metric in RANK_METRICS.items()}


def precision_recall_curve(present: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns precision and recall at every threshold, from recall 1 down to 0, of a class that some record has."""
    tally = _rank_pairs(present.astype(bool), probabilities, 1).tally()
    precision, recall = tally.hits / tally.predicted, tally.hits / tally.hits[-1]
    return np.append(precision[::-1], 1.0), np.append(recall[::-1], 0.0)
