"""Bootstrap over patches: draws of a table's records, their scores, and percentile intervals.

The bootstrap draws N of the N patches with replacement, many times, and scores each draw. A draw is N weights: how
often it contains each patch. All scores of decisions, from F1 to subset accuracy, depend on sums over patches only, so
one matrix product of weights and per-patch counts gives their exact values for every draw. Average precision and AUROC
need a pass over the sorted table for each draw and class.

A draw of few patches lacks rare classes by chance. A class has no value in such a draw, and averages over classes are
those over the classes that the draw contains: if such classes counted as 0, every interval would be too low.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from bigearth_tf.evaluation.decision_scores import DecisionSums
from bigearth_tf.evaluation.ranking_scores import Ranking, score_ranking

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
    sums = draw_columns(columns, draws, seed)
    ends = np.cumsum([column.shape[1] for table in tables for column in table])
    parts = iter(np.split(sums, ends[:-1], axis=1))
    return [DecisionSums(*itertools.islice(parts, len(table))) for table in tables]


def draw_columns(columns: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Returns the sums of columns of numbers [N, M] over the records of each draw, [D, M]."""
    return np.vstack([weights @ columns for weights in draw_weights(len(columns), draws, seed)])


def draw_rankings(
    rankings: Sequence[Ranking], names: Sequence[str], num_records: int, draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Returns the named scores, of `RANKINGS`, of each ranking in the draws of `draw_weights`: name -> [D, R]."""
    scores = [
        [score_ranking(ranking, names, row) for ranking in rankings]
        for weights in draw_weights(num_records, draws, seed)
        for row in weights
    ]
    return {name: np.array(scores)[:, :, column] for column, name in enumerate(names)}
