"""How does a model err? Whether its probabilities are shares of what is true, and which errors come together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bigearth_tf.data.label_kind import LabelKind

_NUM_BINS = 15  # As in https://arxiv.org/abs/1706.04599, table 1.


def reliability(true: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Returns the expected calibration error and the bins of equal width that it is worked out from.

    It is the mean over all of |share that is true - mean probability| of their bin (https://arxiv.org/abs/1706.04599).

    Args:
        true: Bool [M].
        probabilities: [M] in 0 ... 1; 1 belongs to the last bin.
    """
    exact = probabilities.astype(np.float64)
    indices = np.minimum((exact * _NUM_BINS).astype(np.int64), _NUM_BINS - 1)
    counts = np.bincount(indices, minlength=_NUM_BINS)
    true_counts = np.bincount(indices, weights=true, minlength=_NUM_BINS)
    totals = np.bincount(indices, weights=exact, minlength=_NUM_BINS)
    bins = [
        {
            "from": index / _NUM_BINS,
            "to": (index + 1) / _NUM_BINS,
            "count": int(counts[index]),
            "mean_probability": float(totals[index] / counts[index]),
            "share_true": float(true_counts[index] / counts[index]),
        }
        for index in np.flatnonzero(counts).tolist()
    ]
    error = float(np.abs(true_counts - totals).sum() / len(exact))
    return {"expected_calibration_error": error, "bins": bins}


def calibration(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str], label_kind: LabelKind
) -> dict[str, Any]:
    """Returns `reliability` of all answers together, and by class the calibration error alone.

    An answer is, of multi-label data, the probability of a class in a record; of single-label data, that of the
    likeliest class of a record.

    Args:
        labels: Multi-hot or one-hot [N, K].
        probabilities: [N, K].
        class_names: K names.
        label_kind: Decides what an answer is.
    """
    truth = labels.astype(bool)
    if label_kind is LabelKind.MULTI:
        together = reliability(truth.ravel(), probabilities.ravel())
    else:
        likeliest = np.argmax(probabilities, axis=1)[:, np.newaxis]
        together = reliability(*(np.take_along_axis(t, likeliest, axis=1)[:, 0] for t in (truth, probabilities)))
    by_class = [reliability(*pair)["expected_calibration_error"] for pair in zip(truth.T, probabilities.T)]
    return {**together, "classes": dict(zip(class_names, by_class))}
