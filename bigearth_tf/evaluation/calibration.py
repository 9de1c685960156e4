"""Calibration: how far probabilities differ from the shares of predictions that are true."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.fitted_decisions import FittedDecisions
from bigearth_tf.evaluation.prediction_table import NamedPredictions
from bigearth_tf.evaluation.temperature import scale_probabilities

_NUM_BINS = 15  # As in https://arxiv.org/abs/1706.04599, table 1.


def measure_calibration(true: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Returns the expected calibration error, and the bins of equal width from which it is computed.

    The error is the mean over all predictions of |share that is true - mean probability| of their bin
    (https://arxiv.org/abs/1706.04599). Empty bins are left out.

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


def measure_table_calibration(predictions: NamedPredictions) -> dict[str, Any]:
    """Returns `measure_calibration` of all predictions together, and the error of each class under `classes`.

    In multi-label data, each pair of a record and a class counts as a prediction; in single-label data, the most
    probable class of each record does.
    """
    truth, probabilities = predictions.table.labels.astype(bool), predictions.table.probabilities
    if predictions.label_kind is LabelKind.MULTI:
        overall = measure_calibration(truth.ravel(), probabilities.ravel())
    else:
        predicted = np.argmax(probabilities, axis=1)[:, np.newaxis]
        overall = measure_calibration(
            *(np.take_along_axis(table, predicted, axis=1)[:, 0] for table in (truth, probabilities))
        )
    by_class = [measure_calibration(*pair)["expected_calibration_error"] for pair in zip(truth.T, probabilities.T)]
    return {**overall, "classes": dict(zip(predictions.class_names, by_class))}


def measure_scaled_calibration(predictions: NamedPredictions, fitted: FittedDecisions) -> dict[str, Any]:
    """Returns `measure_table_calibration` of the probabilities after temperature scaling, and the temperature."""
    table, temperature = predictions.table, fitted.temperature
    scaled = scale_probabilities(table.probabilities, temperature, predictions.label_kind)
    found = measure_table_calibration(
        dataclasses.replace(predictions, table=dataclasses.replace(table, probabilities=scaled))
    )
    return {"temperature": temperature, **found}
