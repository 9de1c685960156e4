"""Scores of decisions: scikit-learn is the oracle, for each average and with every case of 0 by 0."""

import numpy as np
import pytest
from sklearn import metrics

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.decision_scores import compute_ratios, count_decisions, score_decisions
from bigearth_tf.evaluation.metric_table import RATIOS, Counts

ORACLES = {
    "precision": metrics.precision_score,
    "recall": metrics.recall_score,
    "f1": metrics.f1_score,
    "f2": lambda *tables, **options: metrics.fbeta_score(*tables, beta=2, **options),
    "jaccard": metrics.jaccard_score,
}


def make_decisions(num_records, seed):
    """The third class is never present, the fourth never predicted, the fifth neither; some records have no class."""
    rng = np.random.default_rng(seed)
    truth = rng.random((num_records, 6)) < [0.6, 0.3, 0, 0.2, 0, 0.02]
    predicted = rng.random((num_records, 6)) < [0.5, 0.4, 0.1, 0, 0, 0.05]
    return truth, predicted


def average_by_oracle(oracle, truth, predicted, average):
    if average != "macro_present":
        return oracle(truth, predicted, average=average, zero_division=0)
    present = np.flatnonzero(truth.any(axis=0))
    return oracle(truth, predicted, labels=present, average="macro", zero_division=0) if len(present) else 0


@pytest.mark.parametrize("num_records", [1, 2, 40, 3000])
@pytest.mark.parametrize("label_kind", list(LabelKind))
def test_scores_equal_those_of_scikit_learn(label_kind, num_records):
    for seed in range(5):
        truth, predicted = make_decisions(num_records, seed)
        if label_kind is LabelKind.SINGLE:
            rng = np.random.default_rng(seed)
            truth, predicted = (np.eye(6, dtype=bool)[rng.choice([0, 1, 3], num_records)] for _ in range(2))
        scores = score_decisions(count_decisions(truth, predicted).total(), num_records, label_kind)
        expected = {
            f"{average}_{name}": average_by_oracle(oracle, truth, predicted, average)
            for average in label_kind.averages
            for name, oracle in ORACLES.items()
        }
        if label_kind is LabelKind.MULTI:
            expected["hamming_loss"] = metrics.hamming_loss(truth, predicted)
        expected[label_kind.exact_score] = metrics.accuracy_score(truth, predicted)
        assert list(scores.overall) == list(expected)
        for name, (value,) in scores.overall.items():
            assert value == pytest.approx(expected[name], rel=0, abs=1e-12), name
        for name, oracle in ORACLES.items():
            by_class = oracle(truth, predicted, average=None, zero_division=0)
            np.testing.assert_allclose(scores.by_class[name][0], by_class, rtol=0, atol=1e-12, err_msg=name)


def test_hand_worked_ratios():
    counts = Counts(*np.float64([[2, 0, 0, 0], [4, 3, 0, 0], [3, 0, 3, 0]]))
    found = compute_ratios(counts)
    assert list(found) == list(RATIOS)
    expected = {"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7, "f2": 10 / 16, "jaccard": 2 / 5}
    for name, values in found.items():
        np.testing.assert_allclose(values, [expected[name], 0, 0, 0], rtol=1e-15)


def test_sums_of_parts_give_the_scores_of_the_whole():
    truth, predicted = make_decisions(50, seed=0)
    parts = [count_decisions(truth[rows], predicted[rows]).total() for rows in (slice(0, 13), slice(13, 50))]
    merged = type(parts[0])(*(first + second for first, second in zip(*parts)))
    whole = count_decisions(truth, predicted).total()
    for name, values in score_decisions(whole, 50, LabelKind.MULTI).overall.items():
        np.testing.assert_allclose(score_decisions(merged, 50, LabelKind.MULTI).overall[name], values, atol=1e-12)
