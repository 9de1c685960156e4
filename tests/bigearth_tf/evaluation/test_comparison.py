"""Comparison of two models: significance by the paired bootstrap, and tables that cannot be compared."""

import dataclasses

import numpy as np
import pytest

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.bootstrap import compute_interval, draw_sums, draw_weights
from bigearth_tf.evaluation.comparison import comparable_metrics, compare
from bigearth_tf.evaluation.decision_scores import count_decisions, score_decisions
from bigearth_tf.evaluation.metrics import compute_ranking_scores, compute_scores
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions

NAMES = ("a", "b", "c")


def make_predictions(noise, num_records=60, seed=0, label_kind=LabelKind.MULTI):
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_records, 3)) < 0.4).astype(np.float32)
    if label_kind is LabelKind.SINGLE:
        labels = np.eye(3, dtype=np.float32)[rng.integers(3, size=num_records)]
    shift = np.random.default_rng(seed + 1).random((num_records, 3))
    probabilities = np.clip((1 - noise) * labels + noise * shift, 0, 1).astype(np.float32)
    ids = np.array([f"patch_{index:03d}" for index in range(num_records)])
    return NamedPredictions(Predictions(ids, labels, probabilities), NAMES, label_kind)


@pytest.mark.parametrize("metric", ["macro_f1", "subset_accuracy", "micro_average_precision", "macro_auroc"])
def test_it_equals_the_paired_bootstrap_computed_draw_by_draw(metric):
    first, second = make_predictions(0.8), make_predictions(0.65, seed=0)

    def score(predictions, rows):
        labels, probabilities = predictions.table.labels[rows], predictions.table.probabilities[rows]
        ranked = metric.endswith(("average_precision", "auroc"))
        return (compute_ranking_scores if ranked else compute_scores)(labels, probabilities)[metric]

    found = compare((first, second), metric, draws=15, seed=5)
    differences = []
    for weights in draw_weights(60, 15, 5):
        for row in weights.astype(int):
            rows = np.repeat(np.arange(60), row)
            differences.append(score(second, rows) - score(first, rows))
    everything = np.arange(60)
    assert found["first"] == pytest.approx(score(first, everything))
    assert found["difference"] == pytest.approx(score(second, everything) - score(first, everything))
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])))
    at_most = min(np.mean(np.array(differences) <= 0) * 15, np.mean(np.array(differences) >= 0) * 15)
    assert found["p_value"] == pytest.approx(min(1, 2 * (at_most + 1) / 16))


def test_a_model_does_not_differ_from_itself():
    found = compare((make_predictions(0.8), make_predictions(0.8)), "macro_f1")
    assert (found["difference"], found["low"], found["high"], found["p_value"]) == (0, 0, 0, 1)


def test_a_clear_difference_is_significant_in_both_directions():
    worse, better = make_predictions(0.9), make_predictions(0.5)
    there, back = compare((worse, better), "macro_f1"), compare((better, worse), "macro_f1")
    assert there["p_value"] == back["p_value"] < 0.01
    assert there["low"] > 0 > back["high"]
    assert there["difference"] == -back["difference"]


def test_pairing_finds_a_difference_that_two_intervals_would_not():
    """The second model differs from the first in a few records, in all of which it is right."""
    first = make_predictions(0.85, num_records=200)
    probabilities = first.table.probabilities.copy()
    probabilities[:12] = first.table.labels[:12]
    second = dataclasses.replace(first, table=dataclasses.replace(first.table, probabilities=probabilities))
    found = compare((first, second), "micro_f1")
    assert 0 < found["difference"] < 0.05
    assert found["p_value"] < 0.01
    intervals = []
    for table in (first.table, second.table):
        (sums,) = draw_sums([count_decisions(table.labels > 0, table.probabilities >= 0.5)], 1000, seed=0)
        intervals.append(compute_interval(score_decisions(sums, 200, LabelKind.MULTI).overall["micro_f1"]))
    assert intervals[1][0] < intervals[0][1], "they overlap"


def test_p_values_of_models_that_differ_only_by_chance_are_uniform():
    values = []
    for seed in range(0, 80, 2):
        first = make_predictions(0.8, num_records=100, seed=seed)
        shift = np.random.default_rng(1000 + seed).random((100, 3))
        other = np.clip(0.2 * first.table.labels + 0.8 * shift, 0, 1).astype(np.float32)
        second = dataclasses.replace(first, table=dataclasses.replace(first.table, probabilities=other))
        values.append(compare((first, second), "micro_f1", draws=200)["p_value"])
    assert np.mean(np.array(values) < 0.05) <= 0.15
    assert 0.3 < np.mean(values) < 0.7


def test_single_label_and_thresholds():
    first, second = (
        make_predictions(0.9, label_kind=LabelKind.SINGLE),
        make_predictions(0.6, label_kind=LabelKind.SINGLE),
    )
    found = compare((first, second), "accuracy", draws=50)
    hits = [np.argmax(s.table.probabilities, 1) == np.argmax(s.table.labels, 1) for s in (first, second)]
    assert found["difference"] == pytest.approx(hits[1].mean() - hits[0].mean())
    with pytest.raises(ValueError, match="metric='micro_f1': unknown for single-label data; allowed: .*accuracy"):
        compare((first, second), "micro_f1")
    multi = make_predictions(0.6)
    strict = compare((multi, multi), "micro_recall", thresholds=(0.5, np.float32([0.9, 0.9, 0.9])), draws=20)
    assert strict["difference"] < 0
    assert "micro_auroc" in comparable_metrics(LabelKind.MULTI)


def test_tables_that_differ_in_classes_patches_or_labels_are_refused():
    predictions = make_predictions(0.8)
    table = predictions.table
    labels = table.labels.copy()
    labels[7, 1] = 1 - labels[7, 1]
    ids = table.patch_ids.copy()
    ids[3] = "stranger"
    for other, message in (
        (
            dataclasses.replace(predictions, class_names=("a", "b", "x")),
            r"only the first has \['c'\], .* second has \['x'\]",
        ),
        (dataclasses.replace(predictions, class_names=("a", "c", "b")), "the same but in another order"),
        (
            dataclasses.replace(predictions, label_kind=LabelKind.SINGLE),
            "first table is multi-label, the second single-label",
        ),
        (
            dataclasses.replace(predictions, table=dataclasses.replace(table, labels=labels)),
            "The labels of 1 patches differ, those of patch_007 first: in 'b'",
        ),
        (
            dataclasses.replace(predictions, table=dataclasses.replace(table, patch_ids=ids)),
            r"only the first has 1 \(patch_003\); only the second has 1 \(stranger\)",
        ),
        (
            NamedPredictions(table.select(slice(58)), NAMES, LabelKind.MULTI),
            r"only the first has 2 \(patch_058, ...\); only the second has none",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            compare((predictions, other), "macro_f1")
