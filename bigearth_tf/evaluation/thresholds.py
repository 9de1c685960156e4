"""Thresholds tuned on validation records: for each class, the one with the best F1."""

from __future__ import annotations

import numpy as np

from bigearth_tf.data.label_kind import THRESHOLD


def tune_thresholds(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the threshold of each class that maximizes its F1 on these records, float32 [K].

    Each threshold lies halfway between two probabilities that occur. Of equally good thresholds, it is the nearest to
    `THRESHOLD`. A class that no record has keeps `THRESHOLD`, because every threshold gives it an F1 of 0.

    Args:
        labels: Multi-hot [N, K], of the validation split; never those of the records that will be scored.
        probabilities: [N, K] in 0 ... 1.
    """
    return np.array(
        [_tune(present, column) for present, column in zip(labels.astype(bool).T, probabilities.T)], dtype=np.float32
    )


def _tune(present: np.ndarray, probabilities: np.ndarray) -> np.float32:
    if not present.any():
        return np.float32(THRESHOLD)
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float32)
    # No threshold separates records of equal probability: only the last of each such group is a candidate.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    hits = np.cumsum(present[order])[ends]
    # F1 is 2 hits / sizes. Candidates equal to the best one are found in integers, so that rounding does not decide.
    sizes = ends + 1 + present.sum()
    best = int(np.argmax(hits / sizes))
    ends = ends[hits * sizes[best] == hits[best] * sizes]
    lowest_predicted = ranked[ends]
    highest_rejected = np.append(ranked, np.float32(0))[ends + 1]
    middle = (lowest_predicted + highest_rejected) / np.float32(2)
    # Two neighboring floats have no middle.
    candidates = np.where(middle > highest_rejected, middle, lowest_predicted)
    if ((highest_rejected < THRESHOLD) & (lowest_predicted >= THRESHOLD)).any():
        return np.float32(THRESHOLD)
    return candidates[np.argmin(np.abs(candidates - THRESHOLD))]
