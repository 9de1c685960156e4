"""Every score of a table of predictions with its bootstrap interval, as the content of `evaluation.json`.

A score is {"value", "low", "high"}: low and high are the bounds of its bootstrap interval. A score without a value is
{"value": null, "reason": ...}; there is no NaN.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from bigearth_tf.data.label_kind import THRESHOLD, LabelKind
from bigearth_tf.evaluation import bootstrap
from bigearth_tf.evaluation.calibration import measure_table_calibration
from bigearth_tf.evaluation.confusion import confusion_matrix, count_misses
from bigearth_tf.evaluation.decision_scores import RATIOS, count_decisions, score_decisions
from bigearth_tf.evaluation.metrics import (
    Score,
    class_auroc,
    class_average_precision,
    compute_ranking_scores,
)
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions, check_probabilities
from bigearth_tf.evaluation.thresholds import tune_thresholds
from bigearth_tf.runtime.files import write_json_atomically

EVALUATION_NAME = "evaluation.json"
_SHARE = 0.95
_REASONS = {
    "average_precision": "no record has this class",
    "auroc": "none or all of the records have this class",
    "micro_average_precision": "no record has any class",
    "macro_average_precision": "no record has any class",
    "micro_auroc": "the records have no class, or each record has every class",
    "macro_auroc": "no class has both a record with it and a record without it",
}


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """Options of the bootstrap.

    `draws` are those for the scores of decisions. Average precision and AUROC take longer: they use only the first
    `ranking_draws` of the same draws. `seed` is that of the draws.
    """

    draws: int = 1000
    ranking_draws: int = 200
    seed: int = 0


def evaluate_table(
    predictions: NamedPredictions,
    validation: Optional[Predictions] = None,
    options: EvaluationOptions = EvaluationOptions(),
) -> dict[str, Any]:
    """Returns every score of a table.

    `decisions` has the scores that depend on thresholds, under "fixed" and, if `validation` is given, "tuned";
    `ranking` has those that do not; `classes` has both, by class. Thresholds are tuned only on `validation`, and only
    for multi-label data.

    Args:
        predictions: N records to score.
        validation: Other records, to tune thresholds on.
        options: Options of the bootstrap.

    Raises:
        ValueError: A probability is not a number from 0 to 1, or thresholds would be tuned on records that are scored.
    """
    table, label_kind = predictions.table, predictions.label_kind
    check_probabilities(table)
    thresholds = _choose_thresholds(table, validation if label_kind is LabelKind.MULTI else None)
    decisions, classes = _score_decisions(predictions, thresholds, options)
    ranking, class_ranking = _score_rankings(predictions, options)
    calibrated = measure_table_calibration(predictions)
    calibration_errors = calibrated.pop("classes")
    return {
        "num_records": len(table.labels),
        "label_kind": label_kind,
        "labels_per_record": float(table.labels.sum(axis=1).mean()),
        "bootstrap": {
            "unit": "patch",
            "interval": _SHARE,
            "draws": options.draws,
            "draws_of_average_precision_and_auroc": options.ranking_draws,
            "seed": options.seed,
        },
        "decisions": decisions,
        "ranking": ranking,
        "calibration": calibrated,
        "classes": {
            name: {
                "support": int(support),
                **class_ranking[name],
                "expected_calibration_error": calibration_errors[name],
                **{kind: rows[name] for kind, rows in classes.items()},
            }
            for name, support in zip(predictions.class_names, table.labels.sum(axis=0))
        },
    }


def _choose_thresholds(table: Predictions, validation: Optional[Predictions]) -> dict[str, Any]:
    """Returns the thresholds, a number or one per class, under "fixed" and "tuned"."""
    if validation is None:
        return {"fixed": THRESHOLD}
    check_probabilities(validation)
    if np.isin(validation.patch_ids, table.patch_ids).any():
        raise ValueError("Thresholds may not be tuned on the records that are scored: give another split.")
    return {"fixed": THRESHOLD, "tuned": tune_thresholds(validation.labels, validation.probabilities)}


def _score_decisions(
    predictions: NamedPredictions, thresholds: dict[str, Any], options: EvaluationOptions
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns, for each kind of thresholds, the content of `decisions`, and the scores by class."""
    table, label_kind = predictions.table, predictions.label_kind
    truth, num_records = table.labels.astype(bool), len(table.labels)
    predicted = {kind: label_kind.decide(table.probabilities, value) for kind, value in thresholds.items()}
    counts = [count_decisions(truth, rows) for rows in predicted.values()]
    drawn = bootstrap.draw_sums(counts, options.draws, options.seed)
    decisions, classes = {}, {}
    for kind, of_records, of_draws in zip(thresholds, counts, drawn):
        scores = score_decisions(of_records.total(), num_records, label_kind)
        samples = score_decisions(of_draws, num_records, label_kind)
        decisions[kind] = {
            "scores": {name: _score(float(value), samples.overall[name]) for name, (value,) in scores.overall.items()},
            **_describe_errors(table, predicted[kind], label_kind),
        }
        class_thresholds = np.broadcast_to(thresholds[kind], len(predictions.class_names))
        classes[kind] = {
            name: {
                **({"threshold": float(class_thresholds[index])} if label_kind is LabelKind.MULTI else {}),
                **{
                    ratio: _score(float(scores.by_class[ratio][0, index]), samples.by_class[ratio][:, index])
                    for ratio in RATIOS
                },
            }
            for index, name in enumerate(predictions.class_names)
        }
    return decisions, classes


def _describe_errors(table: Predictions, predicted: np.ndarray, label_kind: LabelKind) -> dict[str, Any]:
    if label_kind is LabelKind.SINGLE:
        return {"confusion_matrix": confusion_matrix(table.labels, table.probabilities).tolist()}
    return {"errors": count_misses(table.labels, predicted)}


def _score_rankings(predictions: NamedPredictions, options: EvaluationOptions) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the content of `ranking`, and average precision and AUROC by class."""
    columns = predictions.table.labels, predictions.table.probabilities
    draw = functools.partial(
        bootstrap.draw_rankings, num_records=len(columns[0]), draws=options.ranking_draws, seed=options.seed
    )
    by_class, micro = (draw(bootstrap.rank_records(*columns, kind)) for kind in ("class", "micro"))
    drawn: dict[str, np.ndarray] = {}
    for column, score in enumerate(("average_precision", "auroc")):
        drawn[f"micro_{score}"] = micro[:, 0, column]
        drawn[f"macro_{score}"] = bootstrap.mean_of_defined(by_class[:, :, column])
    scores = compute_ranking_scores(*columns)
    ranking = {name: _score(value, drawn.get(name), name) for name, value in scores.items()}
    values = {"average_precision": class_average_precision(*columns), "auroc": class_auroc(*columns)}
    classes = {
        name: {
            score: _score(by_index[index], by_class[:, index, column], score)
            for column, (score, by_index) in enumerate(values.items())
        }
        for index, name in enumerate(predictions.class_names)
    }
    return ranking, classes


def _score(value: Score, drawn: Optional[np.ndarray] = None, name: str = "") -> dict[str, Any]:
    """Returns a score as `evaluation.json` stores it."""
    if value is None:
        return {"value": None, "reason": _REASONS.get(name, "there is one class only")}
    bounds = bootstrap.compute_interval(drawn, _SHARE) if drawn is not None else None
    return {"value": value, **(dict(zip(("low", "high"), bounds)) if bounds else {})}


def write_evaluation(evaluation: dict[str, Any], folder: str | os.PathLike) -> None:
    """Writes `evaluation.json` atomically.

    Raises:
        ValueError: A number is not finite.
    """
    write_json_atomically(Path(folder) / EVALUATION_NAME, evaluation)


def read_tuned_thresholds(folder: str | os.PathLike, class_names: Sequence[str]) -> np.ndarray:
    """Returns the thresholds that an evaluation tuned on validation records, float32 [K].

    Raises:
        FileNotFoundError: The folder has no `evaluation.json`.
        ValueError: The evaluation has no tuned thresholds.
    """
    path = Path(folder) / EVALUATION_NAME
    if not path.exists():
        raise FileNotFoundError(f"{path}: missing; it contains the tuned thresholds. Use --thresholds=fixed.")
    classes = json.loads(path.read_text(encoding="utf-8"))["classes"]
    if not all("tuned" in classes[name] for name in class_names):
        raise ValueError(f"{path}: has no tuned thresholds. Use --thresholds=fixed.")
    return np.array([classes[name]["tuned"]["threshold"] for name in class_names], np.float32)
