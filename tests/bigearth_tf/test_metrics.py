"""Are the scores those one works out by hand, and the same whatever the order of rows?"""

import itertools

import numpy as np
import pytest

from bigearth_tf.metrics import SELECTION_SCORES, compute_class_scores, compute_scores, most_frequent_labels

LABELS = np.float32([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]])
PROBABILITIES = np.float32([[0.9, 0.6, 0.1], [0.5, 0.2, 0.1], [0.1, 0.7, 0.1], [0.4, 0.1, 0.3]])
# Per class: TP 2, FP 0, FN 1 | TP 0, FP 2, FN 1 | TP 0, FP 0, FN 0.


def test_hand_worked_numbers():
    scores = compute_scores(LABELS, PROBABILITIES)
    assert scores["micro_precision"] == pytest.approx(2 / 4)
    assert scores["micro_recall"] == pytest.approx(2 / 4)
    assert scores["micro_f1"] == pytest.approx(2 / 4)
    assert scores["micro_jaccard"] == pytest.approx(2 / 6)
    assert scores["macro_f1"] == pytest.approx((4 / 5 + 0 + 0) / 3)
    assert scores["macro_f2"] == pytest.approx((5 * 2 / (5 * 2 + 4 * 1) + 0 + 0) / 3)
    assert scores["weighted_f1"] == pytest.approx((3 * 4 / 5 + 1 * 0) / 4)
    assert scores["samples_recall"] == pytest.approx((1 + 1 / 2 + 0 + 0) / 4)
    assert scores["hamming_loss"] == pytest.approx(4 / 12)
    assert scores["subset_accuracy"] == pytest.approx(0)
    # Class 0: ranked 0.9+, 0.5+, 0.4+, 0.1-: 1. Class 1: 0.7-, 0.6-, 0.2+: 1/3. Class 2 does not occur.
    assert scores["macro_average_precision"] == pytest.approx((1 + 1 / 3) / 2)


def test_scores_that_may_choose_are_scores():
    assert set(SELECTION_SCORES) == set(compute_scores(LABELS, PROBABILITIES)) - {"hamming_loss"}


def test_class_scores():
    scores = compute_class_scores(LABELS, PROBABILITIES, ("a", "b", "c"))
    assert list(scores) == ["a", "b", "c"]
    assert scores["a"] == pytest.approx({"precision": 1.0, "recall": 2 / 3, "f1": 4 / 5, "support": 3})
    assert scores["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_order_of_rows_does_not_matter():
    order = [2, 0, 3, 1]
    assert compute_scores(LABELS[order], PROBABILITIES[order]) == pytest.approx(compute_scores(LABELS, PROBABILITIES))


def test_most_frequent_labels_are_the_best_constant():
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 6)) < [0.5, 0.05, 0.3, 0.45, 0.1, 0.02]).astype(np.float32)
    best = most_frequent_labels(labels.sum(axis=0).astype(int), len(labels))

    def micro_f1(chosen):
        always = np.zeros_like(labels)
        always[:, list(chosen)] = 1
        return compute_scores(labels, always)["micro_f1"]

    every = [set_ for size in range(1, 7) for set_ in itertools.combinations(range(6), size)]
    assert best == max(every, key=micro_f1)
