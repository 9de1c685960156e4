"""Evaluation of a table: scores with intervals, thresholds tuned only on validation, no NaN, and the text."""

import json

import numpy as np
import pytest

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.calibration import measure_calibration, measure_table_calibration
from bigearth_tf.evaluation.confusion import count_misses
from bigearth_tf.evaluation.metrics import compute_class_scores, compute_ranking_scores, compute_scores
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions
from bigearth_tf.evaluation.report import EvaluationOptions, evaluate_table, write_evaluation
from bigearth_tf.evaluation.report_markdown import format_evaluation
from bigearth_tf.evaluation.thresholds import tune_thresholds

NAMES = ("common", "rare", "never", "always")


def evaluate(table, validation=None, draws=2, ranking_draws=2, names=NAMES, label_kind=LabelKind.MULTI):
    options = EvaluationOptions(draws, ranking_draws)
    return evaluate_table(NamedPredictions(table, names, label_kind), validation, options)


def make_table(prefix, num_records=80, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_records, 4)) < [0.5, 0.1, 0, 1]).astype(np.float32)
    # Too low on purpose: 0.5 is a poor threshold.
    probabilities = (0.5 * np.clip(0.5 * labels + 0.6 * rng.random((num_records, 4)), 0, 1)).astype(np.float32)
    return Predictions(np.array([f"{prefix}{index:03d}" for index in range(num_records)]), labels, probabilities)


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(make_table("t"), make_table("v", seed=1), 200, 50)


def values(scores):
    return {name: score["value"] for name, score in scores.items()}


def test_values_are_those_of_the_whole_table(evaluation):
    table = make_table("t")
    scores = compute_scores(table.labels, table.probabilities)
    found = values(evaluation["decisions"]["fixed"]["scores"])
    assert found == {name: scores[name] for name in found}
    assert set(scores) - set(found) == {"micro_average_precision", "macro_average_precision"}
    assert values(evaluation["ranking"]) == compute_ranking_scores(table.labels, table.probabilities)
    rows = compute_class_scores(table.labels, table.probabilities, NAMES)
    for name in NAMES:
        found = evaluation["classes"][name]
        assert found["support"] == rows[name]["support"]
        assert found["fixed"]["f1"]["value"] == rows[name]["f1"]
        assert found["auroc"]["value"] == rows[name]["auroc"]


def test_thresholds_are_tuned_on_validation(evaluation):
    validation, table = make_table("v", seed=1), make_table("t")
    tuned = tune_thresholds(validation.labels, validation.probabilities)
    assert [evaluation["classes"][name]["tuned"]["threshold"] for name in NAMES] == tuned.tolist()
    assert [evaluation["classes"][name]["fixed"]["threshold"] for name in NAMES] == [0.5] * 4
    expected = compute_scores(table.labels, table.probabilities, tuned)["macro_f1"]
    assert evaluation["decisions"]["tuned"]["scores"]["macro_f1"]["value"] == expected
    assert expected > evaluation["decisions"]["fixed"]["scores"]["macro_f1"]["value"] + 0.1


def test_the_scored_records_do_not_change_thresholds(evaluation):
    other = make_table("t", seed=9)
    again = evaluate(other, make_table("v", seed=1))
    for name in NAMES:
        assert again["classes"][name]["tuned"]["threshold"] == evaluation["classes"][name]["tuned"]["threshold"]


def test_thresholds_may_not_be_tuned_on_the_scored_records():
    with pytest.raises(ValueError, match="may not be fitted on the records that are scored"):
        evaluate(make_table("t"), make_table("t", seed=1))
    alone = evaluate(make_table("t"))
    assert list(alone["decisions"]) == ["fixed"]
    assert "tuned" not in alone["classes"]["common"]


def test_values_lie_in_their_intervals(evaluation):
    scores = {**evaluation["decisions"]["fixed"]["scores"], **evaluation["classes"]["common"]["fixed"]}
    del scores["threshold"]
    ranking = ("macro_auroc", "micro_auroc", "macro_average_precision", "micro_average_precision")
    scores.update({name: evaluation["ranking"][name] for name in ranking})
    for name, score in scores.items():
        assert score["low"] <= score["value"] <= score["high"], name
        assert score["high"] - score["low"] < 0.5
    assert evaluation["bootstrap"]["draws_of_average_precision_and_auroc"] == 50


def test_there_is_no_nan_and_a_score_without_a_value_has_a_reason(evaluation, tmp_path):
    write_evaluation(evaluation, tmp_path)
    text = (tmp_path / "evaluation.json").read_text()
    assert json.loads(text) == evaluation
    assert "NaN" not in text
    assert "Infinity" not in text
    classes = evaluation["classes"]
    assert classes["never"]["average_precision"] == {"value": None, "reason": "no record has this class"}
    assert classes["always"]["auroc"] == {"value": None, "reason": "none or all of the records have this class"}
    assert classes["always"]["average_precision"]["value"] == 1
    nothing = Predictions(np.array(["a", "b"]), np.zeros((2, 2), np.float32), np.full((2, 2), 0.25, np.float32))
    empty = evaluate(nothing, draws=5, ranking_draws=5, names=("a", "b"))
    assert empty["ranking"]["macro_auroc"]["value"] is None
    json.dumps(empty, allow_nan=False)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_evaluation({"value": float("nan")}, tmp_path)


def test_a_probability_that_is_not_a_number_is_refused():
    table = make_table("t")
    table.probabilities[2, 1] = np.nan
    with pytest.raises(ValueError, match="t002"):
        evaluate(table)


def test_the_same_table_gives_the_same_evaluation(evaluation):
    again = evaluate(make_table("t"), make_table("v", seed=1), 200, 50)
    assert json.dumps(again) == json.dumps(evaluation)


def test_single_label():
    labels = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 2]]
    shares = np.float32([[0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.4, 0.2, 0.4], [0.1, 0.1, 0.8]])
    table = Predictions(np.array(list("abcde")), labels, shares)
    validation = Predictions(np.array(list("vwxyz")), labels, shares)
    found = evaluate(table, validation, 50, 5, NAMES[:3], LabelKind.SINGLE)
    assert list(found["decisions"]) == ["fixed"], "there is no threshold to tune"
    assert list(found["fitted"]) == ["split", "num_records", "temperature"]
    with pytest.raises(ValueError, match="may not be fitted on the records that are scored"):
        evaluate(table, table, 50, 5, NAMES[:3], LabelKind.SINGLE)
    assert found["decisions"]["fixed"]["scores"]["accuracy"]["value"] == pytest.approx(3 / 5)
    assert found["decisions"]["fixed"]["confusion_matrix"] == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    # Confidence 0.5 true, 0.7 false, 0.8 true twice, 0.4 false: bins 7, 10, 12 (float32 0.8 * 15 > 12) and 6 of 15.
    error = (0.5 + 0.7 + (2 - 1.6) + 0.4) / 5
    assert found["calibration"]["expected_calibration_error"] == pytest.approx(error)


def test_hand_worked_calibration():
    found = measure_calibration(np.array([True, False, True, True]), np.float32([0.01, 0.05, 0.99, 1.0]))
    assert [(row["from"], row["count"]) for row in found["bins"]] == [(0, 2), (14 / 15, 2)]
    assert [row["share_true"] for row in found["bins"]] == [0.5, 1]
    assert [row["mean_probability"] for row in found["bins"]] == pytest.approx([0.03, 0.995])
    assert found["expected_calibration_error"] == pytest.approx(0.5 * 0.47 + 0.5 * 0.005)


def test_the_calibration_error_is_small_only_for_true_probabilities():
    rng = np.random.default_rng(0)
    probabilities = rng.random((20000, 2))
    labels = rng.random((20000, 2)) < probabilities
    ids = np.arange(20000).astype(str)
    right, wrong = (
        measure_table_calibration(NamedPredictions(Predictions(ids, labels, values), ("a", "b"), LabelKind.MULTI))
        for values in (probabilities, probabilities**3)
    )
    assert right["expected_calibration_error"] < 0.02
    assert wrong["expected_calibration_error"] > 0.15
    assert set(right["classes"]) == {"a", "b"}


def test_hand_worked_misses():
    labels = np.float32([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]])
    predicted = np.array([[0, 1, 1], [0, 0, 0], [0, 1, 0], [0, 1, 1]], bool)
    found = count_misses(labels, predicted)
    assert found["missed"] == [3, 0, 0]
    assert found["predicted_instead"] == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert found["nothing_instead"] == [2, 0, 0]


def test_an_evaluation_as_text(evaluation):
    about = {"model": "m", "dataset": "d", "source": "s", "split": "test", "thresholds": "Tuned."}
    text = format_evaluation({"about": about, **evaluation}, ("errors.png",))
    score = evaluation["decisions"]["tuned"]["scores"]["macro_f1"]
    assert f"{score['value']:.3f} ({score['low']:.3f} ... {score['high']:.3f}) |" in text
    assert "![errors.png](errors.png)" in text
    heads = [line for line in text.splitlines() if line.startswith("| class |")]
    rows = [line for line in text.splitlines() if line.startswith("| never |")]
    assert heads[0] == "| class | records | F1 | threshold | F1, tuned |"
    assert heads[1] == "| class | precision | recall | average precision | AUROC |"
    assert rows[1].endswith("| none | none |")
    assert [line.count("|") for line in rows] == [line.count("|") for line in heads]
    assert "1 of 4 classes have no record in the split test: they count as 0 in macro scores" in text
    assert "Without records: never." in text
    assert "- macro: mean over all classes; a class without records counts as 0." in text
    assert "[errors.pdf](errors.pdf)" in text
