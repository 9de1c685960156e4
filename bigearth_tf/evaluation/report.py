"""Every score of a table of predictions with its bootstrap interval, as the content of `evaluation.json`.

A score is {"value", "low", "high"}: low and high are the bounds of its bootstrap interval. A score without a value is
{"value": null, "reason": ...}; there is no NaN.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from bigearth_tf.data.label_kind import THRESHOLD, LabelKind
from bigearth_tf.evaluation import bootstrap
from bigearth_tf.evaluation.calibration import measure_scaled_calibration, measure_table_calibration
from bigearth_tf.evaluation.confusion import confusion_matrix, count_misses
from bigearth_tf.evaluation.decision_scores import count_decisions, score_decisions
from bigearth_tf.evaluation.fitted_decisions import FittedDecisions, fit_decisions
from bigearth_tf.evaluation.metric_table import AVERAGES, RANKINGS, RATIOS, list_metrics
from bigearth_tf.evaluation.metrics import compute_ranking_scores, find_classes_without_records, to_score
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions, check_probabilities
from bigearth_tf.evaluation.ranking_scores import (
    RANK_BY_AVERAGE,
    compute_record_values,
    mean_over_classes,
    score_rankings,
)
from bigearth_tf.evaluation.report_folder import EVALUATION_NAME
from bigearth_tf.runtime.files import write_json_atomically

_SHARE = 0.95


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
    `ranking` has those that do not; `classes` has both, by class. `fitted` has what was fitted on `validation`:
    thresholds, for multi-label data, and the temperature whose effect is in `calibration`.

    Args:
        predictions: N records to score.
        validation: Other records, to fit thresholds and temperature on.
        options: Options of the bootstrap.

    Raises:
        ValueError: A probability is not a number from 0 to 1, or thresholds would be fitted on records that are scored.
    """
    table, label_kind = predictions.table, predictions.label_kind
    check_probabilities(table)
    fitted = _fit(table, validation, label_kind)
    thresholds = _choose_thresholds(fitted)
    decisions, classes = _score_decisions(predictions, thresholds, options)
    ranking, class_ranking = _score_rankings(predictions, options)
    calibrated = measure_table_calibration(predictions)
    calibration_errors = calibrated.pop("classes")
    if fitted:
        calibrated["scaled"] = measure_scaled_calibration(predictions, fitted)
        calibrated["scaled"].pop("classes")
    return {
        "num_records": len(table.labels),
        "label_kind": label_kind,
        "labels_per_record": float(table.labels.sum(axis=1).mean()),
        "classes_without_records": find_classes_without_records(table.labels, predictions.class_names),
        "averages": {name: AVERAGES[name] for name in label_kind.averages},
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
        **({"fitted": fitted.to_json(predictions.class_names)} if fitted else {}),
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


def _fit(table: Predictions, validation: Optional[Predictions], label_kind: LabelKind) -> Optional[FittedDecisions]:
    if validation is None:
        return None
    if np.isin(validation.patch_ids, table.patch_ids).any():
        raise ValueError(
            "Thresholds and temperature may not be fitted on the records that are scored: give another split."
        )
    return fit_decisions(validation, label_kind)


def _choose_thresholds(fitted: Optional[FittedDecisions]) -> dict[str, Any]:
    """Returns the thresholds, a number or one per class, under "fixed" and "tuned"."""
    tuned = {"tuned": np.array(fitted.thresholds, np.float32)} if fitted and fitted.thresholds else {}
    return {"fixed": THRESHOLD, **tuned}


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
        whole = of_records.total()
        scores = score_decisions(whole, num_records, label_kind)
        samples = score_decisions(of_draws, num_records, label_kind, whole)
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
    """Returns the content of `ranking`, and the `RANKINGS` by class."""
    columns = predictions.table.labels, predictions.table.probabilities
    names, num_records = list(RANKINGS), len(columns[0])
    rankings = {average: rank(*columns) for average, rank in RANK_BY_AVERAGE.items()}
    samples = {
        average: bootstrap.draw_rankings(found, names, num_records, options.ranking_draws, options.seed)
        for average, found in rankings.items()
    }
    drawn = {
        f"{average}_{name}": mean_over_classes(rows)
        for average, by_name in samples.items()
        for name, rows in by_name.items()
    }
    of_records = compute_record_values(*columns)
    means = (
        bootstrap.draw_columns(np.stack(list(of_records.values()), axis=1), options.draws, options.seed) / num_records
    )
    drawn.update(dict(zip(of_records, means.T)))
    scores = compute_ranking_scores(*columns, predictions.label_kind)
    # The rankings of the macro average are those of the classes.
    values, by_class = score_rankings(rankings["macro"], names), samples["macro"]
    ranking = {
        metric.name: _score(scores[metric.name], drawn[metric.name], metric.reason)
        for metric in list_metrics(predictions.label_kind)
        if not metric.of_decisions
    }
    classes = {
        class_name: {
            name: _score(to_score(values[name][index]), by_class[name][:, index], RANKINGS[name].reasons["class"])
            for name in names
        }
        for index, class_name in enumerate(predictions.class_names)
    }
    return ranking, classes


def _score(value: Optional[float], drawn: np.ndarray, reason: str = "") -> dict[str, Any]:
    """Returns a score as `evaluation.json` stores it."""
    if value is None:
        return {"value": None, "reason": reason}
    bounds = bootstrap.compute_interval(drawn, _SHARE)
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
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    thresholds = tuned_thresholds(evaluation)
    if thresholds is None or list(evaluation["classes"]) != list(class_names):
        raise ValueError(f"{path}: has no tuned thresholds of these classes. Use --thresholds=fixed.")
    return thresholds


def tuned_thresholds(evaluation: dict[str, Any]) -> Optional[np.ndarray]:
    """Returns the tuned thresholds of an evaluation, float32 [K] in class order; None if it has none."""
    if "tuned" not in evaluation["decisions"]:
        return None
    return np.array([row["tuned"]["threshold"] for row in evaluation["classes"].values()], np.float32)
