"""Bootstrap draws: their scores are those of tables that are drawn row by row."""

import functools

import numpy as np
import pytest
from sklearn import metrics

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation import bootstrap
from bigearth_tf.evaluation.decision_scores import count_decisions, score_decisions
from bigearth_tf.evaluation.metrics import compute_class_scores, compute_ranking_scores, compute_scores
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions
from bigearth_tf.evaluation.ranking_scores import (
    compute_record_values,
    mean_over_classes,
    rank_all_pairs,
    rank_records,
)
from bigearth_tf.evaluation.report import EvaluationOptions, evaluate_table

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
    """A draw without the rare class has no value for it, and its macro averages are over the other classes."""
    labels, probabilities = make_table()
    if label_kind is LabelKind.SINGLE:
        labels = np.eye(4, dtype=np.float32)[np.random.default_rng(1).choice(4, len(labels), p=[0.5, 0.3, 0.18, 0.02])]
    labels[np.flatnonzero(labels[:, 3])[1:], 3] = 0  # One record has the rare class.
    counts = count_decisions(labels > 0, label_kind.decide(probabilities))
    (sums,) = bootstrap.draw_sums([counts], 12, seed=0)
    scores, classes = score_decisions(sums, len(labels), label_kind, counts.total())
    assert labels.any(axis=0).all()
    without = 0
    for index, rows in enumerate(drawn_rows(len(labels), 12, 0)):
        expected = compute_scores(labels[rows], probabilities[rows], label_kind=label_kind)
        held = labels[rows].any(axis=0)
        without += not held.all()
        for name, values in scores.items():
            # Every class has records in the whole table: macro averages estimate the mean of all of them.
            name_of_draw = name.replace("macro_present_", "macro_").replace("macro_", "macro_present_")
            assert values[index] == pytest.approx(expected[name_of_draw], abs=1e-12), name
        by_class = compute_class_scores(labels[rows], probabilities[rows], NAMES, label_kind=label_kind)
        for name, values in classes.items():
            wanted = [by_class[c][name] if here else np.nan for c, here in zip(NAMES, held)]
            np.testing.assert_allclose(values[index], wanted, atol=1e-12, err_msg=name)
    assert 0 < without < 12, "draws with and without the rare class must be among those tested"
    left_out = {"micro_average_precision", "macro_average_precision"}
    assert set(scores) == set(expected) - left_out


def test_rankings_are_those_of_the_drawn_tables():
    labels, probabilities = make_table()
    assert len(np.unique(probabilities)) < 15
    oracles = {"average_precision": metrics.average_precision_score, "auroc": metrics.roc_auc_score}
    draw = functools.partial(bootstrap.draw_rankings, names=list(oracles), num_records=len(labels), draws=20, seed=0)
    by_class, micro = (draw(rank(labels, probabilities)) for rank in (rank_records, rank_all_pairs))
    undefined = 0
    for index, rows in enumerate(drawn_rows(len(labels), 20, 0)):
        overall = compute_ranking_scores(labels[rows], probabilities[rows])
        for name, oracle in oracles.items():
            expected = [
                oracle(present, column) if 0 < present.sum() < len(rows) else np.nan
                for present, column in zip(labels[rows].T, probabilities[rows].T)
            ]
            undefined += np.isnan(expected).sum()
            np.testing.assert_allclose(by_class[name][index], expected, atol=1e-12)
            assert micro[name][index, 0] == pytest.approx(overall[f"micro_{name}"])
            assert mean_over_classes(by_class[name][index]) == pytest.approx(overall[f"macro_{name}"])
    assert undefined, "a draw without the rare class must be among those tested"


def test_means_over_records_are_those_of_the_drawn_tables():
    labels, probabilities = make_table()
    values = compute_record_values(labels, probabilities)
    drawn = bootstrap.draw_columns(np.stack(list(values.values()), axis=1), 5, seed=0) / len(labels)
    for index, rows in enumerate(drawn_rows(len(labels), 5, 0)):
        expected = compute_ranking_scores(labels[rows], probabilities[rows])
        assert drawn[index] == pytest.approx([expected[name] for name in values])


@pytest.mark.parametrize("label_kind", list(LabelKind))
def test_every_interval_of_a_perfect_table_is_one_point(label_kind):
    """Of 8 classes, 5 have one record each and one has none: draws lack some, which says nothing about the model."""
    labels = np.zeros((30, 8), np.float32)
    labels[np.arange(30), np.where(np.arange(30) < 5, np.arange(30), 5 + np.arange(30) % 2)] = 1
    table = Predictions(np.arange(30).astype(str), labels, labels * np.float32(0.8) + np.float32(0.1))
    found = evaluate_table(NamedPredictions(table, tuple("abcdefgh"), label_kind), options=EvaluationOptions(200, 50))
    scores = {**found["decisions"]["fixed"]["scores"], **found["ranking"]}
    for name, row in found["classes"].items():
        scores.update(
            {f"{name}: {key}": value for key, value in {**row, **row["fixed"]}.items() if type(value) is dict}
        )
    for name, score in scores.items():
        if isinstance(score.get("value"), float) and name.split(":")[0] != "h":
            assert score["low"] == pytest.approx(score["high"], abs=1e-12), name
            assert score["value"] == pytest.approx(score["low"], abs=1e-12), name
    assert scores["macro_f1"]["value"] == pytest.approx(7 / 8)
    assert scores["macro_present_f1"]["value"] == pytest.approx(1)
    assert found["classes_without_records"] == ["h"]


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


def test_intervals_of_macro_scores_are_not_too_low_although_draws_lack_classes():
    """The score is the macro recall of a predictor that finds 70 % of every class; half of the classes are rare.

    With 60 records no interval is exact. If a class that a draw lacks counted as 0, a seventh of the intervals would be
    below the true value, and none above.
    """
    rng = np.random.default_rng(1)
    below, above = 0, 0
    for trial in range(200):
        truth = rng.random((60, 10)) < np.repeat([0.3, 0.05], 5)
        counts = count_decisions(truth, truth & (rng.random((60, 10)) < 0.7))
        (sums,) = bootstrap.draw_sums([counts], 200, seed=trial)
        scores = score_decisions(sums, 60, LabelKind.MULTI, counts.total()).overall["macro_present_recall"]
        low, high = bootstrap.compute_interval(scores)
        below, above = below + (high < 0.7), above + (low > 0.7)
    assert below <= 10
    assert above <= 20
