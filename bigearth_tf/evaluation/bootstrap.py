"""How far could a score be off by the choice of patches? Scores of tables resampled by patch, many at once.

The bootstrap draws N of the N patches with replacement, again and again, and scores each draw. A draw is N weights: how
often each patch is in it. All ratios, from F1 to subset accuracy, depend on sums over patches only, so that one matrix
product of weights and per-patch counts gives them for every draw, exactly. Average precision and AUROC take a pass over
the sorted table a draw and class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.metrics import RATIOS

_BLOCK_BYTES = 64e6


def draw_weights(num_records: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yields blocks of draws, float64 [D, N]: how often each has each record. More `draws` begin alike.

    Args:
        num_records: N.
        draws: Rows over all blocks together.
        seed: Decides them.
    """
    rng = np.random.default_rng(seed)
    block = max(1, int(_BLOCK_BYTES / 8 / num_records))
    for start in range(0, draws, block):
        rows = (rng.integers(num_records, size=num_records) for _ in range(min(block, draws - start)))
        yield np.stack([np.bincount(row, minlength=num_records).astype(np.float64) for row in rows])


def interval(samples: np.ndarray, share: float = 0.95) -> tuple[float, float] | None:
    """Returns the percentile interval of the draws [D]; None where the score has no value in any.

    Draws in which it has none (NaN: of a rare class, none is drawn) are left out.
    """
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, [50 * (1 - share), 50 * (1 + share)])
    return float(low), float(high)


def ratios(true_positive: np.ndarray, predicted: np.ndarray, present: np.ndarray) -> dict[str, np.ndarray]:
    """Returns precision, recall, F1, F2 and Jaccard of counts, elementwise; 0 by 0 is 0."""
    denominators = {
        "precision": predicted,
        "recall": present,
        "f1": (predicted + present) / 2,
        "f2": (predicted + 4 * present) / 5,
        "jaccard": predicted + present - true_positive,
    }
    return {name: true_positive / np.where(below > 0, below, 1) for name, below in denominators.items()}


def countable(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns what `scores_of_sums` needs the sums of, float64 [N, 3 K + 7].

    Args:
        truth: Bool [N, K].
        predicted: Bool [N, K].
    """
    hits = truth & predicted
    own = ratios(*(counts.sum(axis=1) for counts in (hits, predicted, truth)))
    wrong = (truth != predicted).sum(axis=1)
    columns = [hits, predicted, truth, *(own[name][:, np.newaxis] for name in RATIOS)]
    return np.hstack([*columns, wrong[:, np.newaxis], (wrong == 0)[:, np.newaxis]]).astype(np.float64)


def scores_of_sums(
    sums: np.ndarray, num_records: int, label_kind: LabelKind = LabelKind.MULTI
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the scores of draws by name [D], and those of each class [D, K].

    Args:
        sums: Weights times `countable`, [D, 3 K + 7].
        num_records: N.
        label_kind: Decides which scores.
    """
    num_classes = (sums.shape[1] - len(RATIOS) - 2) // 3
    hits, predicted, present, means = np.split(sums, [num_classes * step for step in (1, 2, 3)], axis=1)
    classes = ratios(hits, predicted, present)
    total = ratios(hits.sum(axis=1), predicted.sum(axis=1), present.sum(axis=1))
    share = present / np.maximum(present.sum(axis=1, keepdims=True), 1)
    by_average = {
        "micro": total,
        "macro": {name: values.mean(axis=1) for name, values in classes.items()},
        "weighted": {name: (values * share).sum(axis=1) for name, values in classes.items()},
        "samples": {name: means[:, index] / num_records for index, name in enumerate(RATIOS)},
    }
    scores = {f"{average}_{name}": by_average[average][name] for average in label_kind.averages for name in RATIOS}
    if label_kind is LabelKind.MULTI:
        scores["hamming_loss"] = means[:, -2] / (num_records * num_classes)
    scores[label_kind.exact_score] = means[:, -1] / num_records
    return scores, classes


def draw_sums(tables: Sequence[np.ndarray], draws: int, seed: int) -> list[np.ndarray]:
    """Returns the sums of the columns of each table [N, C] in the same draws, [D, C] each."""
    columns = np.hstack(tables)
    sums = np.vstack([weights @ columns for weights in draw_weights(len(columns), draws, seed)])
    return np.split(sums, np.cumsum([table.shape[1] for table in tables])[:-1], axis=1)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Rows from the likeliest down: the `record` of each, whether it is `present`, and the last row of each tie."""

    record: np.ndarray
    present: np.ndarray
    tie_ends: np.ndarray

    def score(self, weights: np.ndarray) -> tuple[float, float]:
        """Returns average precision and AUROC of records that count `weights` [N] times; NaN where it has no value."""
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


def rank(labels: np.ndarray, probabilities: np.ndarray, average: str = "class") -> list[Ranking]:
    """Returns the ranking of each class, or with "micro" that of all classes together.

    Args:
        labels: Multi-hot [N, K].
        probabilities: [N, K].
        average: "class" or "micro".
    """
    if average == "micro":
        return [_rank(labels.ravel() > 0, probabilities.ravel(), labels.shape[1])]
    return [_rank(present > 0, column, 1) for present, column in zip(labels.T, probabilities.T)]


def _rank(present: np.ndarray, probabilities: np.ndarray, rows_per_record: int) -> Ranking:
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    tie_ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return Ranking(order // rows_per_record, present[order], tie_ends)


def draw_rankings(rankings: Sequence[Ranking], num_records: int, draws: int, seed: int) -> np.ndarray:
    """Returns average precision and AUROC of each ranking in the draws of `draw_weights`, [D, len(rankings), 2]."""
    blocks = draw_weights(num_records, draws, seed)
    return np.array([[ranking.score(row) for ranking in rankings] for weights in blocks for row in weights])


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes that have a value (not NaN) of each draw [D, K]; NaN where none has."""
    defined = ~np.isnan(values)
    return np.where(defined, values, 0).sum(axis=1) / np.where(defined.any(axis=1), defined.sum(axis=1), np.nan)
