"""From which probability on is a class given? For each class the threshold with the best F1 on validation records."""

from __future__ import annotations

import numpy as np

from bigearth_tf.data.label_kind import THRESHOLD


def tune_thresholds(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the threshold of each class that maximises its F1 on these records, float32 [K].

    Each lies halfway between two probabilities that occur. Of several as good it is the one nearest to `THRESHOLD`,
    which a class without any record also keeps: every threshold gives it F1 0.

    Args:
        labels: Multi-hot [N, K], of the validation split. Never those that are to be scored.
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
    # A threshold cannot part records of one probability: candidates are the last of each such group.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    hits = np.cumsum(present[order])[ends]
    # 2 TP / (predicted + present), held against the best one in integers: no rounding decides.
    sizes = ends + 1 + present.sum()
    best = int(np.argmax(hits / sizes))
    ends = ends[hits * sizes[best] == hits[best] * sizes]
    lowest_given = ranked[ends]
    highest_withheld = np.append(ranked, np.float32(0))[ends + 1]
    middle = (lowest_given + highest_withheld) / np.float32(2)
    # Between neighbours among floats there is no middle.
    candidates = np.where(middle > highest_withheld, middle, lowest_given)
    if ((highest_withheld < THRESHOLD) & (lowest_given >= THRESHOLD)).any():
        return np.float32(THRESHOLD)
    return candidates[np.argmin(np.abs(candidates - THRESHOLD))]
