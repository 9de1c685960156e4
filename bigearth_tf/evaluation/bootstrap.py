"""Bootstrap over patches: draws of a table's records, their scores, and percentile intervals.

The bootstrap draws N of the N patches with replacement, many times, and scores each draw. A draw is N weights: how
often it contains each patch. All scores of decisions, from F1 to subset accuracy, depend on sums over patches only, so
one matrix product of weights and per-patch counts gives their exact values for every draw. Average precision and AUROC
need a pass over the sorted table for each draw and class.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from bigearth_tf.evaluation.decision_scores import DecisionSums

_BLOCK_BYTES = 64e6


def draw_weights(num_records: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yields blocks of draws, float64 [D, N]: how often each draw contains each record.

    More draws have the same first rows.

    Args:
        num_records: N.
        draws: Number of rows of all blocks together.
        seed: Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    block = max(1, int(_BLOCK_BYTES / 8 / num_records))
    for start in range(0, draws, block):
        rows = (rng.integers(num_records, size=num_records) for _ in range(min(block, draws - start)))
        yield np.stack([np.bincount(row, minlength=num_records).astype(np.float64) for row in rows])


def compute_interval(samples: np.ndarray, share: float = 0.95) -> tuple[float, float] | None:
    """Returns the percentile interval of the draws [D]; None if the score has no value in any draw.

    Draws in which it has no value (NaN, when no record of a rare class is drawn) are left out.
    """
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, [50 * (1 - share), 50 * (1 + share)])
    return float(low), float(high)


def draw_sums(tables: Sequence[DecisionSums], draws: int, seed: int) -> list[DecisionSums]:
    """Returns the sums [D, ...] of each table of N records in the same D draws."""
    columns = np.hstack([column for table in tables for column in table])
    sums = np.vstack([weights @ columns for weights in draw_weights(len(columns), draws, seed)])
    ends = np.cumsum([column.shape[1] for table in tables for column in table])
    parts = iter(np.split(sums, ends[:-1], axis=1))
    return [DecisionSums(*itertools.islice(parts, len(table))) for table in tables]


@dataclasses.dataclass(frozen=True)
class Ranking:
    """M pairs of a record and a class, by descending probability.

    `record` [M] is the index of the record, `present` bool [M] whether it has the class, and `tie_ends` the last row of
    each group of equal probabilities.
    """

    record: np.ndarray
    present: np.ndarray
    tie_ends: np.ndarray

    def score(self, weights: np.ndarray) -> tuple[float, float]:
        """Returns average precision and AUROC when record n counts `weights[n]` times; NaN if a score has no value."""
        drawn = weights[self.record]
        predicted = np.cumsum(drawn)[self.tie_ends]
        hits = np.cumsum(drawn * self.present)[self.tie_ends]
        new_hits = np.diff(hits, prepend=0)
        present, absent = hits[-1], predicted[-1] - hits[-1]
        if not present:
            return np.nan, np.nan
        average_precision = np.sum(new_hits * hits / np.maximum(predicted, 1)) / present
        if not absent:
            return average_precision, np.nan
        new_misses = np.diff(predicted - hits, prepend=0)
        return average_precision, np.sum(new_misses * (hits - new_hits / 2)) / (present * absent)


def rank_records(labels: np.ndarray, probabilities: np.ndarray, average: str = "class") -> list[Ranking]:
    """Returns the ranking of each class, or one ranking of all classes together.

    Args:
        labels: Multi-hot [N, K].
        probabilities: [N, K].
        average: "class" for a ranking of each class, "micro" for one of all.
    """
    if average == "micro":
        return [_rank_pairs(labels.ravel() > 0, probabilities.ravel(), labels.shape[1])]
    return [_rank_pairs(present > 0, column, 1) for present, column in zip(labels.T, probabilities.T)]


def _rank_pairs(present: np.ndarray, probabilities: np.ndarray, rows_per_record: int) -> Ranking:
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    tie_ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return Ranking(order // rows_per_record, present[order], tie_ends)


def draw_rankings(rankings: Sequence[Ranking], num_records: int, draws: int, seed: int) -> np.ndarray:
    """Returns average precision and AUROC of each ranking in the draws of `draw_weights`, [D, len(rankings), 2]."""
    blocks = draw_weights(num_records, draws, seed)
    return np.array([[ranking.score(row) for ranking in rankings] for weights in blocks for row in weights])


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Returns the mean of each draw [D, K] over the classes that have a value (not NaN); NaN if no class has one."""
    defined = ~np.isnan(values)
    return np.where(defined, values, 0).sum(axis=1) / np.where(defined.any(axis=1), defined.sum(axis=1), np.nan)
