"""Bootstrap draws: their scores are those of tables that are drawn row by row."""

import numpy as np
import pytest

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation import bootstrap
from bigearth_tf.evaluation.decision_scores import count_decisions, score_decisions
from bigearth_tf.evaluation.metrics import (
    class_auroc,
    class_average_precision,
    compute_class_scores,
    compute_ranking_scores,
    compute_scores,
)

NAMES = ("a", "b", "c", "d")


def make_table(num_records=40, seed=0, digits=1):
    """Returns labels and probabilities with many ties, a rare class, and records without any label."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_records, 4)) < [0.5, 0.3, 0.2, 0.05]).astype(np.float32)
    probabilities = np.clip(0.4 * labels + 0.7 * rng.random((num_records, 4)), 0, 1)
    return labels, np.round(probabilities, digits).astype(np.float32)


def drawn_rows(num_records, draws, seed):
    for weights in bootstrap.draw_weights(num_records, draws, seed):
        for row in weights.astype(int):
            yield np.repeat(np.arange(num_records), row)


def test_draws_have_as_many_records_as_the_table_and_their_number_does_not_change_them(monkeypatch):
    few = np.vstack(list(bootstrap.draw_weights(30, 5, seed=3)))
    assert few.shape == (5, 30)
    assert (few.sum(axis=1) == 30).all()
    monkeypatch.setattr(bootstrap, "_BLOCK_BYTES", 2 * 30 * 8)
    blocks = list(bootstrap.draw_weights(30, 9, seed=3))
    assert [len(block) for block in blocks] == [2, 2, 2, 2, 1]
    np.testing.assert_array_equal(np.vstack(blocks)[:5], few)
    assert (np.vstack(list(bootstrap.draw_weights(30, 5, seed=4))) != few).any()


@pytest.mark.parametrize("label_kind", list(LabelKind))
def test_decision_scores_are_those_of_the_drawn_tables(label_kind):
    labels, probabilities = make_table()
    if label_kind is LabelKind.SINGLE:
        labels = np.eye(4, dtype=np.float32)[np.random.default_rng(1).integers(4, size=len(labels))]
    predicted = label_kind.decide(probabilities)
    (sums,) = bootstrap.draw_sums([count_decisions(labels > 0, predicted)], 12, seed=0)
    scores, classes = score_decisions(sums, len(labels), label_kind)
    for index, rows in enumerate(drawn_rows(len(labels), 12, 0)):
        expected = compute_scores(labels[rows], probabilities[rows], label_kind=label_kind)
        for name, values in scores.items():
            assert values[index] == pytest.approx(expected[name], abs=1e-12), name
        by_class = compute_class_scores(labels[rows], probabilities[rows], NAMES, label_kind=label_kind)
        for name, values in classes.items():
            np.testing.assert_allclose(values[index], [by_class[c][name] for c in NAMES], atol=1e-12, err_msg=name)
    left_out = {"micro_average_precision", "macro_average_precision"}
    assert set(scores) == set(expected) - left_out


def test_rankings_are_those_of_the_drawn_tables():
    labels, probabilities = make_table()
    assert len(np.unique(probabilities)) < 15
    by_class = bootstrap.draw_rankings(bootstrap.rank_records(labels, probabilities), len(labels), 20, seed=0)
    micro = bootstrap.draw_rankings(bootstrap.rank_records(labels, probabilities, "micro"), len(labels), 20, seed=0)
    undefined = 0
    for index, rows in enumerate(drawn_rows(len(labels), 20, 0)):
        for column, score in enumerate((class_average_precision, class_auroc)):
            expected = np.array(score(labels[rows], probabilities[rows]), dtype=float)
            undefined += np.isnan(expected).sum()
            np.testing.assert_allclose(by_class[index, :, column], expected, atol=1e-12)
        expected = compute_ranking_scores(labels[rows], probabilities[rows])
        for column, score in enumerate(("average_precision", "auroc")):
            assert micro[index, 0, column] == pytest.approx(expected[f"micro_{score}"])
            macro = bootstrap.mean_of_defined(by_class[index : index + 1, :, column])
            assert macro[0] == pytest.approx(expected[f"macro_{score}"])
    assert undefined, "a draw without the rare class must be among those tested"


def test_interval_is_the_percentile_interval_of_the_defined_samples():
    samples = np.append(np.arange(1001) / 1000, [np.nan] * 50)
    assert bootstrap.compute_interval(samples) == pytest.approx((0.025, 0.975))
    assert bootstrap.compute_interval(np.array([np.nan, np.nan])) is None


def test_95_percent_intervals_cover_the_truth_in_about_95_percent_of_trials():
    """The score is the micro recall of a predictor that finds 70 % of the classes: its true value is known."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        predicted = rng.random((150, 1)) < 0.7
        (sums,) = bootstrap.draw_sums([count_decisions(np.ones((150, 1), bool), predicted)], 200, seed=trial)
        low, high = bootstrap.compute_interval(score_decisions(sums, 150, LabelKind.MULTI).overall["micro_recall"])
        covered += low <= 0.7 <= high
    assert 88 <= covered <= 99
