"""Which classes are predicted where another class is missed."""

from __future__ import annotations

from typing import Any

import numpy as np


def errors_together(labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Returns which class is predicted wrongly where another is missed, as counts of records.

    `missed` [K]: the class is there and not predicted. `predicted_instead` [K, K]: the class of the row is missed, and
    that of the column predicted though absent. `nothing_instead` [K]: it is missed and nothing is predicted wrongly.

    Args:
        labels: Multi-hot [N, K].
        predicted: Bool [N, K].
    """
    truth = labels.astype(bool)
    missed, wrong = truth & ~predicted, predicted & ~truth
    together = missed.T.astype(np.float64) @ wrong.astype(np.float64)
    return {
        "missed": missed.sum(axis=0).tolist(),
        "predicted_instead": together.astype(np.int64).tolist(),
        "nothing_instead": missed[~wrong.any(axis=1)].sum(axis=0).tolist(),
    }
