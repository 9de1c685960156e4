"""A metric that is added to the table of metrics is found everywhere, without a change at any other place."""

import dataclasses
import json

import numpy as np
import pytest

from bigearth_tf.config import TrainConfig
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation import metric_table
from bigearth_tf.evaluation.comparison import comparable_metrics, compare, format_comparison
from bigearth_tf.evaluation.metric_table import (
    DECISION_METRICS,
    RANK_METRICS,
    RANKINGS,
    RATIOS,
    RankingMetric,
    Ratio,
    RecordMetric,
    selection_scores,
)
from bigearth_tf.evaluation.metrics import compute_class_scores, compute_scores
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions
from bigearth_tf.evaluation.report import EvaluationOptions, evaluate_table
from bigearth_tf.evaluation.report_markdown import format_evaluation
from bigearth_tf.runs.record import (
    ConstantPrediction,
    DatasetRecord,
    RunResult,
    RunSettings,
    write_result,
    write_settings,
)
from experiments.shared.sweep_rows import make_rows

NAMES = ("a", "b", "c")
REASONS = {"class": "", "micro": "", "macro": ""}
# Name of a table -> the table, a row to add, and a score of the row.
ROWS = {
    "ratio": (RATIOS, Ratio("Kulczynski", lambda counts: (counts.predicted + 2 * counts.present) / 3), "macro_added"),
    "ranking": (
        RANKINGS,
        RankingMetric("mean hits", lambda tally: tally.hits.mean() / tally.predicted.mean(), REASONS, every_epoch=True),
        "micro_added",
    ),
    "decision": (
        DECISION_METRICS,
        RecordMetric("over-prediction", lambda truth, predicted: (predicted & ~truth).sum(axis=1)),
        "added",
    ),
    "rank": (RANK_METRICS, RecordMetric("sum of ranks", lambda ranks: ranks.among_present.sum(axis=1)), "added"),
}


@pytest.fixture(params=list(ROWS))
def added(request, monkeypatch):
    """Adds a row named "added" to one of the tables; returns the name of the table and that of a score of the row."""
    table, row, score = ROWS[request.param]
    monkeypatch.setitem(table, "added", row)
    return request.param, score


def make_predictions(seed=0):
    rng = np.random.default_rng(seed)
    labels = (np.random.default_rng(7).random((40, 3)) < 0.5).astype(np.float32)
    probabilities = np.clip(0.3 * labels + 0.7 * rng.random((40, 3)), 0, 1).astype(np.float32)
    return NamedPredictions(Predictions(np.arange(40).astype(str), labels, probabilities), NAMES, LabelKind.MULTI)


def test_it_is_found_everywhere(added, tmp_path):
    kind, name = added
    predictions = make_predictions()
    table = predictions.table
    epoch = compute_scores(table.labels, table.probabilities)
    by_class = compute_class_scores(table.labels, table.probabilities, NAMES)
    assert (name in epoch) == (kind != "rank"), "what needs the order of classes is not computed after every epoch"
    assert (name in selection_scores(LabelKind.MULTI)) == (kind != "rank")
    assert ("added" in by_class["a"]) == (kind in ("ratio", "ranking"))

    # The evaluation has it with its interval, in total and by class, and so has the report.
    evaluation = evaluate_table(predictions, options=EvaluationOptions(10, 10))
    scores = {**evaluation["decisions"]["fixed"]["scores"], **evaluation["ranking"]}
    assert scores[name]["low"] < scores[name]["high"]
    assert epoch.get(name, scores[name]["value"]) == pytest.approx(scores[name]["value"])
    if kind in ("ratio", "ranking"):
        row = evaluation["classes"]["a"]
        assert (row["fixed"] if kind == "ratio" else row)["added"]["value"] == by_class["a"]["added"]
    about = {"model": "m", "dataset": "d", "source": "s", "split": "test", "thresholds": "Fixed."}
    text = format_evaluation({"about": about, **evaluation}, ())
    assert f"| {metric_table.title_of(name)} | {scores[name]['value']:.3f} (" in text
    heads = "".join(line for line in text.splitlines() if line.startswith("| class |"))
    assert (ROWS[kind][1].title in heads) == (kind in ("ratio", "ranking"))

    # Two models are compared by it.
    assert name in comparable_metrics(LabelKind.MULTI)
    found = compare((predictions, make_predictions(seed=1)), name, draws=10)
    assert found["first"] == pytest.approx(scores[name]["value"])
    assert found["low"] <= found["high"]
    assert name in format_comparison({**found, "thresholds": "fixed"}, ("a", "b"))
    with pytest.raises(ValueError, match=f"allowed: .*{name}"):
        compare((predictions, predictions), "unknown")

    # A sweep tabulates it.
    if name in epoch:
        write_run(tmp_path / "run", epoch, by_class)
        (swept,) = make_rows(tmp_path)
        assert swept[f"test_{name}"] == f"{epoch[name]:.4f}"
        assert json.loads((tmp_path / "run" / "result.json").read_text())["test"][name] == epoch[name]


def write_run(folder, scores, by_class):
    folder.mkdir()
    dataset = DatasetRecord("d", "somewhere", "free", LabelKind.MULTI, NAMES, (), {}, shards_sha256="0")
    write_settings(folder, RunSettings(TrainConfig(), dataset, versions={}, git_commit=None))
    result = RunResult("m", 1, 1, 1, 1.0, 0.1, scores, scores, by_class, ConstantPrediction((), scores))
    write_result(folder, result)


@pytest.mark.parametrize("label_kind", list(LabelKind))
def test_every_metric_of_the_table_compares_two_models(label_kind):
    first, second = make_predictions(), make_predictions(seed=1)
    if label_kind is LabelKind.SINGLE:
        one_hot = np.eye(3, dtype=np.float32)[np.arange(40) % 3]
        first, second = (
            dataclasses.replace(p, table=dataclasses.replace(p.table, labels=one_hot), label_kind=label_kind)
            for p in (first, second)
        )
    for name in comparable_metrics(label_kind):
        there, back = compare((first, second), name, draws=5), compare((second, first), name, draws=5)
        assert there["difference"] == -back["difference"], name
        assert there["low"] == pytest.approx(-back["high"]), name
