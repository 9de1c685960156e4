"""Is a difference told from chance, and a table of other patches refused?"""

import dataclasses

import numpy as np
import pytest

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.bootstrap import countable, draw_sums, draw_weights, interval, scores_of_sums
from bigearth_tf.evaluation.comparison import comparable_metrics, compare
from bigearth_tf.evaluation.metrics import compute_ranking_scores, compute_scores
from bigearth_tf.evaluation.prediction_table import Predictions, StoredPredictions

NAMES = ("a", "b", "c")


def make_stored(noise, num_records=60, seed=0, label_kind=LabelKind.MULTI):
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_records, 3)) < 0.4).astype(np.float32)
    if label_kind is LabelKind.SINGLE:
        labels = np.eye(3, dtype=np.float32)[rng.integers(3, size=num_records)]
    shift = np.random.default_rng(seed + 1).random((num_records, 3))
    probabilities = np.clip((1 - noise) * labels + noise * shift, 0, 1).astype(np.float32)
    ids = np.array([f"patch_{index:03d}" for index in range(num_records)])
    return StoredPredictions(Predictions(ids, labels, probabilities), NAMES, label_kind)


@pytest.mark.parametrize("metric", ["macro_f1", "subset_accuracy", "micro_average_precision", "macro_auroc"])
def test_it_is_the_paired_bootstrap_worked_out_draw_by_draw(metric):
    first, second = make_stored(0.8), make_stored(0.65, seed=0)

    def score(stored, rows):
        labels, probabilities = stored.table.labels[rows], stored.table.probabilities[rows]
        ranked = metric.endswith(("average_precision", "auroc"))
        return (compute_ranking_scores if ranked else compute_scores)(labels, probabilities)[metric]

    found = compare(first, second, metric, draws=15, seed=5)
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
    found = compare(make_stored(0.8), make_stored(0.8), "macro_f1")
    assert (found["difference"], found["low"], found["high"], found["p_value"]) == (0, 0, 0, 1)


def test_a_clear_difference_is_significant_either_way_round():
    worse, better = make_stored(0.9), make_stored(0.5)
    there, back = compare(worse, better, "macro_f1"), compare(better, worse, "macro_f1")
    assert there["p_value"] == back["p_value"] < 0.01
    assert there["low"] > 0 > back["high"]
    assert there["difference"] == -back["difference"]


def test_pairing_sees_what_two_intervals_would_not():
    """The second model is the first with a few records put right: small, but always the same way."""
    first = make_stored(0.85, num_records=200)
    probabilities = first.table.probabilities.copy()
    probabilities[:12] = first.table.labels[:12]
    second = dataclasses.replace(first, table=dataclasses.replace(first.table, probabilities=probabilities))
    found = compare(first, second, "micro_f1")
    assert 0 < found["difference"] < 0.05
    assert found["p_value"] < 0.01
    intervals = []
    for table in (first.table, second.table):
        (sums,) = draw_sums([countable(table.labels > 0, table.probabilities >= 0.5)], 1000, seed=0)
        intervals.append(interval(scores_of_sums(sums, 200)[0]["micro_f1"]))
    assert intervals[1][0] < intervals[0][1], "they overlap"


def test_p_values_of_models_that_differ_by_chance_alone_are_spread_evenly():
    values = []
    for seed in range(0, 80, 2):
        first = make_stored(0.8, num_records=100, seed=seed)
        shift = np.random.default_rng(1000 + seed).random((100, 3))
        other = np.clip(0.2 * first.table.labels + 0.8 * shift, 0, 1).astype(np.float32)
        second = dataclasses.replace(first, table=dataclasses.replace(first.table, probabilities=other))
        values.append(compare(first, second, "micro_f1", draws=200)["p_value"])
    assert np.mean(np.array(values) < 0.05) <= 0.15
    assert 0.3 < np.mean(values) < 0.7


def test_single_label_and_thresholds():
    first, second = make_stored(0.9, label_kind=LabelKind.SINGLE), make_stored(0.6, label_kind=LabelKind.SINGLE)
    found = compare(first, second, "accuracy", draws=50)
    hits = [np.argmax(s.table.probabilities, 1) == np.argmax(s.table.labels, 1) for s in (first, second)]
    assert found["difference"] == pytest.approx(hits[1].mean() - hits[0].mean())
    with pytest.raises(ValueError, match="metric='micro_f1': unknown for single-label data; allowed: .*accuracy"):
        compare(first, second, "micro_f1")
    multi = make_stored(0.6)
    strict = compare(multi, multi, "micro_recall", thresholds=(0.5, np.float32([0.9, 0.9, 0.9])), draws=20)
    assert strict["difference"] < 0
    assert "micro_auroc" in comparable_metrics(LabelKind.MULTI)


def test_other_questions_are_refused():
    stored = make_stored(0.8)
    table = stored.table
    labels = table.labels.copy()
    labels[7, 1] = 1 - labels[7, 1]
    ids = table.patch_ids.copy()
    ids[3] = "stranger"
    for other, message in (
        (
            dataclasses.replace(stored, class_names=("a", "b", "x")),
            r"only the first has \['c'\], .* second has \['x'\]",
        ),
        (dataclasses.replace(stored, class_names=("a", "c", "b")), "the same but in another order"),
        (
            dataclasses.replace(stored, label_kind=LabelKind.SINGLE),
            "first table is multi-label, the second single-label",
        ),
        (
            dataclasses.replace(stored, table=dataclasses.replace(table, labels=labels)),
            "1 patches are labelled otherwise, the first of them patch_007 in 'b'",
        ),
        (
            dataclasses.replace(stored, table=dataclasses.replace(table, patch_ids=ids)),
            r"only the first has 1 \(patch_003\); only the second has 1 \(stranger\)",
        ),
        (
            StoredPredictions(Predictions(*(rows[:58] for rows in dataclasses.astuple(table))), NAMES, LabelKind.MULTI),
            r"only the first has 2 \(patch_058, ...\); only the second has none",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            compare(stored, other, "macro_f1")
