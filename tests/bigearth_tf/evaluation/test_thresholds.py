"""Tuned thresholds: no other threshold has a better F1 on the records that they were tuned on."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from bigearth_tf.evaluation.thresholds import tune_thresholds


def best_by_brute_force(present, probabilities):
    """Returns the best F1 over all thresholds that give different predictions."""
    tried = np.concatenate([[0], np.unique(probabilities)])
    return max(f1_score(present, probabilities >= threshold, zero_division=0) for threshold in tried)


@pytest.mark.parametrize("digits", [1, 2, 7])
def test_tuned_thresholds_are_optimal(digits):
    rng = np.random.default_rng(digits)
    labels = (rng.random((120, 8)) < np.linspace(0.02, 0.9, 8)).astype(np.float32)
    # With few digits, many records have the same probability.
    noisy = np.clip(0.3 * labels + rng.random((120, 8)), 0, 1)
    probabilities = np.round(noisy, digits).astype(np.float32)
    thresholds = tune_thresholds(labels, probabilities)
    assert thresholds.dtype == np.float32
    for present, column, threshold in zip(labels.T, probabilities.T, thresholds):
        tuned = f1_score(present, column >= threshold, zero_division=0)
        assert tuned == pytest.approx(best_by_brute_force(present, column), abs=1e-12)


def test_thresholds_lie_halfway_and_as_near_to_one_half_as_possible():
    labels = np.float32([[1], [1], [0], [0]])
    assert tune_thresholds(labels, np.float32([[0.4], [0.3], [0.2], [0.1]])) == np.float32(0.25)
    assert tune_thresholds(labels, np.float32([[0.9], [0.7], [0.3], [0.1]])) == np.float32(0.5)
    assert tune_thresholds(labels, np.float32([[0.9], [0.8], [0.7], [0.1]])) == np.float32(0.75)
    # F1 is 2/3 from 0.9 on (1 of 1) and from 0.6 on (2 of 4): the latter is nearer.
    probabilities = np.float32([[0.9], [0.6], [0.8], [0.7]])
    assert tune_thresholds(labels, probabilities) == np.float32(0.5)
    neighbor = np.nextafter(np.float32(0.75), np.float32(1))
    assert tune_thresholds(np.float32([[1], [0]]), np.array([[neighbor], [0.75]], np.float32)) == neighbor


def test_a_class_without_records_keeps_one_half_and_a_class_of_every_record_is_always_predicted():
    probabilities = np.float32([[0.9, 0.0], [0.8, 0.3], [0.7, 0.2]])
    labels = np.float32([[0, 1], [0, 1], [0, 1]])
    thresholds = tune_thresholds(labels, probabilities)
    assert thresholds[0] == 0.5
    assert (probabilities[:, 1] >= thresholds[1]).all()
