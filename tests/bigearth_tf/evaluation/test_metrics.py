"""Scores: values computed by hand, missing values, order of rows, and merged parts."""

import itertools

import numpy as np
import pytest
from sklearn import metrics

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.confusion import confusion_matrix
from bigearth_tf.evaluation.metric_table import selection_scores
from bigearth_tf.evaluation.metrics import (
    compute_class_scores,
    compute_ranking_scores,
    compute_scores,
    find_classes_without_records,
    format_classes_without_records,
    format_main_scores,
    most_frequent_labels,
)
from bigearth_tf.evaluation.ranking_scores import precision_recall_curve

LABELS = np.float32([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]])
PROBABILITIES = np.float32([[0.9, 0.6, 0.1], [0.5, 0.2, 0.1], [0.1, 0.7, 0.1], [0.4, 0.1, 0.3]])
# Per class: TP 2, FP 0, FN 1 | TP 0, FP 2, FN 1 | TP 0, FP 0, FN 0.

ONE_HOT = np.float32([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
SHARES = np.float32([[0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.4, 0.2, 0.4], [0.1, 0.1, 0.8]])
# Most probable: 0, 1, 1, 0 (the first of two equal ones), 2. TP, FP, FN: 1, 1, 1 | 1, 1, 0 | 1, 0, 1.


def test_hand_worked_ratios():
    scores = compute_scores(LABELS, PROBABILITIES)
    assert scores["micro_precision"] == pytest.approx(2 / 4)
    assert scores["micro_recall"] == pytest.approx(2 / 4)
    assert scores["micro_f1"] == pytest.approx(2 / 4)
    assert scores["micro_jaccard"] == pytest.approx(2 / 6)
    assert scores["macro_precision"] == pytest.approx((1 + 0 + 0) / 3)
    assert scores["macro_f1"] == pytest.approx((4 / 5 + 0 + 0) / 3)
    assert scores["macro_present_f1"] == pytest.approx((4 / 5 + 0) / 2), "the third class has no record"
    assert scores["macro_f2"] == pytest.approx((5 * 2 / (5 * 2 + 4 * 1) + 0 + 0) / 3)
    assert scores["macro_jaccard"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert scores["weighted_f1"] == pytest.approx((3 * 4 / 5 + 1 * 0) / 4)
    assert scores["weighted_recall"] == pytest.approx((3 * 2 / 3 + 1 * 0) / 4)
    assert scores["samples_precision"] == pytest.approx((1 / 2 + 1 + 0 + 0) / 4)
    assert scores["samples_recall"] == pytest.approx((1 + 1 / 2 + 0 + 0) / 4)
    # Record 0: TP 1, FP 1, FN 0; record 1: TP 1, FP 0, FN 1.
    assert scores["samples_f2"] == pytest.approx((5 / (5 + 0 + 1) + 5 / (5 + 4 + 0)) / 4)
    assert scores["hamming_loss"] == pytest.approx(4 / 12)
    assert scores["subset_accuracy"] == pytest.approx(0)


def test_hand_worked_ranking_scores():
    scores = compute_ranking_scores(LABELS, PROBABILITIES)
    # Class 0: ranked 0.9+, 0.5+, 0.4+, 0.1-: 1. Class 1: 0.7-, 0.6-, 0.2+, 0.1-: 1/3. Class 2 does not occur.
    assert scores["macro_average_precision"] == pytest.approx((1 + 1 / 3) / 2)
    # Pairs in the right order: class 0, 3 of 3; class 1, 1 of 3; class 2 has no pair.
    assert scores["macro_auroc"] == pytest.approx((1 + 1 / 3) / 2)
    # All: 0.9+, 0.7-, 0.6-, 0.5+, 0.4+, 0.3-, 0.2+, 0.1- (five times).
    assert scores["micro_average_precision"] == pytest.approx((1 + 2 / 4 + 3 / 5 + 4 / 7) / 4)
    # Above each positive stand 0, 2, 2 and 3 of the 8 negatives.
    assert scores["micro_auroc"] == pytest.approx(1 - (0 + 2 + 2 + 3) / (4 * 8))
    # No record has an absent class above a present one.
    assert scores["ranking_loss"] == 0
    assert scores["coverage_error"] == pytest.approx((1 + 2 + 0 + 1) / 4)
    assert scores["label_ranking_average_precision"] == pytest.approx(1)
    turned = compute_ranking_scores(np.float32([[0, 1, 1], [1, 0, 0]]), np.float32([[0.9, 0.5, 0.1], [0.3, 0.4, 0.2]]))
    assert turned["ranking_loss"] == pytest.approx((2 / 2 + 1 / 2) / 2)
    assert turned["coverage_error"] == pytest.approx((3 + 2) / 2)
    assert turned["label_ranking_average_precision"] == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1 / 2) / 2)


def test_scores_of_every_epoch_are_those_of_the_final_evaluation():
    often, finally_ = compute_scores(LABELS, PROBABILITIES), compute_ranking_scores(LABELS, PROBABILITIES)
    for name in ("micro_average_precision", "macro_average_precision"):
        assert often[name] == finally_[name]


@pytest.mark.parametrize("label_kind", list(LabelKind))
def test_selection_scores_are_computed(label_kind):
    scores = compute_scores(ONE_HOT, SHARES, label_kind=label_kind)
    assert set(selection_scores(label_kind)) == set(scores) - {"hamming_loss"}
    assert scores["macro_present_f1"] == scores["macro_f1"], "every class has records"


@pytest.mark.parametrize("num_classes", [2, 6])
def test_scores_of_the_order_equal_those_of_scikit_learn(num_classes):
    """Probabilities with one digit have many ties; some records have no class, some have all."""
    rng = np.random.default_rng(num_classes)
    labels = (rng.random((300, num_classes)) < np.linspace(0.05, 0.6, num_classes)).astype(np.float32)
    probabilities = np.round(np.clip(0.3 * labels + 0.7 * rng.random(labels.shape), 0, 1), 1).astype(np.float32)
    found, truth = compute_ranking_scores(labels, probabilities), labels.astype(bool)
    for average in ("micro", "macro"):
        ap, auroc = metrics.average_precision_score, metrics.roc_auc_score
        assert found[f"{average}_average_precision"] == pytest.approx(ap(truth, probabilities, average=average))
        assert found[f"{average}_auroc"] == pytest.approx(auroc(truth, probabilities, average=average))
    assert found["ranking_loss"] == pytest.approx(metrics.label_ranking_loss(truth, probabilities))
    assert found["coverage_error"] == pytest.approx(metrics.coverage_error(truth, probabilities))
    lrap = metrics.label_ranking_average_precision_score(truth, probabilities)
    assert found["label_ranking_average_precision"] == pytest.approx(lrap)
    for present, column in zip(truth.T, probabilities.T):
        expected, mine = metrics.precision_recall_curve(present, column), precision_recall_curve(present, column)
        for theirs, ours in zip(expected, mine):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_the_classes_without_records_and_both_macro_scores_are_stated():
    rng = np.random.default_rng(0)
    labels = (rng.random((100, 19)) < 0.3).astype(np.float32)
    labels[:, [3, 7, 18]] = 0
    scores = compute_scores(labels, np.clip(0.3 * labels + 0.6 * rng.random((100, 19)), 0, 1))
    assert scores["macro_f1"] == pytest.approx(scores["macro_present_f1"] * 16 / 19)
    names = [f"class {index}" for index in range(19)]
    missing = find_classes_without_records(labels, names)
    assert missing == ["class 3", "class 7", "class 18"]
    assert format_classes_without_records(missing, 19, "test").startswith("3 of 19 classes have no record in test: ")
    assert format_classes_without_records([], 19, "test") == ""
    shown = {"micro_f1": 0.5, "macro_f1": 0.401, "macro_present_f1": 0.476, "weighted_f1": 0.6}
    assert format_main_scores(shown) == "micro F1 0.500, macro F1 0.401, macro (classes with records) F1 0.476"
    assert format_main_scores({"accuracy": 0.5, "macro_f1": 0.4, "macro_present_f1": 0.4}) == (
        "accuracy 0.500, macro F1 0.400"
    )


def test_class_scores():
    scores = compute_class_scores(LABELS, PROBABILITIES, ("a", "b", "c"), np.float32([0.5, 0.25, 0.75]))
    assert list(scores) == ["a", "b", "c"]
    assert scores["a"] == pytest.approx(
        {"precision": 1.0, "recall": 2 / 3, "f1": 4 / 5, "f2": 10 / 14, "jaccard": 2 / 3, "support": 3,
         "threshold": 0.5, "average_precision": 1, "auroc": 1}
    )  # fmt: skip
    assert scores["b"]["average_precision"] == pytest.approx(1 / 3)
    assert scores["b"]["auroc"] == pytest.approx(1 / 3)
    assert scores["b"]["threshold"] == 0.25
    nothing = {"precision": 0, "recall": 0, "f1": 0, "f2": 0, "jaccard": 0, "support": 0, "threshold": 0.75}
    assert scores["c"] == {**nothing, "average_precision": None, "auroc": None}


def test_a_threshold_per_class():
    decided = LabelKind.MULTI.decide(PROBABILITIES, np.float32([0.4, 0.65, 0.3]))
    assert decided.astype(int).tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1]]
    scores = compute_scores(LABELS, PROBABILITIES, np.float32([0.4, 0.65, 0.3]))
    assert scores["micro_f1"] == pytest.approx(2 * 3 / (5 + 4))


def test_scores_without_a_value():
    absent, everywhere = np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32)
    half = np.full((3, 2), 0.5, np.float32)
    scores = compute_scores(absent, half)
    assert np.isfinite(list(scores.values())).all()
    assert scores["macro_average_precision"] == scores["micro_f1"] == 0
    ranking = compute_ranking_scores(absent, half)
    assert [name for name, value in ranking.items() if value is None] == [
        "micro_average_precision", "macro_average_precision", "micro_auroc", "macro_auroc",
    ]  # fmt: skip
    ranking = compute_ranking_scores(everywhere, half)
    assert [name for name, value in ranking.items() if value is None] == ["micro_auroc", "macro_auroc"]
    assert ranking["macro_average_precision"] == 1
    one_class = compute_ranking_scores(LABELS[:, :1], PROBABILITIES[:, :1])
    assert one_class["coverage_error"] is one_class["ranking_loss"] is None
    assert one_class["macro_auroc"] == 1


def test_single_label():
    scores = compute_scores(ONE_HOT, SHARES, label_kind=LabelKind.SINGLE)
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["macro_f1"] == pytest.approx((2 / 4 + 2 / 3 + 2 / 3) / 3)
    assert scores["weighted_f1"] == pytest.approx((2 * 2 / 4 + 1 * 2 / 3 + 2 * 2 / 3) / 5)
    assert scores["macro_recall"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert not {"micro_f1", "hamming_loss", "subset_accuracy"} & set(scores)
    assert confusion_matrix(ONE_HOT, SHARES).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    classes = compute_class_scores(ONE_HOT, SHARES, ("a", "b", "c"), label_kind=LabelKind.SINGLE)
    assert classes["c"]["recall"] == 1 / 2
    assert "threshold" not in classes["c"]


def test_a_class_without_records_keeps_its_place_in_the_confusion_matrix():
    assert confusion_matrix(ONE_HOT[:2], SHARES[:2]).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    scores = compute_scores(ONE_HOT[:2], SHARES[:2], label_kind=LabelKind.SINGLE)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 0 + 0) / 3)


def test_order_of_rows_does_not_matter():
    order = [2, 0, 3, 1]
    assert compute_scores(LABELS[order], PROBABILITIES[order]) == pytest.approx(compute_scores(LABELS, PROBABILITIES))


def test_merged_parts_have_the_scores_of_the_whole_and_the_mean_of_parts_does_not():
    rng = np.random.default_rng(0)
    labels = (rng.random((90, 5)) < 0.3).astype(np.float32)
    probabilities = np.clip(0.5 * labels + 0.6 * rng.random((90, 5)), 0, 1).astype(np.float32)
    parts = np.array_split(np.arange(90), [7, 30])
    merged = np.concatenate(parts)
    whole = compute_scores(labels, probabilities)
    assert compute_scores(labels[merged], probabilities[merged]) == whole
    mean = np.mean([compute_scores(labels[part], probabilities[part])["macro_f1"] for part in parts])
    assert mean != pytest.approx(whole["macro_f1"], abs=1e-4)


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
