"""Errors of decisions by pairs of classes: missed and wrongly predicted ones, or true and predicted ones."""

from __future__ import annotations

from typing import Any

import numpy as np


def count_misses(labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Returns the number of records that miss each class, and of those that predict another class wrongly instead.

    `missed` [K]: the class is present and not predicted. `predicted_instead` [K, K]: the class of the row is missed,
    and the class of the column is predicted although it is absent. `nothing_instead` [K]: the class is missed and no
    absent class is predicted.

    Args:
        labels: Multi-hot [N, K].
        predicted: Bool [N, K].
    """
    truth = labels.astype(bool)
    missed, wrong = truth & ~predicted, predicted & ~truth
    both = missed.T.astype(np.float64) @ wrong.astype(np.float64)
    return {
        "missed": missed.sum(axis=0).tolist(),
        "predicted_instead": both.astype(np.int64).tolist(),
        "nothing_instead": missed[~wrong.any(axis=1)].sum(axis=0).tolist(),
    }


def confusion_matrix(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the number of records by true class (row) and most probable class (column), int [K, K].

    Args:
        labels: One-hot [N, K].
        probabilities: [N, K].
    """
    num_classes = labels.shape[1]
    truth, predicted = np.argmax(labels, axis=1), np.argmax(probabilities, axis=1)
    return np.bincount(truth * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)
